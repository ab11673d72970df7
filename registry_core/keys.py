"""The keys that sign registry tokens: encrypted rows, made under a lock, rotated with overlap (design 3, Tokens).

Every process verifies with the keys that it has read; a token that names another one makes it read again, at most
once a second.
"""

from __future__ import annotations

import asyncio
import base64
import datetime
import functools
import logging
import time
from dataclasses import dataclass
from typing import Any

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone

from registry_core import configuration, epochs, hot_reads, tokens
from registry_core.models import TokenKey

log = logging.getLogger("breakwater.tokens")

BITS = 2048
SIGNS_FOR = datetime.timedelta(days=90)
# A new key is known everywhere before it signs: unknown ones are read at once, but not while PostgreSQL is away.
OVERLAP = datetime.timedelta(hours=1)
KEPT_SECONDS = 60.0
_LONGEST = datetime.timedelta(days=36500)
_LOCK = 0x42570002
_PUBLIC = """
SELECT kid, public_key, extract(epoch FROM verifies_until)::float8 AS ends
FROM registry_core_tokenkey WHERE verifies_until > now()
"""


@dataclass(frozen=True, slots=True)
class SigningKey:
    kid: str
    private: rsa.RSAPrivateKey


# -- signing (the REST side, synchronous)

_signing: tuple[SigningKey, float] | None = None


def signing_key() -> SigningKey:
    """The key of the moment; the first call of a new registry makes it."""
    global _signing  # noqa: PLW0603  one a process
    kept = _signing
    if kept is None or time.monotonic() >= kept[1]:
        kept = _signing = (_current() or _make_if_none(), time.monotonic() + KEPT_SECONDS)
    return kept[0]


def rotate() -> SigningKey:
    """A new key that signs from now on; tokens of the old ones are good until they expire."""
    global _signing  # noqa: PLW0603  one a process
    with transaction.atomic():
        _lock()
        key = _insert(timezone.now())
    _signing = (key, time.monotonic() + KEPT_SECONDS)
    return key


def _current() -> SigningKey | None:
    """The newest key that signs now and that our secret key opens. Near its end the next one is made."""
    now = timezone.now()
    rows = list(TokenKey.objects.filter(verifies_until__gt=now).order_by("-signs_from"))
    opened = next((key for row in rows if row.signs_from <= now and (key := _open(row))), None)
    if opened and now > rows[0].signs_from + SIGNS_FOR - OVERLAP:
        with transaction.atomic():
            _lock()
            if not TokenKey.objects.filter(signs_from__gt=rows[0].signs_from).exists():
                _insert(now + OVERLAP)
    return opened


def _make_if_none() -> SigningKey:
    with transaction.atomic():
        _lock()
        # Whoever waited for the lock finds what its holder made.
        return _current() or _insert(timezone.now())


def _lock() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])


def _insert(signs_from: datetime.datetime) -> SigningKey:
    private = rsa.generate_private_key(public_exponent=65537, key_size=BITS)
    kid = tokens.key_id(private.public_key())
    lifetime = datetime.timedelta(minutes=min(configuration.get("token_expiration"), 36500 * 1440))
    TokenKey.objects.filter(verifies_until__gt=signs_from + lifetime).update(
        verifies_until=signs_from + lifetime + datetime.timedelta(seconds=2 * tokens.LEEWAY)
    )
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    TokenKey.objects.create(
        kid=kid,
        private_key=_fernet().encrypt(pem).decode(),
        public_key=private.public_key()
        .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        .decode(),
        signs_from=signs_from,
        verifies_until=signs_from + _LONGEST,
    )
    return SigningKey(kid, private)


def _open(row: TokenKey) -> SigningKey | None:
    try:
        pem = _fernet().decrypt(row.private_key.encode())
    except InvalidToken:
        # The secret key was changed: what this key signed stays good, a new one signs from now on.
        log.warning(
            "a token key does not open with BREAKWATER_SECRET_KEY", extra={"fields": {"kid": row.kid}}
        )
        return None
    private = load_pem_private_key(pem, None)
    return SigningKey(row.kid, private) if isinstance(private, rsa.RSAPrivateKey) else None


@functools.cache
def _fernet() -> Fernet:
    derived = HKDF(SHA256(), 32, salt=None, info=b"breakwater token keys").derive(
        settings.SECRET_KEY.encode()
    )
    return Fernet(base64.urlsafe_b64encode(derived))


# -- verifying (`/v2`, asynchronous)

_public: dict[str, rsa.RSAPublicKey] = {}
_read_at = float("-inf")
_true_until = 0.0  # when the first of them ends
_true_since = 0  # the change of everybody's rights before which they were read: a revoked key raises one
_reading = asyncio.Lock()


async def verify(token: str) -> dict[str, Any]:
    """The claims of a token of ours; tokens.TokenRefused otherwise."""
    now = time.time()
    if _public and (now >= _true_until or epochs.last_change(epochs.EVERYBODY) > _true_since):
        async with _reading:
            await _read_public()
    try:
        return tokens.verify(token, _public, now)
    except tokens.UnknownKey as e:
        async with _reading:
            if e.kid not in _public and time.monotonic() - _read_at >= 1.0:
                await _read_public()
    return tokens.verify(token, _public, now)


async def _read_public() -> None:
    global _public, _read_at, _true_until, _true_since
    _read_at, since = time.monotonic(), epochs.latest()
    loaded, until = {}, time.time() + _LONGEST.total_seconds()
    for row in await hot_reads.fetch(_PUBLIC):
        key = load_pem_public_key(row["public_key"].encode())
        if isinstance(key, rsa.RSAPublicKey):
            loaded[row["kid"]] = key
            until = min(until, row["ends"])
    _public, _true_until, _true_since = loaded, until, since
