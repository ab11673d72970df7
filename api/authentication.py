"""Who calls the REST side (contract 1.4): HTTP Basic, then the session. Bad ones are no refusal by themselves."""

from __future__ import annotations

from django.http import HttpRequest
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from api.browser import sid
from rbac.authn import basic, browser
from rbac.authn.accounts import Account
from rbac.permissions import Identity, is_from

NO_RENEWAL = "X-Harbor-No-Session-Renewal"


class Credentials(BaseAuthentication):
    """`request.user` becomes an Identity, anonymous included. A registry's bearer token is good on /v2 only."""

    def authenticate(self, request: Request) -> tuple[Identity, None]:
        return identify(request._request), None  # noqa: SLF001  DRF's request hides the one that it wraps


def identify(request: HttpRequest) -> Identity:
    address = request.META.get("REMOTE_ADDR", "")
    account = find_account(request)
    # Anonymous comes from somewhere too: a project's network limit asks where.
    return account.identity(address) if account else Identity(address=address)


def find_account(request: HttpRequest) -> Account | None:
    """Good Basic credentials count more than the session, bad ones less."""
    address = request.META.get("REMOTE_ADDR", "")
    if account := basic.find_account(request.headers.get("Authorization", ""), address):
        return account
    account = browser.find(sid(request), renew=NO_RENEWAL not in request.headers)
    return account if account and is_from(account.networks, address) else None
