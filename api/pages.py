"""What is no part of the contract: the version of the API, and the page for what is not here."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from api import contract, routing

_NOTHING = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Not found</title>
<h1>404</h1>
<p>There is nothing here. <a href="/">Breakwater</a></p>
</html>
"""


def version(request: HttpRequest) -> HttpResponse:
    if request.method != "GET":
        return nothing()
    return HttpResponse('{"version":"v2.0"}\n', content_type="text/plain; charset=utf-8")


def elsewhere(request: HttpRequest, contract_view: Callable[[HttpRequest], HttpResponse]) -> HttpResponse:
    """Every other path: the API behind doubled slashes, or nothing."""
    path = routing.clean(routing.raw_path(request.META))
    if path == contract.PREFIX or path.startswith(contract.PREFIX + "/"):
        return contract_view(request)
    return nothing()


def nothing() -> HttpResponse:
    return HttpResponse(_NOTHING, status=404)
