"""Secrets of others that must be readable again (a directory's password): encrypted under BREAKWATER_SECRET_KEY."""

from __future__ import annotations

import base64
import functools
import logging

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

log = logging.getLogger("breakwater.secrets")


def seal(text: str) -> str:
    """What may be stored; nothing stays nothing."""
    return _fernet().encrypt(text.encode()).decode() if text else ""


def unseal(sealed: str) -> str:
    """The text; nothing where the secret key was changed since, which is logged."""
    if not sealed:
        return ""
    try:
        return _fernet().decrypt(sealed.encode()).decode()
    except InvalidToken:
        log.warning("a stored secret does not open with BREAKWATER_SECRET_KEY: enter it anew")
        return ""


@functools.cache
def _fernet() -> Fernet:
    derived = HKDF(SHA256(), 32, salt=None, info=b"breakwater settings").derive(settings.SECRET_KEY.encode())
    return Fernet(base64.urlsafe_b64encode(derived))
