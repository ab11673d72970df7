"""The collector: continuous, resumable, and unable to take what somebody just linked (design 3, Garbage collection).

A blob is held by artifact→blob edges and by running leases, by nothing else. Candidates are rows with a due time. The
rows are locked in one statement and asked again in **a second one**, hence in a new snapshot: an edge that was being
written while we waited is seen. Storage is touched after the commit, and only what it confirms counts as freed.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import connection

from registry_core import uploads
from registry_core.locks import retrying
from registry_core.storage.driver import StorageUnavailable
from registry_core.store import driver

log = logging.getLogger("breakwater.gc")

BATCH = 500
OBJECTS = 1000  # of one DeleteObjects call
CLAIM = 300  # seconds until objects that were claimed and not confirmed are tried again
UPLOAD_IDLE = 7 * 86400  # seconds without a byte after which a session ends
EVENT_KEPT = 30 * 86400  # seconds that an event stays in the outbox
EMPTY_REPOSITORY = 86400  # seconds that a repository may stand which never got an artifact


@dataclass(slots=True)
class Freed:
    blobs: int = 0
    objects: int = 0
    bytes: int = 0


def collect() -> Freed:
    """Do all that is due now; what fails stays due."""
    freed = Freed()
    while condemned := collect_blobs():
        freed.blobs += condemned
    while objects := delete_objects():
        freed.objects += len(objects)
        freed.bytes += sum(objects)
    if freed.blobs or freed.objects:
        log.info("collected", extra={"fields": {"blobs": freed.blobs, "objects": freed.objects, "bytes": freed.bytes}})
    return freed


_DUE = """
SELECT id, blob_id FROM registry_core_collectorcandidate WHERE due_at <= now() ORDER BY due_at, blob_id LIMIT %s
"""
_LOCK = "SELECT id FROM registry_core_blob WHERE id = ANY(%s) ORDER BY id FOR UPDATE SKIP LOCKED"
_STILL_FREE = """
SELECT b.id, (SELECT max(l.leased_until) FROM registry_core_repositoryblob l
              WHERE l.blob_id = b.id AND l.leased_until > now()) AS leased_until
FROM registry_core_blob b WHERE b.id = ANY(%s)
  AND NOT EXISTS (SELECT 1 FROM registry_core_artifactblob e WHERE e.blob_id = b.id)
"""


@retrying
def collect_blobs(limit: int = BATCH) -> int:
    """Condemn the due blobs that nothing holds; the number of candidates settled, 0 when nothing is due."""
    with connection.cursor() as cursor:
        cursor.execute(_DUE, [limit])
        due = cursor.fetchall()
        if not due:
            return 0
        cursor.execute(_LOCK, [sorted({blob for _, blob in due})])
        locked = [pk for (pk,) in cursor.fetchall()]
        cursor.execute(_STILL_FREE, [locked])
        free = dict(cursor.fetchall())
        _wait_for_leases(cursor, {pk: until for pk, until in free.items() if until is not None})
        dead = sorted(pk for pk, until in free.items() if until is None)
        # Only rows that were read above: one that a deletion wrote since then is for the next round.
        settled = [pk for pk, blob in due if blob in set(locked)]
        cursor.execute("DELETE FROM registry_core_collectorcandidate WHERE id = ANY(%s)", [settled])
        _condemn_blobs(cursor, dead)
    return len(settled)


def _wait_for_leases(cursor: Any, leased: dict[int, Any]) -> None:
    if leased:
        cursor.execute(
            "INSERT INTO registry_core_collectorcandidate (blob_id, due_at) "
            "SELECT * FROM unnest(%s::bigint[], %s::timestamptz[])",
            [list(leased), list(leased.values())],
        )


def _condemn_blobs(cursor: Any, dead: list[int]) -> None:
    if not dead:
        return
    cursor.execute("DELETE FROM registry_core_collectorcandidate WHERE blob_id = ANY(%s)", [dead])
    cursor.execute("DELETE FROM registry_core_repositoryblob WHERE blob_id = ANY(%s)", [dead])
    cursor.execute(
        "WITH gone AS (DELETE FROM registry_core_blob WHERE id = ANY(%s) RETURNING key, size, digest) "
        "INSERT INTO registry_core_deletedobject (key, size, digest, state, due_at, attempts) "
        "SELECT key, size, digest, '{}', now() + %s * interval '1 second', 0 FROM gone",
        [dead, settings.DELETE_DELAY],
    )


@retrying
def _claim_objects(limit: int) -> list[tuple[str, int, str]]:
    """(key, size, the driver's state as JSON text), not claimed again by anybody for CLAIM seconds."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE registry_core_deletedobject SET due_at = now() + %s * interval '1 second', attempts = attempts + 1 "
            "WHERE id IN (SELECT id FROM registry_core_deletedobject WHERE due_at <= now() ORDER BY due_at, id "
            "LIMIT %s FOR UPDATE SKIP LOCKED) RETURNING key, size, state",
            [CLAIM, limit],
        )
        claimed: list[tuple[str, int, str]] = cursor.fetchall()
    return claimed


@retrying
def _confirm(keys: list[str]) -> None:
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM registry_core_deletedobject WHERE key = ANY(%s)", [keys])


def delete_objects(limit: int = OBJECTS) -> list[int]:
    """Take due objects out of the storage; the sizes of those it confirmed. Not confirmed: tried again after CLAIM."""
    claimed = _claim_objects(limit)
    if not claimed:
        return []
    states = {key: json.loads(state) for key, _, state in claimed}
    try:
        gone = driver().delete([key for key, _, _ in claimed], states)
    except StorageUnavailable as e:
        log.warning("storage did not delete", extra={"fields": {"objects": len(claimed), "cause": str(e)}})
        return []
    _confirm(sorted(gone))
    if left := [key for key, _, _ in claimed if key not in gone]:
        log.warning("storage kept objects", extra={"fields": {"objects": len(left), "first": left[0]}})
    return [size for key, size, _ in claimed if key in gone]


def tidy() -> None:
    """What nobody comes back for: idle upload sessions, ended leases, repositories that never got an artifact."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id FROM registry_core_upload WHERE updated_at < now() - %s * interval '1 second' "
            "ORDER BY updated_at LIMIT %s",
            [UPLOAD_IDLE, BATCH],
        )
        idle = [pk for (pk,) in cursor.fetchall()]
    for upload_id in idle:
        uploads.end_session(upload_id)
    _drop_leftovers()


@retrying
def _drop_leftovers() -> None:
    with connection.cursor() as cursor:
        # The collector looks at the blob when its lease ends; the row itself is of no more use after that.
        cursor.execute(
            "DELETE FROM registry_core_repositoryblob WHERE id IN (SELECT id FROM registry_core_repositoryblob "
            "WHERE leased_until < now() ORDER BY leased_until LIMIT %s FOR UPDATE SKIP LOCKED)",
            [BATCH],
        )
        cursor.execute(
            "DELETE FROM registry_core_repository r WHERE r.id IN ("
            " SELECT id FROM registry_core_repository WHERE NOT is_listed "
            " AND created_at < now() - %s * interval '1 second' ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED)"
            " AND NOT EXISTS (SELECT 1 FROM registry_core_upload u WHERE u.repository_id = r.id)"
            " AND NOT EXISTS (SELECT 1 FROM registry_core_repositoryblob l WHERE l.repository_id = r.id)",
            [EMPTY_REPOSITORY, BATCH],
        )
        cursor.execute("DELETE FROM registry_core_heartbeat WHERE seen_at < now() - interval '1 day'")
        # From the front only: the oldest rows have the lowest ids, and looking at BATCH of them costs the same always.
        cursor.execute(
            "DELETE FROM registry_core_eventoutbox WHERE id IN (SELECT id FROM (SELECT id, occurred_at "
            "FROM registry_core_eventoutbox ORDER BY id LIMIT %s) AS front "
            "WHERE occurred_at < now() - %s * interval '1 second')",
            [BATCH, EVENT_KEPT],
        )
