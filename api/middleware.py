"""What every answer of Django's side has in common."""

from __future__ import annotations

import uuid
from collections.abc import Callable

from django.http import HttpRequest, HttpResponse, HttpResponseBase

from api import contract, errors, routing
from registry_core import configuration
from registry_core.errors import BadRequest, Denied

SAFE = ("GET", "HEAD", "OPTIONS")
_EVEN_READ_ONLY = {
    ("PUT", f"{contract.PREFIX}/configurations"),
    ("POST", "/c/login"),
    ("POST", "/c/userExists"),
    ("POST", "/c/oidc/onboard"),
    ("POST", "/service/token"),
}
GetResponse = Callable[[HttpRequest], HttpResponseBase]


class RequestId:
    """X-Request-Id: the client's, or a new one (contract 1.3)."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        request_id = request.headers.get("X-Request-Id", "")
        if not request_id or len(request_id) > 255 or not request_id.isprintable():
            request_id = str(uuid.uuid4())
        request.META["breakwater.request_id"] = request_id
        response = self.get_response(request)
        response["X-Request-Id"] = request_id
        response["X-Content-Type-Options"] = "nosniff"
        return response


class Errors:
    """Errors outside the contract's view, queries that do not parse, and bodies that HEAD must not have."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self._answer(request)
        if isinstance(response, HttpResponse):
            if request.method == "HEAD":
                response.content = b""
            response.headers.setdefault("Content-Length", str(len(response.content)))
        return response

    def _answer(self, request: HttpRequest) -> HttpResponseBase:
        try:
            routing.check_escapes(routing.raw_path(request.META))
            routing.check_escapes(request.META.get("QUERY_STRING", ""), query=True)
        except BadRequest as e:
            return errors.handle(e)
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponseBase:
        return errors.handle(exception)


class ReadOnly:
    """Nothing changes while the mode is on, whatever the path is and whoever asks (contract 1.7)."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        method = request.method or ""
        if method not in SAFE and (method, routing.clean(routing.raw_path(request.META))) not in _EVEN_READ_ONLY:
            try:
                if configuration.get("read_only"):
                    raise Denied("The system is in read only mode. Any modification is prohibited.")
            except Exception as e:  # noqa: BLE001  the database may be away, too
                return errors.handle(e)
        return self.get_response(request)
