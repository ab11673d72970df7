"""Who calls the REST side (contract 1.4): HTTP Basic. Bad credentials are no refusal by themselves."""

from __future__ import annotations

from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from rbac.authn import basic
from rbac.permissions import Identity


class Credentials(BaseAuthentication):
    """`request.user` becomes an Identity, anonymous included. A registry's bearer token is good on /v2 only."""

    def authenticate(self, request: Request) -> tuple[Identity, None]:
        address = request.META.get("REMOTE_ADDR", "")
        identity = basic.identify(request.headers.get("Authorization", ""), address)
        # Anonymous comes from somewhere too: a project's network limit asks where.
        return (Identity(address=address) if identity.is_anonymous else identity), None
