"""OIDC providers: what they say of themselves (OpenID Connect Discovery 1.0, section 4)."""

from __future__ import annotations

import json
from dataclasses import dataclass

from registry_core import outbound

_WELL_KNOWN = "/.well-known/openid-configuration"
_BOUNDS = outbound.Bounds(size=256 << 10)


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
        answer = outbound.fetch("GET", issuer.rstrip("/") + _WELL_KNOWN, trust=outbound.Trust(verify), bounds=_BOUNDS)
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
    names = ("authorization_endpoint", "token_endpoint", "jwks_uri", "end_session_endpoint")
    urls = [url if isinstance(url := document.get(name), str) else "" for name in names]
    if not all(urls[:3]):
        raise NoProvider("its description lacks an endpoint")
    return Provider(issuer, authorization=urls[0], token=urls[1], keys=urls[2], end_session=urls[3])
