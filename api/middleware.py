"""What every answer of Django's side has in common."""

from __future__ import annotations

import uuid
from collections.abc import Callable

from django.http import HttpRequest, HttpResponse, HttpResponseBase

from api import errors, routing
from registry_core.errors import BadRequest

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
