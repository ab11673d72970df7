"""Tag oidc, and the pages that sign in by OIDC (contract 7)."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse

from api import pages
from api.dispatch import Answer, Call
from rbac.authn import oidc
from rbac.catalogue import Permission
from registry_core import configuration, errors


def ping_oidc(call: Call) -> Answer:
    """Is there a provider under the URL? The sentence why not is for the administrator, who alone may ask."""
    call.require(Permission.CONFIGURATION_UPDATE)
    try:
        oidc.discover(call.body.get("url") or "", verify=bool(call.body.get("verify_cert")))
    except oidc.NoProvider as e:
        raise errors.BadRequest("failed to verify connection", {"cause": str(e)}) from e
    return Answer()


class OtherMode(errors.Precondition):
    """Pages of a way to sign in that is switched off have a code of their own (contract 7)."""

    code = "PRECONDITION_FAILED"


def page(request: HttpRequest) -> HttpResponse:
    """`/c/oidc/*`: signing in by OIDC is not built."""
    return _only_in(f"auth mode: {configuration.get('auth_mode')} is not OIDC based", "oidc_auth")


def auth_proxy(request: HttpRequest) -> HttpResponse:
    """`/c/authproxy/redirect`: signing in by an authenticating proxy is not built."""
    return _only_in(f"the auth mode {configuration.get('auth_mode')} does not support this flow", "http_auth")


def _only_in(fault: str, mode: str) -> HttpResponse:
    if configuration.get("auth_mode") != mode:
        raise OtherMode(fault)
    return pages.nothing()
