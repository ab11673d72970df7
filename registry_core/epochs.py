"""Revocation: who changed, and whether what this process keeps about rights may still be used (design 3, Tokens).

Every change of rights writes an EpochChange row in its transaction. Each web process reads the new rows once a second;
on the host of the change a bell in shared memory makes the next request read at once. When the last good read is older
than STALE seconds, nothing cached decides any more.
"""

from __future__ import annotations

import asyncio
import time

from django.db import connection, transaction

from registry_core import errors, hot_reads, versions

PERIOD = 1.0
STALE = 4.0
EVERYBODY = "*"

_RAISE = """
INSERT INTO registry_core_epochchange (subject, seq, changed_at)
SELECT subject, nextval('registry_core_epoch_seq'), now() FROM unnest(%s::text[]) AS subject
ON CONFLICT (subject) DO UPDATE SET seq = excluded.seq, changed_at = excluded.changed_at
"""
_SINCE = "SELECT subject, seq FROM registry_core_epochchange WHERE seq > $1"
_LOCK = 0x42570001
_SILENT = "the database does not answer; try again"


def raise_epoch(*subjects: str) -> None:
    """In the transaction of the change: `u:<id>`, `r:<id>`, `n:<namespace id>` or `*`.

    The advisory lock is held until commit, so that numbers become visible in their order and a reader misses none.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
        cursor.execute(_RAISE, [sorted(set(subjects))])
        transaction.on_commit(lambda: versions.ring(versions.EPOCHS))


def current_seq() -> int:
    """The newest committed change. Read it before the rights that go into a token, never after."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT coalesce(max(seq), 0) FROM registry_core_epochchange")
        (seq,) = cursor.fetchone()
    return int(seq)


class _Known:
    def __init__(self) -> None:
        self.changes: dict[str, int] = {}
        self.seq = 0
        self.read_at = self.failed_at = float("-inf")
        self.bell: int | None = None


_known = _Known()
_reading = asyncio.Lock()


def last_change(subject: str) -> int:
    """The newest change of this subject or of everybody that this process knows; 0 if there was none."""
    changes = _known.changes
    return max(changes.get(subject, 0), changes.get(EVERYBODY, 0))


def latest() -> int:
    return _known.seq


def is_fresh() -> bool:
    return _known.bell == versions.read(versions.EPOCHS) and time.monotonic() - _known.read_at < STALE


def age() -> float:
    """Seconds since the last good read began: small as long as PostgreSQL answers."""
    return time.monotonic() - _known.read_at


async def refresh() -> None:
    """Read what changed; errors.Unavailable when PostgreSQL does not answer."""
    asked = time.monotonic()
    async with _reading:
        # Everybody hears the bell at once: whoever waited here takes what was read meanwhile. And nobody waits again
        # for what others have just waited for in vain: the last of a hundred would be told minutes later.
        if _known.read_at >= asked and is_fresh():
            return
        if _known.failed_at >= asked:
            raise errors.Unavailable(_SILENT, {"component": "database"})
        started, bell = time.monotonic(), versions.read(versions.EPOCHS)
        try:
            rows = await hot_reads.fetch(_SINCE, _known.seq)
        except errors.Unavailable:
            _known.failed_at = time.monotonic()
            raise
        for row in rows:
            _known.changes[row["subject"]] = row["seq"]
            _known.seq = max(_known.seq, row["seq"])
        _known.read_at, _known.bell = started, bell
