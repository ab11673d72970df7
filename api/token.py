"""GET /service/token: registry tokens for docker and its kin (contract 3.1, to the letter)."""

from __future__ import annotations

import secrets
import string
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse

from api.authentication import find_account
from projects.models import Project
from rbac.authn.accounts import Account, fingerprint
from rbac.permissions import Identity, held, standing_in
from rbac.sessions import ACTIONS
from registry_core import configuration, epochs, keys, tokens
from registry_core.references import is_project_name

MAX_SCOPES = 100
_TEXT = "text/plain; charset=utf-8"
_SIGNS = string.ascii_letters + string.digits


@dataclass(frozen=True, slots=True)
class Scope:
    type: str
    name: str


@dataclass(frozen=True, slots=True)
class Held:
    """What the caller may do under one name; `is_limited` where a network limit applies; pull policies that are on."""

    namespace_id: int
    actions: tuple[str, ...]
    is_limited: bool
    policies: frozenset[str]


def service_token(request: HttpRequest) -> HttpResponseBase:
    if request.method != "GET":
        return HttpResponse("Method Not Allowed\n", status=405, content_type=_TEXT)
    service = request.GET.get("service", "")
    if service != tokens.AUDIENCE:
        return HttpResponse(f"Unable to handle service: {service}", status=400, content_type=_TEXT)
    scopes = parse_scopes(request.GET.getlist("scope"))
    if len(scopes) > MAX_SCOPES:
        return HttpResponse(f"more than {MAX_SCOPES} scopes", status=400, content_type=_TEXT)
    # Before the rights: what changes from here on is newer than the token.
    seq = epochs.current_seq()
    address = request.META.get("REMOTE_ADDR", "")
    account = find_account(request)
    if account is None and not scopes:
        return _unauthorized()
    token, lifetime, now = _token(account, address, scopes, seq)
    if len(token) > tokens.MAX_SIZE:
        text = f"the token would be longer than {tokens.MAX_SIZE} bytes; ask for fewer scopes at a time"
        return HttpResponse(text, status=400, content_type=_TEXT)
    issued_at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))
    body = {"token": token, "access_token": "", "expires_in": lifetime, "issued_at": issued_at}
    return JsonResponse(body, content_type="application/json; charset=utf-8")


def _unauthorized() -> HttpResponse:
    response = HttpResponse(status=401)
    del response["Content-Type"]  # there is no content
    return response


def parse_scopes(values: Iterable[str]) -> list[Scope]:
    """`type[:name[:actions]]`, several in a value separated by blanks; a name may hold colons if actions follow."""
    scopes = []
    for text in " ".join(values).split():
        kind, *rest = text.split(":")
        scopes.append(Scope(kind, ":".join(rest[:-1] if len(rest) > 1 else rest)))
    return scopes


def _token(account: Account | None, address: str, scopes: list[Scope], seq: int) -> tuple[str, int, int]:
    """(token, seconds it lives, when it was issued)."""
    identity = account.identity(address) if account else Identity(address=address)
    found = _held_under(identity, {scope.name for scope in scopes if scope.type == "repository"})
    now = int(time.time())
    ends = now + configuration.get("token_expiration") * 60
    if account:
        # A robot's token ends with the robot.
        ends = int(min(ends, account.expires_at))
    claims: dict[str, Any] = {"iss": tokens.ISSUER}
    if account:
        claims["sub"] = account.principal.name
    claims |= {
        "aud": tokens.AUDIENCE,
        "exp": ends,
        "nbf": now,
        "iat": now,
        "jti": "".join(secrets.choice(_SIGNS) for _ in range(16)),
        "access": [_entry(identity, scope, found) for scope in scopes] or None,
        "bw": _own_claims(account, found, seq),
    }
    key = keys.signing_key()
    return tokens.sign(claims, key.private, key.kid), ends - now, now


def _entry(identity: Identity, scope: Scope, found: Mapping[str, Held]) -> dict[str, Any]:
    actions: list[str] = []
    if scope.type == "repository" and scope.name in found:
        actions = list(found[scope.name].actions)
    elif (scope.type, scope.name) == ("registry", "catalog") and identity.principal.is_admin:
        actions = ["*"]
    return {"type": scope.type, "name": scope.name, "actions": actions}


def _own_claims(account: Account | None, found: Mapping[str, Held], seq: int) -> dict[str, Any]:
    """What rbac/sessions.py reads: subject, newest change, namespace behind each name, credential, admin, limits, and
    policies where there are any.

    Names that the caller may do nothing under are left out: whoever reads the token must not learn that they exist.
    """
    own: dict[str, Any] = {
        "s": account.principal.subject if account else "",
        "q": seq,
        "n": {name: one.namespace_id for name, one in found.items()},
    }
    if policies := {name: sorted(one.policies) for name, one in found.items() if one.policies}:
        own["p"] = policies
    if account:
        own["c"] = fingerprint(account.hashes[0])
        if account.principal.is_admin:
            own["a"] = 1
    if (account and account.networks) or any(one.is_limited for one in found.values()):
        own["w"] = 1
    return own


def _held_under(identity: Identity, names: set[str]) -> dict[str, Held]:
    """For each repository name every action that is held, where there is any."""
    parts = {name: name.partition("/") for name in names}
    projects = {
        name: project for name, (project, _, path) in parts.items() if path and is_project_name(project)
    }
    rows = Project.objects.filter(namespace__name__in=set(projects.values())).select_related("namespace")
    by_name: dict[str, Held] = {}
    for project in rows:
        standing = standing_in(identity, project)
        allowed = held(identity, standing)
        actions = tuple(action for action, permission in ACTIONS.items() if permission in allowed)
        by_name[project.name] = Held(
            project.namespace_id, actions, bool(standing.networks), standing.policies
        )
    return {
        name: by_name[project]
        for name, project in projects.items()
        if project in by_name and by_name[project].actions
    }
