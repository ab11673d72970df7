"""Which processes live, and whether all of them share this host's map of versions (design 8.6)."""

from __future__ import annotations

import time
import uuid

from django.db.models.functions import Now

from registry_core import epochs, hot_reads, versions
from registry_core.models import Heartbeat

LIVE = 30.0  # seconds after its last heartbeat for which a process counts as living
SETTLE = epochs.STALE + 0.5  # a new host waits so long before it serves: by then every other host knows of it

_PROCESS = uuid.uuid4()
GAP = LIVE / 2  # without a heartbeat for so long, other hosts may soon take this process for dead
_BEAT = """
INSERT INTO registry_core_heartbeat (process, host, role, seen_at, flushed_at) VALUES ($1, $2, $3, now(), now())
ON CONFLICT (process) DO UPDATE SET seen_at = now(),
    flushed_at = CASE WHEN $4 THEN now() ELSE registry_core_heartbeat.flushed_at END
"""
# A second statement, hence a new snapshot: of two hosts that start at one moment one at least sees the other.
_OTHERS = """
SELECT count(*) FROM registry_core_heartbeat WHERE host <> $1 AND seen_at > now() - $2 * interval '1 second'
"""

_others = 1
_known_at = _settled_at = float("-inf")


async def beat(role: str, *, flushed: bool = False) -> int:
    """Say that this process lives; the number of living processes on other hosts. `flushed`: its pulls are written."""
    global _others, _known_at, _settled_at  # noqa: PLW0603  what this process knows
    started, host = time.monotonic(), versions.host_id()
    await hot_reads.fetchrow(_BEAT, _PROCESS, host, role, flushed)
    _others = int(await hot_reads.fetchval(_OTHERS, host, LIVE))
    if started - _known_at > GAP and _others:
        _settled_at = time.monotonic() + SETTLE
    _known_at = started
    return _others


def beat_from_thread(role: str) -> None:
    """`beat` of a process that serves nobody: it has no pulls to write, and asks nothing about others."""
    row = Heartbeat(process=_PROCESS, host=versions.host_id(), role=role, seen_at=Now(), flushed_at=Now())
    Heartbeat.objects.bulk_create(
        [row], update_conflicts=True, unique_fields=["process"], update_fields=["seen_at", "flushed_at"]
    )


def leave_from_thread() -> None:
    Heartbeat.objects.filter(process=_PROCESS).delete()


async def leave() -> None:
    await hot_reads.fetchrow("DELETE FROM registry_core_heartbeat WHERE process = $1", _PROCESS)


def is_alone() -> bool:
    """No other host lives, so this host's versions tell of every change; False while that is not known."""
    return _others == 0 and time.monotonic() - _known_at < epochs.STALE


def wait_until_known() -> None:
    """Before a change is acknowledged: other hosts know that this process lives, and ask PostgreSQL.

    Long at most for one that was stopped for so long that they may have taken it for dead. A process without heartbeats
    (a command) waits for nothing.
    """
    give_up = time.monotonic() + 2 * SETTLE
    while _known_at > float("-inf") and (now := time.monotonic()) < give_up:
        if now - _known_at < GAP and now >= _settled_at:
            return
        time.sleep(0.05)


versions.before_answer.append(wait_until_known)
