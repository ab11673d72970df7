"""Tag configure (contract 5; golden: configure_read, configure_items, configure_effects)."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from pytest_django import Settings

from rbac import actions
from registry_core import configuration
from registry_core.models import AuditLog, Setting
from tests.api.conftest import Api
from tests.builders import ADMIN, Person, make_person, make_robot

pytestmark = pytest.mark.django_db

As = Callable[[Person], Api]
# What Harbor shows of a new system.
TEXTS = """
audit_log_forward_endpoint banner_message disabled_audit_log_event_types http_authproxy_admin_groups
http_authproxy_admin_usernames http_authproxy_endpoint http_authproxy_server_certificate
http_authproxy_tokenreview_endpoint ldap_base_dn ldap_filter ldap_group_admin_dn ldap_group_attribute_name
ldap_group_base_dn ldap_group_search_filter ldap_search_dn ldap_url oidc_admin_group oidc_client_id oidc_endpoint
oidc_group_filter oidc_groups_claim oidc_name oidc_scope oidc_user_claim uaa_client_id uaa_client_secret uaa_endpoint
""".split()
OFF = """
http_authproxy_skip_search ldap_group_attach_parallel oidc_auto_onboard oidc_logout primary_auth_mode read_only
scanner_skip_update_pulltime self_registration skip_audit_log_database uaa_verify_cert
""".split()
ON = """
http_authproxy_verify_cert ldap_verify_cert notification_enable oidc_verify_cert quota_per_project_enable
""".split()
OTHERS = {
    "auth_mode": "db_auth", "ldap_group_membership_attribute": "memberof", "ldap_group_search_scope": 2,
    "ldap_scope": 2, "ldap_timeout": 5, "ldap_uid": "cn",
    "oidc_extra_redirect_parms": "{}", "project_creation_restriction": "everyone",
    "robot_name_prefix": "robot$", "robot_token_duration": 30, "session_timeout": 60, "storage_per_project": -1,
    "token_expiration": 30,
}  # fmt: skip
NEW = {**dict.fromkeys(TEXTS, ""), **dict.fromkeys(OFF, False), **dict.fromkeys(ON, True), **OTHERS}


def value(admin: Api, name: str) -> Any:
    return admin.get("/configurations").body[name]["value"]


def test_a_new_system(admin: Api) -> None:
    shown = admin.get("/configurations").body
    assert shown.pop("scan_all_policy") == {}
    assert shown == {name: {"value": value, "editable": True} for name, value in NEW.items()}


def test_the_mode_is_fixed_while_there_are_users(admin: Api, charlie: Person) -> None:
    assert admin.get("/configurations").body["auth_mode"] == {"value": "db_auth", "editable": False}
    refused = admin.put("/configurations", {"auth_mode": "ldap_auth", "session_timeout": 61})
    assert (refused.status, refused.code, refused.message) == (
        400, "BAD_REQUEST", "the auth mode cannot be modified as new users have been inserted into database",
    )  # fmt: skip
    assert value(admin, "session_timeout") == 60
    assert admin.put("/configurations", {"auth_mode": "magic"}).status == 400
    assert admin.put("/configurations", {"auth_mode": "db_auth"}).status == 200
    assert charlie.user is not None
    actions.delete_user(ADMIN, charlie.user)
    assert admin.get("/configurations").body["auth_mode"]["editable"] is True
    assert admin.put("/configurations", {"auth_mode": "ldap_auth"}).status == 200
    assert value(admin, "auth_mode") == "ldap_auth"


def test_it_is_for_system_administrators(admin: Api, anonymous: Api, charlie: Person, as_: As) -> None:
    boss = as_(make_person("boss", sysadmin=True))
    assert boss.get("/configurations").body == admin.get("/configurations").body
    assert boss.put("/configurations", {"session_timeout": 61}).status == 200
    robot = make_robot(("/", ["label:read"]), level="system")
    for caller in (charlie, robot):
        for refused in (as_(caller).get("/configurations"), as_(caller).put("/configurations", {"read_only": True})):
            assert (refused.status, refused.code, refused.message) == (403, "FORBIDDEN", caller.name)
    for refused in (anonymous.get("/configurations"), anonymous.put("/configurations", {"read_only": True})):
        assert (refused.status, refused.code) == (401, "UNAUTHORIZED")
    assert value(admin, "read_only") is False


def test_what_is_for_other_services_of_harbor_is_for_nobody(admin: Api, anonymous: Api) -> None:
    for caller in (admin, anonymous):
        for headers in ({}, {"Authorization": "Harbor-Secret x"}):
            reply = caller.get("/internalconfig", headers)
            assert (reply.status, reply.code) == (401, "UNAUTHORIZED")


@pytest.mark.parametrize("body", [{}, {"colour": "red"}, {"max_job_workers": 3}, {"allow_sparse": True},
                                  {"admin_initial_password": "Secret-1234"}, {"pull_time_update_disable": True},
                                  {"self_registration": None}])  # fmt: skip
def test_what_it_does_not_know_is_dropped(admin: Api, body: dict[str, Any]) -> None:
    reply = admin.put("/configurations", body)
    assert (reply.status, reply.content) == (200, b"")
    assert not Setting.objects.exists()


@pytest.mark.parametrize(
    ("raw", "status"), [(b"", 422), (b"null", 200), (b"[]", 422), (b'{"session_timeout":{"value":60}}', 422),
                        (b'{"session_timeout":"60"}', 422), (b'{"token_expiration":1.5}', 422),
                        (b'{"read_only":"true"}', 422), (b'{"ldap_scope":"2"}', 422), (b'{"banner_message":5}', 422)],
)  # fmt: skip
def test_bodies(admin: Api, raw: bytes, status: int) -> None:
    assert admin.request("PUT", "/configurations", raw=raw).status == status


def test_one_bad_item_rejects_all(admin: Api) -> None:
    refused = admin.put("/configurations", {"robot_token_duration": 77, "session_timeout": -1})
    assert (refused.status, refused.code) == (400, "BAD_REQUEST")
    assert "session_timeout" in refused.message
    assert refused.body["errors"][0]["detail"] == {"setting": "session_timeout", "default": 60}
    assert value(admin, "robot_token_duration") == 30


@pytest.mark.parametrize("name", ["ldap_search_password", "oidc_client_secret"])
def test_secrets_are_write_only(admin: Api, name: str) -> None:
    assert admin.put("/configurations", {name: "geheim-1"}).status == 200
    assert "geheim-1" not in json.dumps(admin.get("/configurations").body)
    assert name not in admin.get("/configurations").body
    assert configuration.get(name) == "geheim-1"
    assert "geheim-1" not in str(list(AuditLog.objects.values()))


def test_a_change_is_in_the_audit_log(admin: Api) -> None:
    admin.put("/configurations", {"session_timeout": 61})
    row = AuditLog.objects.get(resource_type="configuration")
    assert (row.username, row.operation, row.resource, row.description, row.succeeded) == (
        "admin", "update", "configuration", "update configuration", True,
    )  # fmt: skip


def test_what_the_environment_fixes_nobody_changes(admin: Api, settings: Settings) -> None:
    settings.CONFIG_OVERWRITE = {"session_timeout": 7}
    configuration.take_over()
    shown = admin.get("/configurations").body
    assert shown["session_timeout"] == {"value": 7, "editable": False}
    assert {entry["editable"] for name, entry in shown.items() if name != "scan_all_policy"} == {False}
    refused = admin.put("/configurations", {"token_expiration": 31})
    assert (refused.status, refused.code) == (403, "FORBIDDEN")
    assert value(admin, "token_expiration") == 30


# -- what they do


def test_only_administrators_create_projects(admin: Api, charlie: Person, as_: As) -> None:
    admin.put("/configurations", {"project_creation_restriction": "adminonly"})
    refused = as_(charlie).post("/projects", {"project_name": "hers"})
    assert (refused.status, refused.message) == (403, "Only system admin can create project")
    assert admin.post("/projects", {"project_name": "mine"}).status == 201
    assert as_(charlie).get("/systeminfo").body["project_creation_restriction"] == "adminonly"


def test_without_quotas_a_summary_shows_none(admin: Api, charlie: Person, as_: As) -> None:
    admin.put("/configurations", {"storage_per_project": 1048576})
    as_(charlie).post("/projects", {"project_name": "hers", "storage_limit": 99})
    quota = {"hard": {"storage": 1048576}, "used": {"storage": 0}}
    assert admin.get("/projects/hers/summary").body == {"project_admin_count": 1, "quota": quota, "repo_count": 0}
    admin.put("/configurations", {"quota_per_project_enable": False})
    assert admin.get("/projects/hers/summary").body == {"project_admin_count": 1, "repo_count": 0}
    assert admin.delete("/projects/hers").status == 200


def test_a_new_prefix_renames_robots_at_once(admin: Api, as_: As) -> None:
    robot = make_robot(("/", ["label:read"]), level="system")
    short = robot.name.removeprefix("robot$")
    admin.put("/configurations", {"robot_name_prefix": " bot+ "})
    assert robot.robot is not None
    assert admin.get(f"/robots/{robot.robot.pk}").body["name"] == f"bot+{short}"
    assert as_(Person(f"bot+{short}", robot.secret)).get("/users/current").status == 412
    assert as_(robot).get("/users/current").status == 401


def test_the_banner_is_for_all(admin: Api, anonymous: Api) -> None:
    banner = '{"message":"hi","type":"info"}'
    admin.put("/configurations", {"banner_message": banner, "notification_enable": False})
    assert anonymous.get("/systeminfo").body["banner_message"] == banner
    assert admin.get("/systeminfo").body["notification_enable"] is False


def test_tokens_live_as_long_as_is_said(admin: Api) -> None:
    admin.put("/configurations", {"token_expiration": 7})
    token = admin.request("GET", "/token?service=harbor-registry&scope=repository:library/x:pull", prefix="/service")
    assert token.body["expires_in"] == 420


def test_read_only_mode_is_left_through_it(admin: Api) -> None:
    admin.put("/configurations", {"read_only": True})
    assert admin.post("/projects", {"project_name": "p"}).status == 403
    assert admin.put("/configurations", {"read_only": False}).status == 200
    assert admin.post("/projects", {"project_name": "p"}).status == 201
