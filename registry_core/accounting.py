"""What each namespace holds, every digest once: the pairs that quotas count (design 4).

A pair stands while an artifact of the namespace has its digest or holds it as a blob. Who adds one writes the artifact
and its edges first and then holds the pair, shared with others who add; who takes something away deletes the edges,
locks the pairs alone, and asks **in a second statement**, hence in a new snapshot, whether anybody holds them still.
Pairs are locked in the order of their digests, after all else but the quota's row.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from django.db import connection

from registry_core.locks import ATTEMPTS, BY_INDEX, Vanished
from registry_core.statements import Statement, Step, run_all

# What is inserted while we look is in neither part: it is asked for again.
_HOLD = Statement(
    "hold_pairs",
    """
WITH held AS MATERIALIZED (
    SELECT digest FROM registry_core_namespaceblob
    WHERE namespace_id = %(namespace)s AND digest = ANY(%(digests)s::varchar[]) ORDER BY digest FOR KEY SHARE
), added AS (
    INSERT INTO registry_core_namespaceblob (namespace_id, digest, size)
    SELECT %(namespace)s::bigint, new.* FROM unnest(%(digests)s::text[], %(sizes)s::bigint[]) AS new (digest, size)
    WHERE NOT EXISTS (SELECT 1 FROM held WHERE held.digest = new.digest)
    ON CONFLICT (namespace_id, digest) DO NOTHING RETURNING digest, size
)
SELECT digest, size FROM added UNION ALL SELECT digest, 0 FROM held
""",
)


def hold(namespace_id: int, sizes: Mapping[str, int]) -> Step:
    """Hold these digests for the namespace until commit; its rows are for `counted`."""
    digests = sorted(sizes)
    return _HOLD, {"namespace": namespace_id, "digests": digests, "sizes": [sizes[d] for d in digests]}


def counted(namespace_id: int, sizes: Mapping[str, int], rows: Iterable[tuple[str, int]]) -> int:
    """After `hold`: all of them are held, and these are the bytes of those that the namespace did not hold before."""
    added, left = 0, dict(sizes)
    for _ in range(ATTEMPTS):
        for digest, size in rows:
            added += size
            del left[digest]
        if not left:
            return added
        # Somebody else's commit brought it meanwhile; or it went between the two parts.
        with connection.cursor() as cursor:
            run_all(cursor, [hold(namespace_id, left)])
            rows = cursor.fetchall()
    raise Vanished


def count_in(namespace_id: int, sizes: Mapping[str, int]) -> int:
    """`hold`, and what it came to."""
    with connection.cursor() as cursor:
        run_all(cursor, [hold(namespace_id, sizes)])
        rows = cursor.fetchall()
    return counted(namespace_id, sizes, rows)


_LOCK = """
SELECT 1 FROM registry_core_namespaceblob WHERE namespace_id = %s AND digest = ANY(%s) ORDER BY digest FOR UPDATE
"""
# The pairs' digests are in the order of bytes, those of blobs and artifacts in the database's own: compared as they are
# they would find no index (measured: every deletion read all artifacts and all edges).
_HELD_OF_MANY = """
(EXISTS (SELECT 1 FROM registry_core_blob b JOIN registry_core_artifactblob e ON e.blob_id = b.id
         JOIN registry_core_repository r ON r.id = e.repository_id
         WHERE b.digest = p.digest COLLATE "default" AND r.namespace_id = p.namespace_id)
 OR EXISTS (SELECT 1 FROM registry_core_artifact a JOIN registry_core_repository r ON r.id = a.repository_id
            WHERE a.digest = p.digest COLLATE "default" AND r.namespace_id = p.namespace_id))
"""
# OFFSET keeps the planner from answering once for the whole table, with a hash of all that the registry holds.
_HELD_EACH = """
(EXISTS (SELECT 1 FROM registry_core_blob b
         CROSS JOIN LATERAL (SELECT e.repository_id FROM registry_core_artifactblob e
                             WHERE e.blob_id = b.id OFFSET 0) AS e
         JOIN registry_core_repository r ON r.id = e.repository_id
         WHERE b.digest = p.digest COLLATE "default" AND r.namespace_id = p.namespace_id OFFSET 0)
 OR EXISTS (SELECT 1 FROM registry_core_artifact a JOIN registry_core_repository r ON r.id = a.repository_id
            WHERE a.digest = p.digest COLLATE "default" AND r.namespace_id = p.namespace_id OFFSET 0))
"""
_REMOVE = """
DELETE FROM registry_core_namespaceblob p WHERE p.namespace_id = %s AND p.digest = ANY(%s) AND NOT {held}
RETURNING p.size
"""
_REMOVE_FEW = BY_INDEX + _REMOVE.format(held=_HELD_EACH)
_REMOVE_MANY = _REMOVE.format(held=_HELD_OF_MANY)
FEW = 1000  # digests that are looked up one by one


def count_out(namespace_id: int, digests: Iterable[str]) -> int:
    """Artifacts or edges of these digests went: the bytes of those that nothing in the namespace holds any more."""
    gone = sorted(set(digests))
    if not gone:
        return 0
    with connection.cursor() as cursor:
        cursor.execute(_LOCK, [namespace_id, gone])
        cursor.execute(_REMOVE_FEW if len(gone) <= FEW else _REMOVE_MANY, [namespace_id, gone])
        return sum(size for (size,) in cursor.fetchall())


_WAITING = """
SELECT coalesce(sum(b.size), 0) FROM registry_core_blob b WHERE b.id IN (
    SELECT l.blob_id FROM registry_core_repositoryblob l JOIN registry_core_repository r ON r.id = l.repository_id
    WHERE r.namespace_id = %(namespace)s AND l.leased_until > now())
AND b.digest <> %(besides)s AND NOT EXISTS (SELECT 1 FROM registry_core_namespaceblob p
                WHERE p.namespace_id = %(namespace)s AND p.digest = b.digest)
"""


def waiting_bytes(namespace_id: int, besides: str) -> int:
    """Of blobs that are leased here and that no artifact of the namespace holds yet; all `besides` this digest."""
    with connection.cursor() as cursor:
        cursor.execute(_WAITING, {"namespace": namespace_id, "besides": besides})
        (size,) = cursor.fetchone()
    return int(size)


_TRULY = """
SELECT b.digest, b.size FROM registry_core_blob b WHERE b.id IN (
    SELECT e.blob_id FROM registry_core_artifactblob e JOIN registry_core_repository r ON r.id = e.repository_id
    WHERE r.namespace_id = %(namespace)s)
UNION
SELECT a.digest, octet_length(a.payload) FROM registry_core_artifact a
JOIN registry_core_repository r ON r.id = a.repository_id WHERE r.namespace_id = %(namespace)s
"""
_LACKING = f"""
SELECT t.digest, t.size FROM ({_TRULY}) AS t (digest, size) WHERE NOT EXISTS (
    SELECT 1 FROM registry_core_namespaceblob p WHERE p.namespace_id = %(namespace)s AND p.digest = t.digest)
"""
_SURPLUS = (
    f"SELECT p.digest FROM registry_core_namespaceblob p WHERE p.namespace_id = %(namespace)s AND NOT {_HELD_OF_MANY}"
)


def mend(namespace_id: int) -> tuple[int, int]:
    """Make the pairs what artifacts and edges say, in the caller's transaction; bytes that were added and taken.

    (0, 0) is the proof that they agree. What is pushed or deleted meanwhile may only show as found, never as lost.
    """
    arguments = {"namespace": namespace_id}
    with connection.cursor() as cursor:
        cursor.execute(_LACKING, arguments)
        added = count_in(namespace_id, dict(cursor.fetchall()))
        cursor.execute(_SURPLUS, arguments)
        taken = count_out(namespace_id, [digest for (digest,) in cursor.fetchall()])
    return added, taken
