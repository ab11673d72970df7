"""Secrets of robots: generated ones need no slow hash, chosen ones are passwords (design 5)."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import string

from rbac.authn import local

LENGTH = 32  # of 62 letters and digits each: 190 bits
_PREFIX = "sha256$"
_ALPHABET = string.ascii_letters + string.digits


def new_secret() -> str:
    """A secret that also satisfies the rule for chosen ones, since clients check it."""
    while True:
        secret = "".join(secrets.choice(_ALPHABET) for _ in range(LENGTH))
        if local.is_acceptable(secret):
            return secret


def hash_generated(secret: str) -> str:
    return _PREFIX + hashlib.sha256(secret.encode()).hexdigest()


def is_generated_hash(encoded: str) -> bool:
    return encoded.startswith(_PREFIX)


def is_generated(secret: str, encoded: str) -> bool:
    """Is this the generated secret behind the hash? False for the hash of a chosen one."""
    return hmac.compare_digest(hash_generated(secret), encoded)
