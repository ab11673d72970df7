"""Names with secrets: HTTP Basic, and what a sign-in form sends (contract 1.4)."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import time

from rbac.authn import accounts, local, lockout, robot, sources
from rbac.authn.accounts import Account
from rbac.permissions import is_from
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
    except ValueError:
        return None
    name, colon, secret = text.partition(":")
    # PostgreSQL holds no NUL: nobody has such a name.
    return (name, secret) if name and colon and "\0" not in name else None


def find_account(authorization: str, address: str) -> Account | None:
    """Whose header this is: nobody's when it is absent or bad, which is no refusal by itself."""
    pair = parse(authorization)
    account = sign_in(*pair, address) if pair else None
    return account if account and is_from(account.networks, address) else None


def sign_in(name: str, secret: str, address: str) -> Account | None:
    """The account whose name and secret these are, usable now; of its hashes only the one that was used."""
    if lockout.is_locked(name, address):
        return None
    account = accounts.find(name)
    if (used := _generated(account, secret)) is not None:
        return _signed_in(account, used)
    return _check(account, name, secret, address) if _has_chosen(account) else None


async def sign_in_hot(name: str, secret: str, address: str) -> Account | None:
    """`sign_in` for `/v2`: a thread is taken only when something must be hashed, or a directory asked."""
    if lockout.is_locked(name, address):
        return None
    account = await accounts.find_hot(name)
    if (used := _generated(account, secret)) is not None:
        return _signed_in(account, used)
    return await _check_in_thread(account, name, secret, address) if _has_chosen(account) else None


def _check(account: Account | None, name: str, secret: str, address: str) -> Account | None:
    """Whoever has a password here is asked for that one, all others elsewhere, where there is an elsewhere."""
    if not _chosen(account) and sources.asks_passwords():
        found = sources.check(name, secret, address)
        return _signed_in(found, found.hashes[0]) if found else None
    return _signed_in(account, local.check(name, secret, _chosen(account), address))


def _signed_in(account: Account | None, used: str | None) -> Account | None:
    if account is None or used is None or not account.is_usable(time.time()):
        return None
    return dataclasses.replace(account, hashes=(used,))


def _generated(account: Account | None, secret: str) -> str | None:
    """The hash of a generated secret that this is."""
    hashes = account.hashes if account else ()
    return next((encoded for encoded in hashes if robot.is_generated(secret, encoded)), None)


def _has_chosen(account: Account | None) -> bool:
    """Must something slow be computed? An unknown name costs what a user does.

    A robot with generated secrets only is neither slow nor locked out: 190 bits are not guessed, and one job
    with an old secret must not stop the others behind the same address.
    """
    return account is None or account.robot is None or bool(_chosen(account))


def _chosen(account: Account | None) -> list[str]:
    return [encoded for encoded in account.hashes if local.is_hash(encoded)] if account else []


async def _check_in_thread(account: Account | None, name: str, secret: str, address: str) -> Account | None:
    global _waiting  # noqa: PLW0603  a counter of this process
    if _waiting >= MAX_WAITING:
        raise errors.TooManyRequests("too many sign-ins at once; try again", {"limit": MAX_WAITING})
    _waiting += 1
    try:
        async with _hashing:
            return await in_thread(_check, account, name, secret, address)
    finally:
        _waiting -= 1
