"""Signing in and out by form, and what a registration form asks (contract 7)."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse, JsonResponse

from api import pages
from api.authentication import identify
from api.browser import expire_sid, set_sid, sid
from rbac.actions import ADMIN_ID
from rbac.authn import browser
from rbac.models import User
from registry_core import configuration

_TEXT = "text/plain; charset=utf-8"


def log_in(request: HttpRequest) -> HttpResponse:
    if request.method != "POST":
        return pages.nothing()
    name, secret = _field(request, "principal"), _field(request, "password")
    token = browser.sign_in(name, secret, request.META.get("REMOTE_ADDR", ""), instead_of=sid(request))
    response = _empty(200 if token else 401)
    if token:
        set_sid(request, response, token)
    return response


def log_out(request: HttpRequest) -> HttpResponse:
    if request.method != "GET":
        return pages.nothing()
    browser.sign_out(sid(request), request.META.get("REMOTE_ADDR", ""))
    response = _empty(200)
    expire_sid(request, response)
    return response


def user_exists(request: HttpRequest) -> HttpResponse:
    """Is a name or an e-mail taken? `admin` is not told of, and of something else only whether anybody is there."""
    if request.method != "POST":
        return pages.nothing()
    if not (configuration.get("self_registration") or identify(request).principal.is_admin):
        text = "self registration deactivated, only sysadmin can check user existence"
        return HttpResponse(text, status=412, content_type=_TEXT)
    users, value = User.objects.living().exclude(pk=ADMIN_ID), _field(request, "value").replace("\0", "")
    match _field(request, "target"):
        case "username":
            users = users.filter(username=value)
        case "email":
            users = users.filter(email=value)
    return JsonResponse(users.exists(), safe=False)


def _field(request: HttpRequest, name: str) -> str:
    """Of the form, or else of the query (contract 7)."""
    value = request.POST.get(name) if name in request.POST else request.GET.get(name, "")
    return value if isinstance(value, str) else ""


def _empty(status: int) -> HttpResponse:
    response = HttpResponse(status=status)
    del response["Content-Type"]  # there is no content
    return response
