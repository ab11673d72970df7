"""The bearer JWT of `/v2`: sign and verify. Pure: keys and the time are given (design 3, Tokens).

What a token says about its own key is ignored: RS256 and our keys by our `kid`, nothing else. `jwk`, `jku` and
`x5u` are never looked at, another `alg` or a `crit` is a refusal.
"""

from __future__ import annotations

import base64
import binascii
import functools
import hashlib
import json
from collections.abc import Mapping
from typing import Any

import jwt
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

ALGORITHM = "RS256"
ISSUER = "harbor-token-issuer"
AUDIENCE = "harbor-registry"
LEEWAY = 60  # seconds that two clocks may be apart
MAX_SIZE = 16 << 10
# The header is read before the signature: it may hold anything, brackets a thousand deep too.
_BAD = (ValueError, RecursionError)
_PADDING, _HASH = PKCS1v15(), SHA256()
_STANDARD = str.maketrans("-_", "+/")


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
    if token.count(".") != 2:
        raise TokenRefused("malformed: not three parts")
    header, _, _ = token.partition(".")
    return _key_id_in(header)


@functools.lru_cache(maxsize=8)
def _key_id_in(encoded: str) -> str:
    """The `kid` of a header; what a key of ours has signed begins with the same one each time."""
    try:
        header = json.loads(_decoded(encoded))
    except _BAD as e:
        raise TokenRefused(f"malformed: {e}") from e
    if type(header) is not dict:
        raise TokenRefused("malformed: the header is no object")
    if header.get("alg") != ALGORITHM or "crit" in header:
        raise TokenRefused("another algorithm or extension than ours")
    kid = header.get("kid")
    if not isinstance(kid, str):
        raise TokenRefused("no key id")
    return kid


def verify(token: str, keys: Mapping[str, RSAPublicKey], now: float) -> dict[str, Any]:
    """The claims of a good token; TokenRefused otherwise, UnknownKey when other keys may help.

    The parts are taken apart here and not by PyJWT, which reads the header twice and takes 115 us where the signature
    takes 20: the first request with a token pays for it.
    """
    kid = read_key_id(token)
    if kid not in keys:
        raise UnknownKey(kid)
    signed, _, signature = token.rpartition(".")
    try:
        keys[kid].verify(_decoded(signature), signed.encode(), _PADDING, _HASH)
        claims = json.loads(_decoded(signed.partition(".")[2]))
    except InvalidSignature as e:
        raise TokenRefused("the signature is not that of our key") from e
    except _BAD as e:
        raise TokenRefused(f"malformed: {e}") from e
    if type(claims) is not dict:
        raise TokenRefused("the claims are no object")
    _check_times(claims, now)
    if claims.get("iss") != ISSUER or claims.get("aud") != AUDIENCE:
        raise TokenRefused("of another issuer, or for another audience")
    return claims


def _decoded(part: str) -> bytes:
    """Base64url as RFC 7515 has it: without padding, and nothing else in it. ValueError."""
    if "=" in part or "+" in part or "/" in part:
        raise ValueError("not base64url")
    return binascii.a2b_base64(part.translate(_STANDARD) + "=" * (-len(part) % 4), strict_mode=True)


def _check_times(claims: Mapping[str, Any], now: float) -> None:
    for name in ("exp", "nbf", "iat"):
        if type(claims.get(name)) not in (int, float):
            raise TokenRefused(f"{name} is no number")
    if now >= claims["exp"] + LEEWAY:
        raise TokenRefused("expired")
    if now < claims["nbf"] - LEEWAY or now < claims["iat"] - LEEWAY:
        raise TokenRefused("not valid yet")
