"""The distribution API as a thin ASGI application: a path leads to a handler, an error to its answer.

Routing reads the raw path (design 8.3): servers decode `%2f` in the other one.
"""

from __future__ import annotations

import functools
import logging
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass

from django.conf import settings

from registry_core import errors, hooks, locks, metrics, refusals
from registry_core.oci import blobs, catalog, manifests, referrers, tags, uploads
from registry_core.oci.request import ClientGone, Receive, Request, Scope, Send
from registry_core.references import RepositoryName, parse_repository
from registry_core.storage.driver import StorageError
from registry_core.store import as_registry_error

log = logging.getLogger("breakwater.oci")

Handler = Callable[[Request, RepositoryName, str], Coroutine[None, None, None]]


@dataclass(frozen=True, slots=True)
class Route:
    """What one form of path offers. `operation` is Harbor's word for it in metrics (contract 6.10); `is_transfer`: a
    request may last as long as its bytes take; `get_known` is GET and HEAD of what needs no asking, or None."""

    operation: str
    handlers: dict[str, Handler]
    is_transfer: bool = False
    get_known: Callable[[Request, RepositoryName, str], Coroutine[None, None, None] | None] | None = None


MANIFEST = Route(
    "v2_manifest",
    {"GET": manifests.get, "HEAD": manifests.get, "PUT": manifests.put, "DELETE": manifests.delete},
    get_known=manifests.get_known,
)
BLOB = Route(
    "v2_blob",
    {"GET": blobs.get, "HEAD": blobs.get, "DELETE": blobs.delete},
    is_transfer=True,
    get_known=blobs.get_known,
)
START = Route("v2_blob_upload", {"POST": uploads.start}, is_transfer=True)
UPLOAD = Route(
    "v2_blob_upload",
    {"GET": uploads.status, "PATCH": uploads.patch, "PUT": uploads.put, "DELETE": uploads.cancel},
    is_transfer=True,
)
TAGS = Route("v2_tags", {"GET": tags.get, "HEAD": tags.get})
_NOTHING = (Route("v2_others", {}), "", "")
_READS = ("GET", "HEAD")
REFERRERS = Route("v2_referrers", {"GET": referrers.get, "HEAD": referrers.get})


def find_route(path: str) -> tuple[Route, str, str] | None:
    """(route, repository, last part) of a path below /v2/, or None."""
    parts = path.split("/")[2:]
    match parts:
        case [*name, "blobs", "uploads"] | [*name, "blobs", "uploads", ""] if name:
            return START, "/".join(name), ""
        case [*name, "blobs", "uploads", upload] if name:
            return UPLOAD, "/".join(name), upload
        case [*name, "manifests", reference] if name and reference:
            return MANIFEST, "/".join(name), reference
        case [*name, "blobs", digest] if name and digest:
            return BLOB, "/".join(name), digest
        case [*name, "tags", "list"] if name:
            return TAGS, "/".join(name), ""
        case [*name, "referrers", digest] if name and digest:
            return REFERRERS, "/".join(name), digest
    return None


REMEMBERED = 400  # characters of a path


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    began = time.perf_counter()
    request = Request(scope, receive, send)
    try:
        await (_known(request) or _dispatch(request))
    except errors.RegistryError as e:
        await _refuse(request, e)
    except StorageError as e:
        refusal = as_registry_error(e)
        refusal.__cause__ = e
        await _refuse(request, refusal)
    except ClientGone:
        # Or its frame was broken amid the body: then it is still there to read why, and silence would become a 500.
        await _refuse(request, errors.IncompleteBody())
        request.status = 499
    except Exception as e:
        if not isinstance(known := locks.as_registry_error(e), errors.RegistryError):
            log.exception(
                "request failed", extra={"fields": {"method": request.method, "path": request.path[:300]}}
            )
            known = errors.RegistryError()
        await _refuse(request, known)
    metrics.count(request.method, request.status, request.operation, time.perf_counter() - began)


def _known(request: Request) -> Coroutine[None, None, None] | None:
    """The answer to a path that came before, if nobody needs to be asked for it."""
    if request.method not in _READS or len(request.path) > REMEMBERED:
        return None
    route, repository, last = _known_route(request.path) or _NOTHING
    if route.get_known is None or (route.is_transfer and _is_full(request.address)):
        return None
    request.operation = route.operation
    return route.get_known(request, parse_repository(repository), last)


async def _refuse(request: Request, error: errors.RegistryError) -> None:
    if error.status >= 500:
        log.error(
            error.message,
            extra={"fields": {"method": request.method, "path": request.path[:300], "status": error.status,
                   "detail": error.detail, "cause": str(error.__cause__ or "")[:500]}},
        )  # fmt: skip
    _note(request, error)
    if not request.started:
        await request.refuse(error)


def _note(request: Request, error: errors.RegistryError) -> None:
    """A refusal of somebody known is told in the audit log. To be sent for another token is none."""
    detail = error.detail
    if error.status not in (401, 403) or b"authorization" not in request.headers or not isinstance(detail, dict):
        return
    name = str(detail.get("principal", "")).partition(" ")[2]
    if not name or "insufficient_scope" in error.headers.get("www-authenticate", ""):
        return
    found = _known_route(request.path) if len(request.path) <= REMEMBERED else None
    resource = found[1] if found else request.path
    refusals.note(
        refusals.Refusal(
            name,
            _OPERATIONS.get(request.method, "read"),
            "repository",
            resource,
            f"refused: {detail.get('rule') or error.message}",
            resource.partition("/")[0] if found else "",
        ),
        request.address,
    )


_OPERATIONS = {"GET": "pull", "HEAD": "pull", "DELETE": "delete", "POST": "create", "PATCH": "create", "PUT": "create"}


async def _dispatch(request: Request) -> None:
    path = request.path
    if path in ("/v2/", "/v2"):
        await _ping(request)
        return
    if path in ("/v2/_catalog", "/v2/_catalog/"):
        request.operation = "v2_catalog"
        _check_method(request, ("GET",))
        await catalog.get(request)
        return
    # What anybody can make long is not remembered.
    found = _known_route(path) if len(path) <= REMEMBERED else _route(path)
    if found is None:
        raise errors.NotFound(f"un-recognized request: {request.method} {path[:300]}", {"fix": _FORMS})
    route, repository, last = found
    request.operation = route.operation
    _check_method(request, route.handlers)
    handle = route.handlers[request.method](request, parse_repository(repository), last)
    await (_as_transfer(request, handle) if route.is_transfer else handle)


def _route(path: str) -> tuple[Route, str, str] | None:
    _check_path(path)
    return find_route(path)


_known_route = functools.lru_cache(maxsize=16384)(_route)
forget_routes = _known_route.cache_clear


# Open transfers of each address in this process.
_transfers: Counter[str] = Counter()


def _is_full(address: str) -> bool:
    return bool(_transfers) and _transfers[address] >= settings.MAX_TRANSFERS_PER_ADDRESS


async def _as_transfer(request: Request, handle: Coroutine[None, None, None]) -> None:
    """One address does not take the room of all others (design 8.4)."""
    if _is_full(request.address):
        limit = settings.MAX_TRANSFERS_PER_ADDRESS
        handle.close()
        raise errors.TooManyRequests(
            f"{limit} transfers of {request.address} are open; wait until one ends",
            {"limit": limit, "address": request.address, "who": "the operator sets it"},
            headers={"retry-after": "1"},
        )
    _transfers[request.address] += 1
    try:
        await handle
    finally:
        _transfers[request.address] -= 1
        if not _transfers[request.address]:
            del _transfers[request.address]


async def _ping(request: Request) -> None:
    _check_method(request, ("GET", "HEAD"))
    await hooks.authenticate(request.caller())
    await request.answer_json(200, {})


_FORMS = (
    "/v2/<project>/<repository>/ followed by manifests/<tag or digest>, blobs/<digest>, blobs/uploads/, tags/list or "
    "referrers/<digest>"
)


def _check_path(path: str) -> None:
    """Before authorisation: nothing that two readers could understand differently (design 8.3)."""
    odd = next((x for x in ("%", "//", "/./", "/../", ";", "\\") if x in path), None)
    if odd is None and path.endswith(("/.", "/..")):
        odd = "/."
    if odd is not None:
        raise errors.NameInvalid(
            f"{odd!r} may not occur in a path", {"path": path[:300], "fix": "write the plain name, unescaped"}
        )


def _check_method(request: Request, allowed: tuple[str, ...] | dict[str, Handler]) -> None:
    if request.method not in allowed:
        raise errors.Unsupported(
            f"{request.method} is not supported here",
            {"allowed": sorted(allowed)},
            headers={"allow": ", ".join(sorted(allowed))},
        )
