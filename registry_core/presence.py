"""Which processes live, and whether all of them share this host's map of versions (design 8.6)."""

from __future__ import annotations

import time
import uuid

from registry_core import epochs, hot_reads, versions

LIVE = 30.0  # seconds after its last heartbeat for which a process counts as living
SETTLE = epochs.STALE + 0.5  # a new host waits so long before it serves: by then every other host knows of it

_PROCESS = uuid.uuid4()
_BEAT = """
WITH beat AS (
    INSERT INTO registry_core_heartbeat (process, host, role, seen_at, flushed_at) VALUES ($1, $2, $3, now(), now())
    ON CONFLICT (process) DO UPDATE SET seen_at = now(),
        flushed_at = CASE WHEN $4 THEN now() ELSE registry_core_heartbeat.flushed_at END
)
SELECT count(*) FROM registry_core_heartbeat WHERE host <> $2 AND seen_at > now() - $5 * interval '1 second'
"""

_others = 1
_known_at = float("-inf")


async def beat(role: str, *, flushed: bool = False) -> int:
    """Say that this process lives; the number of living processes on other hosts. `flushed`: its pulls are written."""
    global _others, _known_at  # noqa: PLW0603  what this process knows
    started = time.monotonic()
    _others = int(await hot_reads.fetchval(_BEAT, _PROCESS, versions.host_id(), role, flushed, LIVE))
    _known_at = started
    return _others


async def leave() -> None:
    await hot_reads.fetchrow("DELETE FROM registry_core_heartbeat WHERE process = $1", _PROCESS)


def is_alone() -> bool:
    """No other host lives, so this host's versions tell of every change; False while that is not known."""
    return _others == 0 and time.monotonic() - _known_at < epochs.STALE
