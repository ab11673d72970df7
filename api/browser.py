"""What browsers carry: the session's cookie and the token against forged requests (contract 1.5).

Django's own protection against forgery asks everywhere or nowhere, and renews its cookie with every token. Harbor's
concerns what comes with a session's cookie and what lies outside the APIs, and clients read its token from answers.
"""

from __future__ import annotations

import base64
import binascii
import functools
import hashlib
import hmac
import os

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase

from api import errors, routing
from api.middleware import SAFE, GetResponse
from rbac.authn import browser
from registry_core.errors import Forbidden

SID = "sid"
COOKIE = "_gorilla_csrf"
HEADER = "X-Harbor-CSRF-Token"
_SIZE = 32
_COOKIE_SECONDS = 12 * 3600
_APIS = ("/v2/", "/api/", "/service/")
_APART = ("/metrics",)  # read by programs on a schedule


class Session:
    """Whoever has no token of ours gets one; `META["breakwater.sid"]` is the one that was sent, if it is ours."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        sent = request.COOKIES.get(SID, "")
        request.META["breakwater.sid"] = known = sent if browser.is_ours(sent) else ""
        response = self.get_response(request)
        if not known and SID not in response.cookies and request.path not in _APART:
            set_sid(request, response, browser.new_token())
        return response


def sid(request: HttpRequest) -> str:
    """The token that this request came with, or nothing."""
    token: str = request.META.get("breakwater.sid", "")
    return token


def set_sid(request: HttpRequest, response: HttpResponseBase, token: str) -> None:
    # Without SameSite, as the contract has it; what changes anything needs the other token besides.
    response.set_cookie(SID, token, httponly=True, secure=_is_https(request))


def expire_sid(request: HttpRequest, response: HttpResponseBase) -> None:
    response.set_cookie(
        SID, "", max_age=0, expires="Thu, 01 Jan 1970 00:00:00 GMT", httponly=True, secure=_is_https(request)
    )


class Csrf:
    """A secret in a cookie and, masked anew each time, in a header that no other site can send."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if not _concerns(request):
            return self.get_response(request)
        known = _open(request.COOKIES.get(COOKIE, ""))
        secret = known or os.urandom(_SIZE)
        fault = "" if request.method in SAFE else _find_fault(request, secret)
        response = errors.handle(Forbidden(fault)) if fault else self.get_response(request)
        response[HEADER] = _masked(secret)
        if known is None:
            response.set_cookie(
                COOKIE, _sealed(secret), max_age=_COOKIE_SECONDS, httponly=True, samesite="Strict",
                secure=_is_https(request),
            )  # fmt: skip
        return response


def _concerns(request: HttpRequest) -> bool:
    path = routing.clean(routing.raw_path(request.META))
    return SID in request.COOKIES or not path.startswith((*_APIS, *_APART))


def _find_fault(request: HttpRequest, secret: bytes) -> str:
    # Says the browser itself. A cookie that a neighbour of the same domain planted comes with this one.
    if request.headers.get("Sec-Fetch-Site") in ("cross-site", "same-site"):
        return "CSRF: the request comes from another site"
    sent = request.headers.get(HEADER, "")
    if not sent:
        return "CSRF token not found in request"
    return "" if hmac.compare_digest(_unmasked(sent), secret) else "CSRF token invalid"


def _masked(secret: bytes) -> str:
    """Never twice the same: what compression of answers gives away is worth nothing."""
    pad = os.urandom(_SIZE)
    return base64.b64encode(pad + _xor(pad, secret)).decode()


def _unmasked(token: str) -> bytes:
    try:
        data = base64.b64decode(token, validate=True)
    except (binascii.Error, ValueError):
        return b""
    return _xor(data[:_SIZE], data[_SIZE:]) if len(data) == 2 * _SIZE else b""


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))


def _sealed(secret: bytes) -> str:
    """Signed: another site of the domain cannot make one up, either."""
    return base64.urlsafe_b64encode(secret + _mark(secret)).decode()


def _open(cookie: str) -> bytes | None:
    try:
        data = base64.urlsafe_b64decode(cookie)
    except (binascii.Error, ValueError):
        return None
    secret, mark = data[:_SIZE], data[_SIZE:]
    return secret if len(secret) == _SIZE and hmac.compare_digest(mark, _mark(secret)) else None


def _mark(secret: bytes) -> bytes:
    return hmac.digest(_key(), secret, "sha256")[:16]


@functools.cache
def _key() -> bytes:
    return hashlib.sha256(b"breakwater forgery\0" + settings.SECRET_KEY.encode()).digest()


def _is_https(request: HttpRequest) -> bool:
    return routing.external_url(request.META).startswith("https://")
