"""What a reference or digest leads to in a repository: one query when cold, none when warm (design 8.5, 8.6).

An answer, also the absence of one, is kept while the repository's version stands, KEPT seconds at most. To ask again
costs ten times a warm read: with 10,000 manifests in use and half a minute, that was a fifth of all that reads cost.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from registry_core import hot_reads, presence, versions
from registry_core.digests import is_digest

KEPT = 180.0  # seconds
KEPT_UNSETTLED = 2.0  # bounds what a process that dies between commit and ring can hide
MAX_ANSWERS = 100_000
MAX_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Stored:
    """A manifest ready to be sent."""

    artifact_id: int
    repository_id: int
    digest: str
    media_type: str
    payload: bytes
    headers: tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class StoredBlob:
    """`is_held`: an artifact of the repository holds it. `lease_left`: seconds of the caller's own lease."""

    digest: str
    key: str
    size: int
    is_missing: bool
    is_held: bool
    lease_left: float


V = TypeVar("V")


class Answers(Generic[V]):
    """Answers under the version that was read before the question was asked; None is an answer too."""

    def __init__(self) -> None:
        self._kept: dict[tuple[int | str, ...], tuple[int, float, V | None]] = {}

    def find(self, key: tuple[int | str, ...], version: int) -> tuple[V | None] | None:
        found = self._kept.get(key)
        if found is None or found[0] != version or found[1] < time.monotonic():
            return None
        return (found[2],)

    def keep(self, key: tuple[int | str, ...], version: int, answer: V | None, seconds: float = KEPT) -> None:
        if len(self._kept) >= MAX_ANSWERS:
            self._kept.clear()
        if not versions.is_settled(version):
            seconds = KEPT_UNSETTLED
        self._kept[key] = (version, time.monotonic() + seconds, answer)

    def forget_expired(self) -> None:
        now = time.monotonic()
        if any(until < now for _, until, _ in self._kept.values()):
            self._kept = {key: kept for key, kept in self._kept.items() if kept[1] >= now}

    def given(self) -> set[V]:
        return {answer for _, _, answer in self._kept.values() if answer is not None}


class _Payloads:
    """Manifests by digest, least recently used out first, bounded by bytes: many references share one."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[int, str], Stored] = OrderedDict()
        self._bytes = 0

    def find(self, key: tuple[int, str]) -> Stored | None:
        if (stored := self._kept.get(key)) is not None:
            self._kept.move_to_end(key)
        return stored

    def keep(self, stored: Stored) -> Stored:
        key = (stored.artifact_id, stored.digest)
        if (known := self.find(key)) is not None:
            return known
        self._kept[key] = stored
        self._bytes += len(stored.payload)
        while self._bytes > MAX_BYTES:
            _, oldest = self._kept.popitem(last=False)
            self._bytes -= len(oldest.payload)
        return stored

    def forget_all_but(self, keys: set[tuple[int, str]]) -> None:
        for key in self._kept.keys() - keys:
            self._bytes -= len(self._kept.pop(key).payload)


_manifests: Answers[tuple[int, str]] = Answers()
_blobs: Answers[StoredBlob] = Answers()
_payloads = _Payloads()

_BY_TAG = """
SELECT a.id, a.repository_id, a.digest, a.media_type, a.payload
FROM registry_core_repository r JOIN registry_core_tag t ON t.repository_id = r.id
JOIN registry_core_artifact a ON a.id = t.artifact_id
WHERE r.namespace_id = $1 AND r.path = $2 AND t.name = $3
"""
_BY_DIGEST = """
SELECT a.id, a.repository_id, a.digest, a.media_type, a.payload
FROM registry_core_repository r JOIN registry_core_artifact a ON a.repository_id = r.id
WHERE r.namespace_id = $1 AND r.path = $2 AND a.digest = $3
"""
_BLOB = """
SELECT b.digest, b.key, b.size, b.missing_since IS NOT NULL AS is_missing,
    EXISTS (SELECT 1 FROM registry_core_artifactblob e
            WHERE e.repository_id = r.id AND e.digest = b.digest AND e.blob_id = b.id) AS is_held,
    coalesce((SELECT extract(epoch FROM l.leased_until - now())::float8 FROM registry_core_repositoryblob l
              WHERE l.repository_id = r.id AND l.blob_id = b.id AND l.principal = $4), 0) AS lease_left
FROM registry_core_repository r, registry_core_blob b
WHERE r.namespace_id = $1 AND r.path = $2 AND b.digest = $3
"""


def forget_expired() -> None:
    """Free what nobody asked for lately. On the event loop's thread, as everything here."""
    _manifests.forget_expired()
    _blobs.forget_expired()
    _payloads.forget_all_but(_manifests.given())


def known_manifest(namespace_id: int, path: str, reference: str) -> tuple[Stored | None] | None:
    """The answer of `find_manifest` if it is known, in a tuple; None: somebody has to be asked."""
    # What other hosts push and delete does not ring here: an absent digest may have come, a present one may be gone.
    if not presence.is_alone():
        return None
    version = versions.read(versions.slot(namespace_id, path))
    known = _manifests.find((namespace_id, path, reference), version)
    if known is None:
        return None
    if known[0] is None:
        return (None,)
    stored = _payloads.find(known[0])
    return None if stored is None else (stored,)


async def find_manifest(namespace_id: int, path: str, reference: str) -> Stored | None:
    if (known := known_manifest(namespace_id, path, reference)) is not None:
        return known[0]
    key, version = (namespace_id, path, reference), versions.read(versions.slot(namespace_id, path))
    sql = _BY_DIGEST if is_digest(reference) else _BY_TAG
    row = await hot_reads.fetchrow(sql, namespace_id, path, reference)
    if row is None:
        _manifests.keep(key, version, None)
        return None
    stored = _payloads.keep(_stored(*row))
    _manifests.keep(key, version, (stored.artifact_id, stored.digest))
    return stored


def _stored(artifact_id: int, repository_id: int, digest: str, media_type: str, payload: bytes) -> Stored:
    headers = (
        (b"content-type", media_type.encode()),
        (b"content-length", str(len(payload)).encode()),
        (b"docker-content-digest", digest.encode()),
        (b"etag", f'"{digest}"'.encode()),
    )
    return Stored(artifact_id, repository_id, digest, media_type, bytes(payload), headers)


def known_blob(
    namespace_id: int, path: str, digest: str, principal: str
) -> tuple[StoredBlob | None] | None:
    """The answer of `find_blob` if it is known, in a tuple; None: somebody has to be asked."""
    if not presence.is_alone():
        return None
    version = versions.read(versions.slot(namespace_id, path))
    return _blobs.find((namespace_id, path, digest), version) or _blobs.find(
        (namespace_id, path, digest, principal), version
    )


async def find_blob(
    namespace_id: int, path: str, digest: str, principal: str, *, ask: bool = False
) -> StoredBlob | None:
    """None unless an artifact of the repository holds the blob or a lease of this principal runs (design 3, Pull).

    `ask`: whatever is known already.
    """
    if not ask and (known := known_blob(namespace_id, path, digest, principal)) is not None:
        return known[0]
    version = versions.read(versions.slot(namespace_id, path))
    shared, own = (namespace_id, path, digest), (namespace_id, path, digest, principal)
    row = await hot_reads.fetchrow(_BLOB, namespace_id, path, digest, principal)
    blob = None if row is None else StoredBlob(*row)
    if blob is not None and not blob.is_held and blob.lease_left <= 0:
        blob = None
    if blob is not None and blob.is_held:
        _blobs.keep(shared, version, replace(blob, lease_left=0.0))  # this principal's, and kept for all
    else:  # a lease ends by itself
        _blobs.keep(own, version, blob, KEPT_UNSETTLED)
    return blob
