"""The bearer JWT of `/v2`: sign and verify. Pure: keys and the time are given (design 3, Tokens).

What a token says about its own key is ignored: RS256 and our keys by our `kid`, nothing else. `jwk`, `jku` and
`x5u` are never looked at, another `alg` or a `crit` is a refusal.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

ALGORITHM = "RS256"
ISSUER = "harbor-token-issuer"
AUDIENCE = "harbor-registry"
LEEWAY = 60  # seconds that two clocks may be apart
MAX_SIZE = 16 << 10
# The header is read before the signature: it may hold anything, brackets a thousand deep too.
_BAD = (jwt.PyJWTError, ValueError, RecursionError)


class TokenRefused(Exception):
    """Not one of ours, or not good now; says why, for logs."""


class UnknownKey(TokenRefused):
    """Signed, it says, with a key that is not among those given."""

    def __init__(self, kid: str) -> None:
        super().__init__(f"unknown key {kid[:80]}")
        self.kid = kid


def key_id(key: RSAPublicKey) -> str:
    """The libtrust fingerprint that docker's registries use: SHA-256 of the key, 240 bits, base32 in groups of four."""
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    text = base64.b32encode(hashlib.sha256(der).digest()[:30]).decode()
    return ":".join(text[i : i + 4] for i in range(0, len(text), 4))


def sign(claims: Mapping[str, Any], key: RSAPrivateKey, kid: str) -> str:
    return jwt.encode(dict(claims), key, algorithm=ALGORITHM, headers={"kid": kid})


def read_key_id(token: str) -> str:
    """The `kid` that a token names; nothing is verified yet."""
    if len(token) > MAX_SIZE:
        raise TokenRefused(f"longer than {MAX_SIZE} bytes")
    try:
        header = jwt.get_unverified_header(token)
    except _BAD as e:
        raise TokenRefused(f"malformed: {e}") from e
    if header.get("alg") != ALGORITHM or "crit" in header:
        raise TokenRefused("another algorithm or extension than ours")
    kid = header.get("kid")
    if not isinstance(kid, str):
        raise TokenRefused("no key id")
    return kid


def verify(token: str, keys: Mapping[str, RSAPublicKey], now: float) -> dict[str, Any]:
    """The claims of a good token; TokenRefused otherwise, UnknownKey when other keys may help."""
    kid = read_key_id(token)
    if kid not in keys:
        raise UnknownKey(kid)
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            keys[kid],
            algorithms=[ALGORITHM],
            issuer=ISSUER,
            audience=AUDIENCE,
            options={
                "require": ["iss", "aud", "exp", "nbf", "iat"],
                "strict_aud": True,
                # Below, against the time that was given.
                "verify_exp": False,
                "verify_nbf": False,
                "verify_iat": False,
            },
        )
    except _BAD as e:
        raise TokenRefused(str(e)) from e
    _check_times(claims, now)
    return claims


def _check_times(claims: Mapping[str, Any], now: float) -> None:
    for name in ("exp", "nbf", "iat"):
        if type(claims[name]) not in (int, float):
            raise TokenRefused(f"{name} is no number")
    if now >= claims["exp"] + LEEWAY:
        raise TokenRefused("expired")
    if now < claims["nbf"] - LEEWAY or now < claims["iat"] - LEEWAY:
        raise TokenRefused("not valid yet")
