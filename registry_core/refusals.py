"""Refusals of callers who have a name, for the audit log: one row for each (principal, object, reason) and minute.

Kept in memory until the minute is over; what is beyond the bounds, or in a process that is killed, is lost.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from registry_core import audit, errors
from registry_core.locks import retrying
from registry_core.models import Namespace

log = logging.getLogger("breakwater.web")

MAX_KEPT = 10_000
MAX_RESOURCE = 512  # characters: paths are the caller's


@dataclass(frozen=True, slots=True)
class Refusal:
    """`project` is a name, of a project that may not be there."""

    username: str
    operation: str
    resource_type: str
    resource: str
    description: str
    project: str = ""


@dataclass(slots=True)
class _Kept:
    address: str
    at: float
    count: int = 0
    told: int = 0


_kept: dict[tuple[int, Refusal], _Kept] = {}
_lock = threading.Lock()


def note(refusal: Refusal, address: str, *, is_told: bool = False) -> bool:
    """Whether it is the first of this minute. `is_told`: then the caller writes its row, and only more are counted."""
    now = time.time()
    key = int(now // 60), replace(refusal, resource=refusal.resource[:MAX_RESOURCE])
    with _lock:
        if (kept := _kept.get(key)) is None:
            if len(_kept) >= MAX_KEPT:
                return True
            kept = _kept[key] = _Kept(address, now, told=int(is_told))
        kept.count += 1
        return kept.count == 1


def is_due() -> bool:
    """Is there anything for `write`? What has nothing to do keeps no thread's connection open."""
    current = int(time.time() // 60)
    with _lock:
        return any(minute < current for minute, _ in _kept)


def write(*, everything: bool = False) -> None:
    """In a pool thread: those of minutes that are over, or all that there are."""
    current = int(time.time() // 60)
    with _lock:
        taken = {key: kept for key, kept in _kept.items() if everything or key[0] < current}
        for key in taken:
            del _kept[key]
    wanted = [(key[1], kept) for key, kept in taken.items() if kept.count > kept.told]
    if not wanted:
        return
    try:
        _write(wanted)
    except errors.Unavailable as e:
        log.warning("refusals are not written yet", extra={"fields": {"cause": e.message}})
        with _lock:
            for key, kept in taken.items():
                if len(_kept) < MAX_KEPT:
                    _kept.setdefault(key, kept)


@retrying
def _write(refusals: list[tuple[Refusal, _Kept]]) -> None:
    names = {refusal.project for refusal, _ in refusals}
    namespaces = dict(Namespace.objects.filter(name__in=names).values_list("name", "pk"))
    audit.write([_line(refusal, kept, namespaces.get(refusal.project)) for refusal, kept in refusals])


def _line(refusal: Refusal, kept: _Kept, namespace_id: int | None) -> audit.Line:
    count = kept.count - kept.told
    times = f" ({count}{' more' if kept.told else ''} times in a minute)" if kept.count > 1 else ""
    return audit.Line(
        refusal.username, refusal.operation, refusal.resource_type, refusal.resource, refusal.description + times,
        succeeded=False, namespace_id=namespace_id, address=audit.inet(kept.address),
        occurred_at=datetime.fromtimestamp(kept.at, UTC),
    )  # fmt: skip
