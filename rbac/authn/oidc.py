"""OIDC providers: what they say of themselves (OpenID Connect Discovery 1.0, section 4)."""

from __future__ import annotations

import json
from dataclasses import dataclass

from registry_core import outbound

_WELL_KNOWN = "/.well-known/openid-configuration"
MAX_DOCUMENT = 256 << 10  # bytes


class NoProvider(Exception):
    """A sentence about what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Provider:
    """`end_session` is empty where the provider signs nobody out."""

    issuer: str
    authorization: str
    token: str
    keys: str
    end_session: str = ""


def discover(issuer: str, *, verify: bool) -> Provider:
    """What the provider at this URL says. NoProvider, also when it calls itself otherwise (section 4.3)."""
    try:
        answer = outbound.fetch("GET", issuer.rstrip("/") + _WELL_KNOWN, verify=verify, most=MAX_DOCUMENT)
    except outbound.OutboundError as e:
        raise NoProvider(str(e)) from e
    if answer.status != 200:
        raise NoProvider(f"it answers {answer.status} where it should describe itself")
    try:
        document = json.loads(answer.body)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise NoProvider("its description is no JSON object")
    if document.get("issuer") != issuer:
        raise NoProvider("the issuer that it names is not the URL that is configured, sign for sign")
    found = [document.get(name) for name in ("authorization_endpoint", "token_endpoint", "jwks_uri")]
    if not all(isinstance(url, str) and url for url in found):
        raise NoProvider("its description lacks an endpoint")
    ends = document.get("end_session_endpoint")
    return Provider(issuer, *map(str, found), ends if isinstance(ends, str) else "")
