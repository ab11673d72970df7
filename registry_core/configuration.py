"""System settings: rows that differ from their defaults (contract 5), cached in each process.

A change raises the epoch of everybody, whose bell the other processes of this host hear at the next read;
elsewhere what is kept lives until that epoch is known, and for a second at most.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from django.db import connection, transaction

from registry_core import epochs, errors, hot_reads, versions
from registry_core.models import Setting

KEPT_SECONDS = 1.0
MAX_PREFIX = 64  # with a robot's name it must fit into the columns that say who did something
_ALL = "SELECT name, value FROM registry_core_setting"


@dataclass(frozen=True, slots=True)
class Item:
    """`check` says what is wrong with a value of the default's type, or nothing."""

    default: bool | int | str
    check: Callable[[Any], str] = lambda _: ""


def _between(low: int, high: int) -> Callable[[Any], str]:
    return lambda v: "" if low <= v <= high else f"must be between {low} and {high}"


def _one_of(*words: str) -> Callable[[Any], str]:
    return lambda v: "" if v in words else f"must be one of {', '.join(words)}"


def _quota(value: int) -> str:
    fits = value == -1 or 1 <= value <= 1 << 50
    return "" if fits else "must be -1 (no limit) or a number of bytes up to 1024 TiB"


def _prefix(value: str) -> str:
    fits = value.strip() and len(value) <= MAX_PREFIX
    return "" if fits else f"must not be blank, nor longer than {MAX_PREFIX} characters"


_POSITIVE = _between(1, 9_999_999_999)

ITEMS: dict[str, Item] = {
    # Manifests whose parts are not here yet are accepted (design 3, Push); Harbor has no such setting.
    "allow_sparse": Item(default=False),
    "auth_mode": Item("db_auth", _one_of("db_auth", "ldap_auth", "uaa_auth", "http_auth", "oidc_auth")),
    "banner_message": Item(""),
    "notification_enable": Item(default=True),
    "oidc_name": Item(""),
    "primary_auth_mode": Item(default=False),
    "project_creation_restriction": Item("everyone", _one_of("everyone", "adminonly")),
    "read_only": Item(default=False),
    "robot_name_prefix": Item("robot$", _prefix),
    "robot_token_duration": Item(30, _POSITIVE),
    "self_registration": Item(default=False),
    "session_timeout": Item(60, _POSITIVE),
    "storage_per_project": Item(-1, _quota),
    "token_expiration": Item(30, _POSITIVE),
}


class _Moment(NamedTuple):
    """Taken before a read: a right that is read again because of a change must not meet older settings."""

    bell: int
    change: int
    time: float

    @classmethod
    def now(cls) -> _Moment:
        return cls(versions.read(versions.EPOCHS), epochs.last_change(epochs.EVERYBODY), time.monotonic())


@dataclass(frozen=True, slots=True)
class _Kept:
    values: dict[str, Any]
    as_of: _Moment

    def is_good(self) -> bool:
        now = _Moment.now()
        return self.as_of[:2] == now[:2] and now.time - self.as_of.time < KEPT_SECONDS


_kept: _Kept | None = None


def get(name: str) -> Any:
    """The setting's value, of its default's type."""
    item, kept = ITEMS[name], _kept
    if kept is None or not kept.is_good():
        kept = _read()
    return kept.values.get(name, item.default)


async def fetch(name: str) -> Any:
    """`get` for the asynchronous side."""
    item, kept = ITEMS[name], _kept
    if kept is None or not kept.is_good():
        now = _Moment.now()
        kept = _keep({r["name"]: json.loads(r["value"]) for r in await hot_reads.fetch(_ALL)}, now)
    return kept.values.get(name, item.default)


def set_values(values: dict[str, Any]) -> None:
    """Change settings; BadRequest names the first value that does not fit, and then none is changed."""
    for name, value in values.items():
        _check(name, value)
    with transaction.atomic():
        for name, value in values.items():
            Setting.objects.update_or_create(name=name, defaults={"value": value})
        epochs.raise_epoch(epochs.EVERYBODY)


def _check(name: str, value: Any) -> None:
    item = ITEMS[name]
    # type() and not isinstance(): a boolean is an int to Python, and no number of minutes to anybody.
    kind = type(item.default)
    fault = item.check(value) if type(value) is kind else f"must be {_KINDS[kind]}"
    if fault:
        raise errors.BadRequest(f"the setting {name} {fault}", {"setting": name, "default": item.default})


_KINDS = {bool: "true or false", int: "a whole number", str: "text"}


def _read() -> _Kept:
    now = _Moment.now()
    values = dict(Setting.objects.values_list("name", "value"))
    if connection.in_atomic_block:  # may show what is not committed yet
        return _Kept(values, now)
    return _keep(values, now)


def _keep(values: dict[str, Any], as_of: _Moment) -> _Kept:
    global _kept  # noqa: PLW0603  one a process
    _kept = _Kept(values, as_of)
    return _kept
