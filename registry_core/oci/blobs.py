"""Blobs: pull with ranges, HEAD, delete (distribution-spec "Pulling blobs"; design 3 Pull, 8.2)."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import stat
import time
from collections.abc import Coroutine, Iterator

from registry_core import deletions, errors, hooks, leases, lookups, metrics
from registry_core.digests import parse_digest
from registry_core.oci import holding, small_blobs
from registry_core.oci.request import Header, Request
from registry_core.references import RepositoryName
from registry_core.storage.driver import KeyMissing, StorageError
from registry_core.store import driver
from registry_core.threads import in_store, in_thread

log = logging.getLogger("breakwater.oci")

OCTETS = "application/octet-stream"
PRESIGNED_SECONDS = 300
PIECE = 64 << 10
BATCH = 128 << 10  # less costs a hop between threads for each piece, more waits for a slow reader
PATIENCE = 2.0  # seconds for a look at a remote store
SEEN = 10_000
_WHOLE: tuple[Header, Header] = (b"accept-ranges", b"bytes"), (b"content-type", OCTETS.encode())
_PLAIN = frozenset({b"range", b"if-range", b"if-none-match"})  # what a plain request does not have
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
# A pusher's lease that has less than this left is renewed when a HEAD tells it that the blob is here.
_HALF = leases.LEASE / 2


async def get(request: Request, name: RepositoryName, reference: str) -> None:
    grant = await hooks.authorize(request.caller(), name, "pull")
    digest = str(parse_digest(reference))
    subject = grant.principal.subject
    blob = await lookups.find_blob(grant.namespace_id, name.path, digest, subject)
    if blob is None and await hooks.on_miss(grant, name, digest):
        blob = await lookups.find_blob(grant.namespace_id, name.path, digest, subject)
    if blob is not None and request.method == "HEAD" and "push" in grant.actions:
        blob = await _held_for_push(grant, name, blob)
    if blob is None:
        raise errors.BlobUnknown(detail=digest)
    identity = _identity(digest.encode())
    if request.already_has(digest):
        await request.answer(304, identity)
        return
    if fault := _fault(blob):
        # What is kept about it may be older than its deletion, or its healing, on another host: ask before crying.
        blob = await lookups.find_blob(grant.namespace_id, name.path, digest, subject, ask=True)
        if blob is None:
            raise errors.BlobUnknown(detail=digest)
        if fault := _fault(blob):
            raise _damaged(blob, fault)
    await _send(request, blob, [*identity, *_WHOLE])


def get_known(request: Request, name: RepositoryName, reference: str) -> Coroutine[None, None, None] | None:
    """`get` of a small blob where nobody has to be asked for anything, the disk included. None: not so."""
    if request.method != "GET" or not request.headers.keys().isdisjoint(_PLAIN) or request.scope["breakwater.accel"]:
        return None
    authorization = request.headers.get(b"authorization", b"").decode("latin-1")
    grant = hooks.known_grant(authorization, request.address, name, "pull")
    if grant is None:
        return None
    known = lookups.known_blob(grant.namespace_id, name.path, reference, grant.principal.subject)
    if known is None or known[0] is None or known[0].is_missing:
        return None
    data = small_blobs.find(known[0].key)
    if data is None:
        return None
    digest = reference.encode()
    length = (b"content-length", str(len(data)).encode())
    return request.answer(200, [*_identity(digest), *_WHOLE, length], data)


def _identity(digest: bytes) -> tuple[Header, Header]:
    return (b"docker-content-digest", digest), (b"etag", b'"%s"' % digest)


async def _held_for_push(
    grant: hooks.Grant, name: RepositoryName, blob: lookups.StoredBlob
) -> lookups.StoredBlob | None:
    """Who is told that the blob is here will not send it: it is held until the manifest comes.

    None invites the bytes again: they are known to be lost, or went while we looked.
    """
    if blob.is_missing:
        return None
    if blob.lease_left >= _HALF:
        return blob
    return blob if await holding.hold(grant, name, blob.digest) else None


async def _send(request: Request, blob: lookups.StoredBlob, headers: list[Header]) -> None:
    store = driver()
    path = store.local_path(blob.key)
    if path is None:
        await _look_at_remote(blob)
    if path is None and request.method == "GET":
        url = store.presigned_url(blob.key, seconds=PRESIGNED_SECONDS, content_type=OCTETS)
        if url is not None:
            await request.answer(307, [*headers[:2], (b"location", url.encode()), (b"content-length", b"0")])
            return
    span = _span(request, blob.size, f'"{blob.digest}"')
    if span is None:
        headers = [*headers, (b"content-length", str(blob.size).encode())]
        await _send_whole(request, blob, path, headers)
        return
    start, end = span
    length = end - start + 1
    headers += [
        (b"content-range", f"bytes {start}-{end}/{blob.size}".encode()),
        (b"content-length", str(length).encode()),
    ]
    if path is not None and length == blob.size:
        await request.start(206, headers)
        await request.send({"type": "http.response.pathsend", "path": path})
    else:
        await _stream(request, blob, 206, headers, start, length)


async def _send_whole(
    request: Request, blob: lookups.StoredBlob, path: str | None, headers: list[Header]
) -> None:
    if request.method == "HEAD" or blob.size == 0:
        await request.answer(200, headers)
    elif path is not None and (accel := request.scope["breakwater.accel"]):
        # The trusted proxy sends the file itself, from the location that it named (docs/operations.md).
        await request.answer(200, [*headers[:-1], (b"x-accel-redirect", f"{accel}{blob.key}".encode())])
    elif path is not None:
        await request.start(200, headers)
        await request.send({"type": "http.response.pathsend", "path": path})
    else:
        await _stream(request, blob, 200, headers, 0, blob.size)


def _fault(blob: lookups.StoredBlob) -> str:
    """What was acknowledged must be there in full: what is wrong with it, as far as that shows without reading."""
    if blob.is_missing:
        return "marked by scrub"
    path = driver().local_path(blob.key)
    if path is None:
        return ""
    try:
        # Opened, since a file may be there and not be readable; without waiting for a pipe, or following a link.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                return "no file"
            if status.st_size != blob.size:
                return f"{status.st_size} of {blob.size} bytes"
            small_blobs.keep(blob, path, descriptor, status)
        finally:
            os.close(descriptor)
    except OSError as e:
        return str(e)
    return ""


# Objects of a remote store that were there in full, and when; a client that is sent there would only hear of a 404.
_seen: dict[str, float] = {}


async def _look_at_remote(blob: lookups.StoredBlob) -> None:
    """Once in a while: it costs a call. A store that does not answer soon is for the client to wait for."""
    now = time.monotonic()
    if now - _seen.get(blob.key, float("-inf")) < PRESIGNED_SECONDS:
        return
    try:
        found = await asyncio.wait_for(asyncio.shield(in_store(driver().size, blob.key)), PATIENCE)
    except KeyMissing as e:
        raise _damaged(blob, "absent") from e
    except (StorageError, TimeoutError):
        return
    if found != blob.size:
        raise _damaged(blob, f"{found} of {blob.size} bytes")
    if len(_seen) >= SEEN:
        _seen.clear()
    _seen[blob.key] = now


def _damaged(blob: lookups.StoredBlob, what: str) -> errors.Damaged:
    """Our fault and never a 404 (design 3, Pull)."""
    metrics.DAMAGED.inc()
    log.critical("stored object damaged", extra={"fields": {"digest": blob.digest, "key": blob.key, "found": what}})
    return errors.Damaged(detail={"digest": blob.digest, "fix": "the operator runs `manage.py scrub`"})


def _span(request: Request, size: int, etag: str) -> tuple[int, int] | None:
    """First and last byte that are wanted; None for the whole. RangeInvalid when no byte of it exists.

    One range a request, and of a GET; anything else is ignored (RFC 9110 14.2).
    """
    text = request.header("range") if request.method == "GET" else ""
    if_range = request.header("if-range")
    if not text or (if_range and if_range != etag):
        return None
    match = _RANGE.fullmatch(text)
    if match is None or match[1] == match[2] == "":
        return None
    if match[1] == "":
        start, end = max(size - int(match[2]), 0), size - 1
        unsatisfiable = int(match[2]) == 0
    else:
        start, end = int(match[1]), min(int(match[2] or size), size - 1)
        unsatisfiable = match[2] != "" and int(match[2]) < start
    if unsatisfiable or start >= size:
        raise errors.RangeInvalid(
            "no byte of the blob lies in the range",
            {"range": text[:80], "size": size},
            headers={"content-range": f"bytes */{size}"},
        )
    return start, end


async def _stream(
    request: Request, blob: lookups.StoredBlob, status: int, headers: list[Header], start: int, length: int
) -> None:
    """Send a part, or bytes of a remote store, in pieces; a client that leaves stops the source (design 8.2)."""
    store = driver()
    try:
        found = await in_store(store.size, blob.key)
    except KeyMissing as e:
        raise _damaged(blob, "absent") from e
    if found != blob.size:
        raise _damaged(blob, f"{found} of {blob.size} bytes")
    pieces = await in_store(store.read, blob.key, start, length)
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        # The first piece before the head: what cannot be read at all is refused in words.
        batch = await _next(blob, pieces)
        await request.start(status, headers)
        while not gone.done():
            is_end = not batch
            while batch:  # each is let go of when it is sent, since the next may wait for long
                await request.send({"type": "http.response.body", "body": batch.pop(0), "more_body": True})
            if is_end:
                await request.send({"type": "http.response.body", "body": b"", "more_body": False})
                return
            batch = await _next(blob, pieces)
    finally:
        gone.cancel()
        close = getattr(pieces, "close", None)
        if close is not None:
            close()


async def _next(blob: lookups.StoredBlob, pieces: Iterator[bytes]) -> list[bytes]:
    """Empty at the end. A file here that the disk does not give is as damaged as one that is gone."""
    try:
        return await in_store(_some, pieces)
    except StorageError as e:
        if driver().is_remote:
            raise
        raise _damaged(blob, str(e)) from e


def _some(pieces: Iterator[bytes]) -> list[bytes]:
    """BATCH bytes of the source, cut to PIECE: what waits for a slow reader stays small."""
    batch: list[bytes] = []
    while len(batch) * PIECE < BATCH and (piece := next(pieces, b"")):
        batch += [piece[i : i + PIECE] for i in range(0, len(piece), PIECE)] if len(piece) > PIECE else [piece]
    return batch


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def delete(request: Request, name: RepositoryName, reference: str) -> None:
    grant = await hooks.authorize(request.caller(), name, "delete")
    digest = str(parse_digest(reference))
    await in_thread(deletions.delete_blob, grant, name, digest)
    await request.answer_empty(202, {})
