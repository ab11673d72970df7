"""System settings: rows that differ from their defaults (contract 5), cached in each process.

A change raises the epoch of everybody, whose bell the other processes of this host hear at the next read;
elsewhere what is kept lives until that epoch is known, and for a second at most. What CONFIG_OVERWRITE_JSON sets is
written by `migrate`, and nothing can be changed then.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from django.conf import settings
from django.db import connection, transaction

from registry_core import epochs, errors, hot_reads, sealing, versions
from registry_core.models import Setting
from registry_core.setting_items import ITEMS, find_contradiction

KEPT_SECONDS = 1.0
MAX_TEXT = 1 << 16  # every process keeps all of them
_LOCK = 0x42570004
_ALL = "SELECT name, value FROM registry_core_setting"


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
    kept = _kept
    if kept is None or not kept.is_good():
        kept = _read()
    return _value(kept, name)


def get_some(*names: str) -> tuple[Any, ...]:
    """`get` of several, as of one moment."""
    kept = _kept
    if kept is None or not kept.is_good():
        kept = _read()
    return tuple(_value(kept, name) for name in names)


def get_all() -> dict[str, Any]:
    """Every setting, secrets included."""
    kept = _read()
    return {name: _value(kept, name) for name in ITEMS}


async def fetch(name: str) -> Any:
    """`get` for the asynchronous side."""
    kept = _kept
    if kept is None or not kept.is_good():
        now = _Moment.now()
        kept = _keep({r["name"]: json.loads(r["value"]) for r in await hot_reads.fetch(_ALL)}, now)
    return _value(kept, name)


def _value(kept: _Kept, name: str) -> Any:
    item = ITEMS[name]
    value = kept.values.get(name, item.default)
    return sealing.unseal(value) if item.is_secret else value


def is_fixed() -> bool:
    """Does the environment say what is set, so that nobody else may?"""
    return bool(settings.CONFIG_OVERWRITE)


def set_values(values: Mapping[str, Any]) -> None:
    """Change settings; BadRequest names the first value that does not fit, and then none is changed."""
    if is_fixed():
        detail = {"rule": "CONFIG_OVERWRITE_JSON", "fix": "change it there", "who": "who runs this registry"}
        raise errors.Forbidden(
            "the settings are read-only: CONFIG_OVERWRITE_JSON in the environment sets them", detail
        )
    _change(values)


def take_over() -> None:
    """Write what CONFIG_OVERWRITE_JSON says; names that are unknown are left out, as everywhere."""
    known = {name: value for name, value in settings.CONFIG_OVERWRITE.items() if name in ITEMS}
    if known:
        _change(known)


def _change(values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        _check(name, value)
    with transaction.atomic():
        with connection.cursor() as cursor:  # what two changes leave must fit together
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
        if fault := find_contradiction(get_all() | dict(values), values):
            raise errors.BadRequest(f"bad request: {fault}")
        for name, value in values.items():
            kept = sealing.seal(value) if ITEMS[name].is_secret else ITEMS[name].tidy(value)
            Setting.objects.update_or_create(name=name, defaults={"value": kept})
        epochs.raise_epoch(epochs.EVERYBODY)


def _check(name: str, value: Any) -> None:
    item = ITEMS[name]
    # type() and not isinstance(): a boolean is an int to Python, and no number of minutes to anybody.
    kind = type(item.default)
    if type(value) is not kind:
        fault = f"must be {_KINDS[kind]}"
    elif isinstance(value, str) and len(value) > MAX_TEXT:
        fault = f"must not be longer than {MAX_TEXT} characters"
    else:
        fault = item.check(value)
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
