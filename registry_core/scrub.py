"""Proof of the ledger, both ways: bytes without rows, rows without bytes (design 2.3).

Every byte in storage is on exactly one line: live (Blob), waiting for deletion (DeletedObject), open upload
(Upload), or orphan. The listing goes into a temporary table, so that PostgreSQL compares and memory does not grow with
the store. What changed while the listing ran is asked again before it is called a finding.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from django.db import connection, transaction

from registry_core import metrics, uploads
from registry_core.storage.driver import KeyMissing
from registry_core.storage.paths import owner
from registry_core.store import driver

log = logging.getLogger("breakwater.scrub")

BATCH = 5000
Kind = Literal["missing", "short", "corrupt", "orphan", "double", "upload-lost"]


@dataclass(frozen=True, slots=True)
class Finding:
    kind: Kind
    key: str
    what: str


@dataclass(slots=True)
class Report:
    """`objects` and `bytes` as listed in the store; a finding is a line of the ledger that does not add up."""

    objects: int
    bytes: int
    verified: int
    findings: list[Finding]

    @property
    def is_clean(self) -> bool:
        return not self.findings


def scrub(*, percent: float = 0, condemn_orphans: bool = False) -> Report:
    """Compare store and rows; read `percent` of the blobs against their digests.

    Blobs that are lost are marked, so that the next push of the digest heals them; marks of those that are whole again
    are taken away.
    """
    with transaction.atomic():
        objects, size = _list_store()
        findings = [*_orphans(), *_doubles(), *_lost_blobs(), *_lost_uploads()]
    verified, corrupt = _verify(percent)
    findings += corrupt
    for finding in findings:
        log.error("scrub finding", extra={"fields": {"kind": finding.kind, "key": finding.key, "what": finding.what}})
        metrics.DAMAGED.inc()
    _mark_lost([f.key for f in findings if f.kind in ("missing", "short", "corrupt")])
    if condemn_orphans:
        for finding in findings:
            if finding.kind == "orphan":
                uploads.condemn(finding.key, 0)
    return Report(objects, size, verified, findings)


def _list_store() -> tuple[int, int]:
    """Fill the temporary tables `listed`, a row a name in the store, and `stored`, a row a key: tails and parts of
    uploads have names of their own and count with the key that they belong to."""
    objects = total = 0
    with connection.cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE listed (name text, key text, size bigint) ON COMMIT DROP")
        keys = iter(driver().keys())
        while batch := list(itertools.islice(keys, BATCH)):
            objects += len(batch)
            total += sum(size for _, size in batch)
            cursor.execute(
                "INSERT INTO listed SELECT * FROM unnest(%s::text[], %s::text[], %s::bigint[])",
                [[n for n, _ in batch], [owner(n) for n, _ in batch], [size for _, size in batch]],
            )
        cursor.execute(
            "CREATE TEMPORARY TABLE stored ON COMMIT DROP AS SELECT key, sum(size) AS size FROM listed GROUP BY key"
        )
        cursor.execute("CREATE INDEX ON stored (key)")
        cursor.execute("ANALYZE stored")
    return objects, total


def _rows(sql: str, arguments: list[Any] | None = None) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, arguments)
        found: list[tuple[Any, ...]] = cursor.fetchall()
    return found


_LINES = """
SELECT key FROM registry_core_blob UNION ALL SELECT key FROM registry_core_deletedobject
UNION ALL SELECT key FROM registry_core_upload
"""


def _size_now(key: str) -> int | None:
    try:
        return driver().size(key)
    except KeyMissing:
        return None


def _orphans() -> Iterator[Finding]:
    """A row comes before its bytes and goes after them: bytes without one are orphans unless they went meanwhile.

    So are the tail and the parts of an upload that stand beside its finished blob.
    """
    suspects = {
        name
        for (name,) in _rows(
            f"SELECT s.name FROM listed s LEFT JOIN ({_LINES}) l USING (key) WHERE l.key IS NULL "
            "UNION SELECT s.name FROM listed s JOIN registry_core_blob b USING (key) WHERE s.name <> s.key "
            "AND NOT EXISTS (SELECT 1 FROM registry_core_deletedobject d WHERE d.key = s.name)"
        )
    }
    if suspects:
        again = driver().keys()
        for name, size in again:
            if name in suspects:
                yield Finding("orphan", name, f"{size} bytes that no row accounts for")


def _doubles() -> Iterator[Finding]:
    for key, lines in _rows(f"SELECT key, count(*) FROM ({_LINES}) l GROUP BY key HAVING count(*) > 1"):
        yield Finding("double", key, f"on {lines} lines of the ledger")


def _lost_blobs() -> Iterator[Finding]:
    suspects = _rows(
        "SELECT b.key, b.digest, b.size FROM registry_core_blob b LEFT JOIN stored s USING (key) "
        "WHERE s.size IS DISTINCT FROM b.size"
    )
    for key, digest, size in suspects:
        found = _size_now(key)
        if found is None and _rows("SELECT 1 FROM registry_core_blob WHERE key = %s", [key]):
            yield Finding("missing", key, f"{digest}: no bytes")
        elif found is not None and found != size:
            yield Finding("short", key, f"{digest}: {found} of {size} bytes")
    whole = _rows(
        "SELECT b.id FROM registry_core_blob b JOIN stored s USING (key) "
        "WHERE s.size = b.size AND b.missing_since IS NOT NULL"
    )
    for (blob_id,) in whole:
        if _is_whole(blob_id):
            _rows("UPDATE registry_core_blob SET missing_since = NULL WHERE id = %s RETURNING 1", [blob_id])
            uploads.forget([blob_id])


def _is_whole(blob_id: int) -> bool:
    ((digest, key),) = _rows("SELECT digest, key FROM registry_core_blob WHERE id = %s", [blob_id])
    return bool(_digest_of(key, digest.partition(":")[0]) == digest)


def _lost_uploads() -> Iterator[Finding]:
    for key, offset, stored in _rows(
        'SELECT u.key, u."offset", coalesce(s.size, 0) FROM registry_core_upload u LEFT JOIN stored s USING (key) '
        'WHERE coalesce(s.size, 0) < u."offset" AND u.writer IS NULL'
    ):
        if _rows('SELECT 1 FROM registry_core_upload WHERE key = %s AND "offset" = %s', [key, offset]):
            yield Finding("upload-lost", key, f"{stored} of {offset} bytes kept of an open upload")


def _verify(percent: float) -> tuple[int, list[Finding]]:
    """Read a random share of the blobs; how many, and which do not match their digests."""
    if percent <= 0:
        return 0, []
    blobs = _rows(
        "SELECT key, digest FROM registry_core_blob WHERE missing_since IS NULL AND random() * 100 < %s", [percent]
    )
    findings = []
    for key, digest in blobs:
        found = _digest_of(key, digest.partition(":")[0])
        if found not in (digest, None):
            findings.append(Finding("corrupt", key, f"{digest}: the bytes have {found}"))
    return len(blobs), findings


def _digest_of(key: str, algorithm: str) -> str | None:
    """None when it is not there (any more)."""
    state = hashlib.new(algorithm)
    try:
        for piece in driver().read(key):
            state.update(piece)
    except KeyMissing:
        return None
    return f"{algorithm}:{state.hexdigest()}"


def _mark_lost(keys: list[str]) -> None:
    if keys:
        marked = _rows(
            "UPDATE registry_core_blob SET missing_since = coalesce(missing_since, now()) "
            "WHERE key = ANY(%s) RETURNING id",
            [keys],
        )
        uploads.forget([pk for (pk,) in marked])
