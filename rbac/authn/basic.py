"""Names with secrets: HTTP Basic, and what a sign-in form sends (contract 1.4)."""

from __future__ import annotations

import asyncio
import base64
import binascii
import time

from rbac.authn import accounts, local, lockout, robot
from rbac.authn.accounts import Account
from rbac.permissions import NOBODY, Identity, is_from
from registry_core import errors
from registry_core.threads import in_thread

MAX_WAITING = 64

_hashing = asyncio.Semaphore(local.AT_ONCE)  # so that guessers never hold all threads that do blocking work
_waiting = 0


def parse(authorization: str) -> tuple[str, str] | None:
    """(name, secret) of an Authorization header, or None if it is not Basic or not well-formed."""
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        text = base64.b64decode(encoded.strip(), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
    name, colon, secret = text.partition(":")
    # PostgreSQL holds no NUL: nobody has such a name.
    return (name, secret) if name and colon and "\0" not in name else None


def identify(authorization: str, address: str) -> Identity:
    """Who sent this header: anonymous when it is absent or bad, which is no refusal by itself."""
    pair = parse(authorization)
    account = sign_in(*pair, address) if pair else None
    if account is None or not is_from(account.networks, address):
        return NOBODY
    return account.identity(address)


def sign_in(name: str, secret: str, address: str) -> Account | None:
    """The account whose name and secret these are, usable now."""
    if lockout.is_locked(name, address):
        return None
    account = accounts.find(name)
    good = _quick(account, secret)
    if good is None:
        good = _is_chosen(account, name, secret, address)
    return account if good and _is_usable(account) else None


async def sign_in_hot(name: str, secret: str, address: str) -> Account | None:
    """`sign_in` for `/v2`: a thread is taken only when something must be hashed."""
    if lockout.is_locked(name, address):
        return None
    account = await accounts.find_hot(name)
    good = _quick(account, secret)
    if good is None:
        good = await _hash_in_thread(account, name, secret, address)
    return account if good and _is_usable(account) else None


def _quick(account: Account | None, secret: str) -> bool | None:
    """Yes or no when nothing slow must be computed, else None.

    A robot with generated secrets only is neither slow nor locked out: 190 bits are not guessed, and one job
    with an old secret must not stop the others behind the same address.
    """
    if account is None:
        return None
    if any(robot.is_generated(secret, encoded) for encoded in account.hashes):
        return True
    is_plain_robot = account.robot is not None and not any(local.is_hash(h) for h in account.hashes)
    return False if is_plain_robot else None


def _is_chosen(account: Account | None, name: str, secret: str, address: str) -> bool:
    hashes = [encoded for encoded in account.hashes if local.is_hash(encoded)] if account else []
    return local.check(name, secret, hashes, address)


async def _hash_in_thread(account: Account | None, name: str, secret: str, address: str) -> bool:
    global _waiting  # noqa: PLW0603  a counter of this process
    if _waiting >= MAX_WAITING:
        raise errors.TooManyRequests("too many sign-ins at once; try again", {"limit": MAX_WAITING})
    _waiting += 1
    try:
        async with _hashing:
            return await in_thread(_is_chosen, account, name, secret, address)
    finally:
        _waiting -= 1


def _is_usable(account: Account | None) -> bool:
    return account is not None and account.is_usable(time.time())
