"""Blob sessions over HTTP: begin, append, commit, cancel, mount (distribution-spec "Pushing blobs"; design 3, Push)."""

from __future__ import annotations

import re
import uuid

from registry_core import errors, hooks, leases, uploads
from registry_core.digests import ALGORITHMS, Digest, is_digest, parse_digest
from registry_core.oci.request import CHUNK, ClientGone, Request
from registry_core.oci.transfer import Obtain, Transfer
from registry_core.references import RepositoryName, parse_repository
from registry_core.store import driver
from registry_core.threads import in_thread

_CONTENT_RANGE = re.compile(r"(?:bytes[ =])?(\d{1,18})-(\d{1,18})(?:/(?:\d+|\*))?")


async def start(request: Request, name: RepositoryName, _: str) -> None:
    mount, source = request.parameter("mount"), _source(request)
    caller = request.caller(mount_from=str(source) if mount and source else "")
    grant = await hooks.authorize(caller, name, "push")
    if mount is not None and is_digest(mount) and await _mount(request, grant, name, mount, source):
        return
    text = request.parameter("digest")
    digest = None if text is None or mount is not None else parse_digest(text)
    algorithm = request.parameter("digest-algorithm") or (digest.algorithm if digest else "sha256")
    if algorithm not in ALGORITHMS:
        raise errors.DigestInvalid(
            f"unsupported digest algorithm {algorithm[:40]!r}", {"supported": list(ALGORITHMS)}
        )
    if digest is not None:
        # All in one request: its client never learns of the session, and could not go on with it.
        _check_range(request, 0)
        await _commit(
            request, grant, name, lambda writer: uploads.start_upload(grant, name, algorithm, writer=writer), digest,
            resumable=False,
        )  # fmt: skip
        return
    session = await in_thread(
        uploads.start_upload, grant, name, algorithm, instead_of_mount=mount is not None
    )
    headers = _position(request, name, session)
    if minimum := driver().minimum_chunk:
        headers["oci-chunk-min-length"] = str(minimum)
    await request.answer_empty(202, headers)


def _source(request: Request) -> RepositoryName | None:
    """The repository that `from` names; None without one, or where it can be no repository's name."""
    try:
        return parse_repository(request.parameter("from") or "")
    except errors.NameInvalid:
        return None


async def _mount(
    request: Request, grant: hooks.Grant, name: RepositoryName, digest: str, source: RepositoryName | None
) -> bool:
    """True when answered. What cannot be read there, or is not there, becomes a plain upload in the same words."""
    if source is not None:
        sources = [source]
    elif request.parameter("from"):
        return False
    else:
        found = await in_thread(leases.find_sources, digest, grant.principal.subject)
        sources = [RepositoryName(project, path) for project, path in found]
    for candidate in sources:
        readable = await hooks.find_pull_grant(request.caller(), candidate)
        if readable is not None and await in_thread(
            leases.mount_blob, grant, name, digest, (readable.namespace_id, candidate.path)
        ):
            await request.answer_empty(201, _blob_headers(request, name, digest))
            return True
    return False


def _blob_headers(request: Request, name: RepositoryName, digest: str) -> dict[str, str]:
    return {
        "location": f"{request.base_url}/v2/{name}/blobs/{digest}",
        "docker-content-digest": digest,
    }


def _position(request: Request, name: RepositoryName, session: uploads.Session) -> dict[str, str]:
    return {
        "location": f"{request.base_url}/v2/{name}/blobs/uploads/{session.id}",
        "docker-upload-uuid": str(session.id),
        **uploads.position_headers(session.offset),
    }


def _upload_id(text: str) -> uuid.UUID:
    try:
        return uuid.UUID(text)
    except ValueError as e:
        raise errors.BlobUploadUnknown(detail={"upload": text[:80], "form": "a UUID"}) from e


async def status(request: Request, name: RepositoryName, upload: str) -> None:
    grant = await hooks.authorize(request.caller(), name, "push")
    session = await in_thread(uploads.get_session, grant, name, _upload_id(upload))
    await request.answer_empty(204, _position(request, name, session))


async def cancel(request: Request, name: RepositoryName, upload: str) -> None:
    grant = await hooks.authorize(request.caller(), name, "push")
    await in_thread(uploads.cancel_upload, grant, name, _upload_id(upload))
    await request.answer_empty(204, {"docker-upload-uuid": upload})


async def patch(request: Request, name: RepositoryName, upload: str) -> None:
    """Append. A body that ends early keeps what arrived; a wrong Content-Range changes nothing."""
    grant = await hooks.authorize(request.caller(), name, "push")
    transfer = await Transfer.begin(grant, name, _claiming(request, grant, name, _upload_id(upload)))
    try:
        await _receive(request, transfer)
    except (ClientGone, errors.RequestTimeout):
        await transfer.suspend()
        raise
    except BaseException:
        await transfer.give_up()
        raise
    await transfer.suspend()
    await request.answer_empty(202, _position(request, name, transfer.session))


def _claiming(request: Request, grant: hooks.Grant, name: RepositoryName, upload_id: uuid.UUID) -> Obtain:
    """The session, unless Content-Range does not go on where it stands."""

    def obtain(writer: uuid.UUID) -> uploads.Session:
        session = uploads.claim_session(grant, name, upload_id, writer)
        try:
            _check_range(request, session.offset)
        except errors.RegistryError:
            uploads.release_writer(upload_id, writer)
            raise
        return session

    return obtain


def _check_range(request: Request, offset: int) -> None:
    """RangeInvalid unless Content-Range, where there is one, begins at the offset."""
    text = request.header("content-range")
    if not text:
        return
    match = _CONTENT_RANGE.fullmatch(text.strip())
    if match is None or int(match[1]) != offset or int(match[2]) < offset:
        raise errors.RangeInvalid(
            "Content-Range does not go on where the upload stands",
            {"content-range": text[:80], "offset": offset, "form": f"{offset}-<last byte>"},
            headers=uploads.position_headers(offset),
        )
    stated = request.header("content-length")
    if stated.isascii() and stated.isdigit() and int(stated) != _announced(request):
        raise errors.SizeInvalid(
            "Content-Length is not the length of Content-Range",
            {"content-range": text[:80], "content-length": int(stated)},
            headers=uploads.position_headers(offset),
        )


def _announced(request: Request) -> int | None:
    """Bytes that Content-Range promises; None without one, or where it will be refused."""
    match = _CONTENT_RANGE.fullmatch(request.header("content-range").strip())
    return None if match is None else int(match[2]) - int(match[1]) + 1


async def _receive(request: Request, transfer: Transfer) -> None:
    """Bytes go to the driver and the hash as they come. More than announced ends the session.

    Who would send more than a buffer holds, or waits to be told that it may send, hears first of a session that is not
    to be had; anybody else with the end.
    """
    length = request.header("content-length")
    if request.header("expect") or (length.isascii() and length.isdigit() and int(length) > CHUNK):
        await transfer.claim()
    received, announced = 0, _announced(request)
    async for pieces in request.chunks():
        received += sum(map(len, pieces))
        if announced is not None and received > announced:
            await transfer.end()
            raise errors.SizeInvalid("the body holds more bytes than announced", {"announced": announced})
        await transfer.write(pieces)


async def put(request: Request, name: RepositoryName, upload: str) -> None:
    """Commit, with the rest of the bytes in the body, or all of them, or none."""
    grant = await hooks.authorize(request.caller(), name, "push")
    text = request.parameter("digest")
    if text is None:
        raise errors.DigestInvalid(
            "the digest parameter is missing", {"fix": "PUT <location>?digest=<digest>"}
        )
    digest = parse_digest(text)
    await _commit(request, grant, name, _claiming(request, grant, name, _upload_id(upload)), digest)


async def _commit(
    request: Request,
    grant: hooks.Grant,
    name: RepositoryName,
    obtain: Obtain,
    digest: Digest,
    *,
    resumable: bool = True,
) -> None:
    transfer = await Transfer.begin(grant, name, obtain, resumable=resumable)
    try:
        transfer.will_be(digest.algorithm)
        await _receive(request, transfer)
        await transfer.commit(digest)
    except (ClientGone, errors.RequestTimeout):
        await transfer.suspend()
        raise
    except BaseException:
        await transfer.give_up()
        raise
    await request.answer_empty(201, _blob_headers(request, name, str(digest)))
