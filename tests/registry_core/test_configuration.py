"""System settings: defaults of the contract, what fits, and who hears of a change."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from pytest_django import Settings

from registry_core import configuration, epochs, errors, setting_items, versions
from registry_core.models import Setting
from tests import hot


@pytest.fixture(autouse=True)
def new_process() -> Iterator[None]:
    hot.forget_everything()
    yield
    hot.forget_everything()


# Contract 5; allow_sparse is ours (design 3, Push), so are ldap_start_tls and ldap_ca_certificate.
DEFAULTS = {
    "allow_sparse": False,
    "auth_mode": "db_auth",
    "robot_name_prefix": "robot$",
    "project_creation_restriction": "everyone",
    "storage_per_project": -1,
    "session_timeout": 60,
    "token_expiration": 30,
    "robot_token_duration": 30,
    "ldap_timeout": 5,
    "ldap_scope": 2,
    "ldap_group_search_scope": 2,
    "ldap_uid": "cn",
    "ldap_group_membership_attribute": "memberof",
    "oidc_extra_redirect_parms": "{}",
    **dict.fromkeys(
        (
            "primary_auth_mode", "ldap_group_attach_parallel", "read_only", "self_registration", "uaa_verify_cert",
            "http_authproxy_skip_search", "oidc_auto_onboard", "oidc_logout", "skip_audit_log_database",
            "scanner_skip_update_pulltime", "ldap_start_tls", "pull_audit_log_disable",
        ),
        False,
    ),
    **dict.fromkeys(
        ("ldap_verify_cert", "http_authproxy_verify_cert", "oidc_verify_cert", "notification_enable",
         "quota_per_project_enable"),
        True,
    ),
    **dict.fromkeys(
        (
            "ldap_base_dn", "ldap_url", "ldap_filter", "ldap_group_base_dn", "ldap_group_admin_dn",
            "ldap_group_attribute_name", "ldap_group_search_filter", "ldap_search_dn", "ldap_search_password",
            "uaa_client_id", "uaa_client_secret", "uaa_endpoint", "http_authproxy_endpoint",
            "http_authproxy_tokenreview_endpoint", "http_authproxy_admin_groups", "http_authproxy_admin_usernames",
            "http_authproxy_server_certificate", "oidc_name", "oidc_endpoint", "oidc_client_id", "oidc_client_secret",
            "oidc_groups_claim", "oidc_admin_group", "oidc_group_filter", "oidc_scope", "oidc_user_claim",
            "audit_log_forward_endpoint", "disabled_audit_log_event_types", "banner_message",
            "ldap_ca_certificate",
        ),
        "",
    ),
}  # fmt: skip


@pytest.mark.django_db
@pytest.mark.parametrize("name", DEFAULTS)
def test_defaults(name: str) -> None:
    assert configuration.get(name) == DEFAULTS[name]
    assert type(configuration.get(name)) is type(DEFAULTS[name])


def test_every_setting_has_its_default_here() -> None:
    assert set(setting_items.ITEMS) == set(DEFAULTS)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("token_expiration", 0),
        ("token_expiration", 10_000_000_000),
        ("token_expiration", "30"),
        ("token_expiration", True),
        ("token_expiration", None),
        ("session_timeout", -1),
        ("storage_per_project", 0),
        ("storage_per_project", -2),
        ("storage_per_project", (1 << 50) + 1),
        ("auth_mode", "magic"),
        ("project_creation_restriction", "nobody"),
        ("read_only", 1),
        ("read_only", "true"),
        ("robot_name_prefix", "  "),
        ("robot_name_prefix", "x" * 65),
        ("banner_message", 5),
        ("banner_message", "x" * 65_537),
        ("ldap_scope", 3),
        ("ldap_group_search_scope", -1),
        ("ldap_url", ""),
        ("ldap_base_dn", ""),
        ("ldap_uid", ""),
        ("oidc_extra_redirect_parms", ""),
        ("oidc_extra_redirect_parms", "nonsense"),
        ("oidc_extra_redirect_parms", '{"a": 1}'),
        ("oidc_extra_redirect_parms", "[" * 100_000),
        ("audit_log_forward_endpoint", "nonsense"),
        ("audit_log_forward_endpoint", "127.0.0.1:1"),
        ("audit_log_forward_endpoint", "127.0.0.1:99999999999"),
    ],
)
def test_values_that_do_not_fit(name: str, value: Any) -> None:
    with pytest.raises(errors.BadRequest, match=name):
        configuration.set_values({"session_timeout": 61, name: value})
    assert not Setting.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("name", "value"),
    [("token_expiration", 1), ("token_expiration", 9_999_999_999), ("storage_per_project", 1 << 50),
     ("storage_per_project", -1), ("robot_name_prefix", "bot+"), ("banner_message", "ä"), ("read_only", True),
     ("ldap_filter", "no brackets"), ("oidc_group_filter", "["), ("oidc_extra_redirect_parms", '{"a":"b"}'),
     ("ldap_search_password", "geheim"), ("oidc_client_secret", "geheim"), ("uaa_client_secret", "geheim")],
)  # fmt: skip
def test_values_that_fit(name: str, value: Any) -> None:
    configuration.set_values({name: value})
    assert configuration.get(name) == value


@pytest.mark.django_db
def test_a_prefix_is_kept_without_blanks_around_it() -> None:
    configuration.set_values({"robot_name_prefix": " pad "})
    assert configuration.get("robot_name_prefix") == "pad"


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["ldap_search_password", "oidc_client_secret"])
def test_secrets_are_kept_encrypted(name: str) -> None:
    configuration.set_values({name: "geheim"})
    assert "geheim" not in json.dumps(Setting.objects.get(name=name).value)
    configuration.set_values({name: ""})
    assert configuration.get(name) == ""


@pytest.mark.django_db
def test_a_secret_of_another_key_is_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    Setting.objects.create(name="ldap_search_password", value="gAAAA-not-of-this-key")
    assert configuration.get("ldap_search_password") == ""
    assert "enter it anew" in caplog.text


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["ldap_group_attribute_name", "ldap_group_membership_attribute"])
def test_a_group_filter_needs_its_attributes(name: str) -> None:
    good = {"ldap_group_attribute_name": "cn", "ldap_group_membership_attribute": "memberof"}
    with pytest.raises(errors.BadRequest, match="attribute can not be empty"):
        configuration.set_values({**good, "ldap_group_search_filter": "(cn=*)", name: ""})
    configuration.set_values({**good, "ldap_group_search_filter": "(cn=*)"})
    with pytest.raises(errors.BadRequest, match="attribute can not be empty"):
        configuration.set_values({name: ""})


@pytest.mark.django_db
def test_the_audit_log_leaves_the_database_only_for_somewhere() -> None:
    with pytest.raises(errors.BadRequest, match="audit log forward endpoint should be configured"):
        configuration.set_values({"skip_audit_log_database": True})
    with socket.create_server(("127.0.0.1", 0)) as there:
        endpoint = f"127.0.0.1:{there.getsockname()[1]}"
        configuration.set_values({"skip_audit_log_database": True, "audit_log_forward_endpoint": endpoint})
    assert configuration.get("skip_audit_log_database") is True


@pytest.mark.django_db
def test_what_the_environment_says_is_written_and_nothing_else_is(settings: Settings) -> None:
    settings.CONFIG_OVERWRITE = {"session_timeout": 7, "ldap_search_password": "geheim", "colour": "red"}
    configuration.take_over()
    assert configuration.get("session_timeout") == 7
    assert configuration.get("ldap_search_password") == "geheim"
    with pytest.raises(errors.Forbidden, match="CONFIG_OVERWRITE_JSON"):
        configuration.set_values({"token_expiration": 31})
    settings.CONFIG_OVERWRITE = {"session_timeout": 0}
    with pytest.raises(errors.BadRequest, match="session_timeout"):
        configuration.take_over()
    assert configuration.get("session_timeout") == 7


@pytest.mark.django_db(transaction=True)
def test_a_change_of_another_process_is_heard_at_once_on_this_host() -> None:
    async def watch() -> None:
        assert await configuration.fetch("read_only") is False
        await hot.elsewhere(lambda: configuration.set_values({"read_only": True}))
        assert await configuration.fetch("read_only") is True

    hot.run(watch)


@pytest.mark.django_db(transaction=True)
def test_a_change_on_another_host_is_known_with_its_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the bell: whoever has read the epoch must not meet older settings."""

    async def watch() -> None:
        assert await configuration.fetch("read_only") is False
        await epochs.refresh()
        monkeypatch.setattr(versions, "ring", lambda _: None)
        await hot.elsewhere(lambda: configuration.set_values({"read_only": True}))
        await epochs.refresh()
        assert await configuration.fetch("read_only") is True

    hot.run(watch)


@pytest.mark.django_db(transaction=True)
def test_what_is_kept_lives_a_second() -> None:
    async def watch() -> None:
        assert await configuration.fetch("read_only") is False
        await hot.elsewhere(lambda: Setting.objects.create(name="read_only", value=True))
        assert await configuration.fetch("read_only") is False
        await asyncio.sleep(1.05)
        assert await configuration.fetch("read_only") is True

    hot.run(watch)
