"""The one handler that turns what was raised into Harbor's error bodies (contract 1.1).

{"errors":[{"code":"<CODE>","message":"<text>"}]}, with `detail` where the error explains itself (design 2.8). Codes are
Harbor's: an OCI code that Harbor's REST side does not know becomes the one of its status. From 500 on the text is
masked. An operation of the contract that is not built yet says so, with 404.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import orjson
from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from django.db import DataError, IntegrityError, InterfaceError, OperationalError
from django.http import Http404, HttpResponse, UnreadablePostError
from rest_framework.exceptions import APIException

from registry_core.errors import BadRequest, Conflict, ManifestTooLarge, NotFound, RegistryError, Unavailable

log = logging.getLogger(__name__)

_BY_STATUS = {
    400: "BAD_REQUEST",
    401: "UNAUTHORIZED",
    403: "FORBIDDEN",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    409: "CONFLICT",
    412: "PRECONDITION",
    413: "REQUEST_ENTITY_TOO_LARGE",
    422: "UNPROCESSABLE_ENTITY",
    429: "TOO_MANY_REQUEST",
}
_HARBORS = {
    *_BY_STATUS.values(),
    "DENIED",
    "DIGEST_INVALID",
    "MANIFEST_INVALID",
    "PRECONDITION_FAILED",
    "PROJECTPOLICYVIOLATION",
    "UNSUPPORTED",
    "VIOLATE_FOREIGN_KEY_CONSTRAINT",
}
MASKED = {"code": "UNKNOWN", "message": "internal server error"}


class Unprocessable(RegistryError):
    code, status = "UNPROCESSABLE_ENTITY", 422


class MethodNotAllowed(RegistryError):
    code, status = "METHOD_NOT_ALLOWED", 405


class NotBuilt(RegistryError):
    """The contract knows this operation, this version does not yet."""

    code, status = "NOT_FOUND", 404


def handle(error: Exception, context: Mapping[str, Any] | None = None) -> HttpResponse:
    """The answer to whatever was raised; what nobody foresaw is logged and becomes a masked 500."""
    known = _as_registry_error(error)
    if known is None:
        log.error("unhandled error", exc_info=error)
        return error_response(500, [MASKED])
    if known.status >= 500:
        log.error("%s: %s", type(known).__name__, known.message)
        return error_response(known.status, [MASKED], known.headers)
    entry: dict[str, Any] = {"code": _code(known), "message": known.message}
    if known.detail is not None:
        entry["detail"] = known.detail
    response = error_response(known.status, [entry], known.headers)
    request = (context or {}).get("request")
    if known.status == 422 and request is not None and not request.headers.get("Authorization"):
        response["Www-Authenticate"] = 'Basic realm="API"'  # contract 1.1
    return response


def _as_registry_error(error: Exception) -> RegistryError | None:
    if isinstance(error, RegistryError):
        return error
    if isinstance(error, APIException):
        translated = RegistryError(str(error.detail))
        translated.status = error.status_code
        return translated
    for kinds, make in _KNOWN:
        if isinstance(error, kinds):
            return make(error)
    return None


def _unfit(error: Exception) -> RegistryError:
    log.warning("a value that no column takes reached the database", exc_info=error)
    return BadRequest("a value in the request is out of range")


def _met(error: Exception) -> RegistryError:
    log.warning("a change met another one", exc_info=error)
    return Conflict("something that this request needs was changed at the same moment; try again")


_KNOWN: tuple[
    tuple[type[Exception] | tuple[type[Exception], ...], Callable[[Exception], RegistryError]], ...
] = (
    (Http404, lambda _: NotFound()),
    (RequestDataTooBig, lambda _: ManifestTooLarge("the request body is larger than 8 MiB")),
    (UnreadablePostError, lambda _: BadRequest("the request body ended early")),
    (DataError, _unfit),
    (IntegrityError, _met),
    ((OperationalError, InterfaceError), lambda e: Unavailable(f"the database does not answer: {e}")),
    (SuspiciousOperation, lambda e: BadRequest(str(e))),
)


def _code(error: RegistryError) -> str:
    if error.code in _HARBORS:
        return error.code
    return _BY_STATUS.get(error.status, "UNKNOWN")


def error_response(
    status: int, entries: list[dict[str, Any]], headers: Mapping[str, str] | None = None
) -> HttpResponse:
    response = HttpResponse(
        orjson.dumps({"errors": entries}) + b"\n",
        status=status,
        content_type="application/json; charset=utf-8",
    )
    for name, value in (headers or {}).items():
        # A challenge belongs to /v2: on this side a browser would ask for a password (contract 1.4).
        if value and name.lower() != "www-authenticate":
            response[name] = value
    return response
