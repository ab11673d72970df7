"""System settings: defaults of the contract, what fits, and who hears of a change."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from registry_core import configuration, epochs, errors, versions
from registry_core.models import Setting
from tests import hot


@pytest.fixture(autouse=True)
def new_process() -> Iterator[None]:
    hot.forget_everything()
    yield
    hot.forget_everything()


# Contract 5; allow_sparse is ours (design 3, Push).
DEFAULTS = {
    "auth_mode": "db_auth",
    "primary_auth_mode": False,
    "read_only": False,
    "self_registration": False,
    "notification_enable": True,
    "project_creation_restriction": "everyone",
    "token_expiration": 30,
    "robot_token_duration": 30,
    "robot_name_prefix": "robot$",
    "storage_per_project": -1,
    "session_timeout": 60,
    "banner_message": "",
    "oidc_name": "",
    "allow_sparse": False,
}


@pytest.mark.django_db
@pytest.mark.parametrize("name", DEFAULTS)
def test_defaults(name: str) -> None:
    assert configuration.get(name) == DEFAULTS[name]
    assert type(configuration.get(name)) is type(DEFAULTS[name])


def test_every_setting_has_its_default_here() -> None:
    assert set(configuration.ITEMS) == set(DEFAULTS)


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
     ("storage_per_project", -1), ("robot_name_prefix", "bot+"), ("banner_message", "ä"), ("read_only", True)],
)  # fmt: skip
def test_values_that_fit(name: str, value: Any) -> None:
    configuration.set_values({name: value})
    assert configuration.get(name) == value


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
