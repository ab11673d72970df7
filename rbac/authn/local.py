"""Passwords, and robot secrets that people chose: Argon2id, computed seldom (design 5)."""

from __future__ import annotations

import hmac
import os
import threading
import time
from collections.abc import Sequence

from django.contrib.auth.hashers import Argon2PasswordHasher

from rbac.authn import lockout

AT_ONCE = 2
KEPT_SECONDS = 60.0
MAX_KEPT = 4096
MAX_SECRET = 1024  # nobody chose a longer one (contract 7: 128 bytes)

RULE = (
    "the password or secret must be 8-128, inclusively, characters long with at least "
    "1 uppercase letter, 1 lowercase letter and 1 number"
)


class PasswordHasher(Argon2PasswordHasher):
    """Argon2id with 19 MiB, two passes and one lane."""

    time_cost = 2
    memory_cost = 19 * 1024
    parallelism = 1


_hasher = PasswordHasher()
_computing = threading.BoundedSemaphore(AT_ONCE)
_key = os.urandom(32)
_good: dict[bytes, float] = {}
_keeping = threading.Lock()
# What an unknown name is checked against, so that it takes as long as a known one.
_NOBODY = _hasher.encode(os.urandom(16).hex(), _hasher.salt())


def hash_secret(secret: str) -> str:
    with _computing:
        return _hasher.encode(secret, _hasher.salt())


def is_behind(secret: str, encoded: str) -> bool:
    """For one who is signed in already: nothing is kept, and a failure locks nobody out."""
    with _computing:
        return is_hash(encoded) and len(secret) <= MAX_SECRET and bool(_hasher.verify(secret, encoded))


def is_hash(encoded: str) -> bool:
    """Is it one of ours? Empty and unusable passwords are not (people who sign in elsewhere)."""
    return encoded.startswith(f"{_hasher.algorithm}$")


def is_acceptable(secret: str) -> bool:
    """The rule for passwords and chosen secrets; it counts bytes (contract 7)."""
    return (
        8 <= len(secret.encode(errors="surrogatepass")) <= 128
        and not any("\ud800" <= c <= "\udfff" for c in secret)
        and any("A" <= c <= "Z" for c in secret)
        and any("a" <= c <= "z" for c in secret)
        and any("0" <= c <= "9" for c in secret)
    )


def check(name: str, secret: str, hashes: Sequence[str], address: str) -> str | None:
    """The one of `hashes` that the secret is behind. An empty list means that nobody has this name.

    Answers at once while (name, network of the address) is refused. A good answer is kept for a minute under
    the secret and the hash together: a new password ends it.
    """
    if lockout.is_locked(name, address):
        return None
    marks = [hmac.digest(_key, f"{encoded}\0{secret}".encode(), "sha256") for encoded in hashes]
    now = time.monotonic()
    for mark, encoded in zip(marks, hashes, strict=True):
        if _good.get(mark, 0.0) > now:
            return encoded
    with _computing:
        # Whoever waited here may have been one of many guesses: the first failure answers for all.
        if lockout.is_locked(name, address):
            return None
        found = _find(secret, hashes)
        if found is None:
            lockout.record_failure(name, address)
            return None
    lockout.record_success(name, address)
    _keep(marks[found])
    return hashes[found]


def _find(secret: str, hashes: Sequence[str]) -> int | None:
    if len(secret) > MAX_SECRET:
        return None
    if not hashes:
        _hasher.verify(secret, _NOBODY)
    return next((i for i, encoded in enumerate(hashes) if _hasher.verify(secret, encoded)), None)


def _keep(mark: bytes) -> None:
    with _keeping:
        while len(_good) >= MAX_KEPT:
            del _good[next(iter(_good))]
        _good[mark] = time.monotonic() + KEPT_SECONDS
