"""Sessions of browsers (contract 1.5): who signed in by a form stays so for `session_timeout` after the last use.

Rows in PostgreSQL, looked up with the person on every request: whatever is taken from somebody is gone at once, also
here. A new password ends all sessions but the one it was changed in. Django's own sessions would do neither, and
would keep a row for everybody who ever passed by: who has not signed in has a token here too, which nothing is kept of.
"""

from __future__ import annotations

import datetime
import functools
import hashlib
import hmac
import secrets

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from rbac.authn import accounts, basic, lockout
from rbac.authn.accounts import Account, fingerprint
from rbac.models import BrowserSession, User
from rbac.permissions import is_from
from registry_core import audit, configuration

MAX_OF_ONE_USER = 100
_LONGEST = 10 * 365 * 24 * 60  # minutes; what is set may be more than a calendar holds
# Reading renews only what has used up this share of its time: reads seldom write.
_SHARE = 20


def new_token() -> str:
    """One that nobody has yet, and that `is_ours` knows without asking the database."""
    text = secrets.token_urlsafe(24)
    return f"{text}.{_mark(text)}"


def is_ours(token: str) -> bool:
    text, _, mark = token.partition(".")
    return hmac.compare_digest(mark.encode(), _mark(text).encode())


def sign_in(name: str, secret: str, address: str, *, instead_of: str = "") -> str | None:
    """The token of a new session, never of one that was there before; None when name and secret name no user.

    `instead_of` is the session that the browser had until now, which ends.
    """
    was_locked = lockout.is_locked(name, address)
    account = basic.sign_in(name, secret, address) if name and "\0" not in name else None
    if account is None or account.principal.kind != "user" or not is_from(account.networks, address):
        if not was_locked:  # guesses that are not even looked at are not worth a row each
            _record("login", name[:255].replace("\0", "\ufffd"), address, succeeded=False)
        return None
    token = new_token()
    with transaction.atomic():
        end(instead_of)
        _open(token, account)
        _record("login", account.principal.name, address)
    return token


def _open(token: str, account: Account) -> None:
    number = int(account.principal.subject.removeprefix("u:"))
    User.objects.select_for_update(no_key=True).get(pk=number)  # two that sign in at once count each other
    others = BrowserSession.objects.filter(user=number).order_by("-renewed_at")
    surplus = others.values_list("pk", flat=True)[MAX_OF_ONE_USER - 1 :]
    BrowserSession.objects.filter(pk__in=list(surplus)).delete()
    BrowserSession.objects.create(
        token_hash=_hash(token), user_id=number, credential=fingerprint(account.hashes[0])
    )


def find(token: str, *, renew: bool = True) -> Account | None:
    """The account of whoever signed in under this token, as it is now."""
    if not token or not is_ours(token):
        return None
    now, lives = timezone.now(), _lives()
    session = (
        BrowserSession.objects.filter(token_hash=_hash(token), renewed_at__gt=now - lives, user__deleted=False)
        .values("credential", "renewed_at", *(f"user__{column}" for column in accounts.USER_COLUMNS))
        .first()
    )
    if session is None:
        return None
    account = accounts.user_account({column: session[f"user__{column}"] for column in accounts.USER_COLUMNS})
    if account.disabled or not account.knows(session["credential"]):
        return None
    if renew and now - session["renewed_at"] > lives / _SHARE:
        BrowserSession.objects.filter(token_hash=_hash(token)).update(renewed_at=now)
    return account


def sign_out(token: str, address: str) -> None:
    account = find(token, renew=False)
    with transaction.atomic():
        end(token)
        if account is not None:
            _record("logout", account.principal.name, address)


def end(token: str) -> None:
    if token:
        BrowserSession.objects.filter(token_hash=_hash(token)).delete()


def keep(token: str, user: User) -> None:
    """The session in which its user has just changed the password goes on."""
    user.refresh_from_db(fields=["password"])
    BrowserSession.objects.filter(token_hash=_hash(token), user=user).update(credential=fingerprint(user.password))


def end_old() -> int:
    """How many were over and are gone now."""
    count, _ = BrowserSession.objects.filter(renewed_at__lte=timezone.now() - _lives()).delete()
    return count


def _lives() -> datetime.timedelta:
    return datetime.timedelta(minutes=min(configuration.get("session_timeout"), _LONGEST))


def _record(what: str, name: str, address: str, *, succeeded: bool = True) -> None:
    audit.record(name, what, "user", name, what, address=address, succeeded=succeeded)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()


def _mark(text: str) -> str:
    return hmac.digest(_key(), text.encode(errors="replace"), "sha256")[:12].hex()


@functools.cache
def _key() -> bytes:
    return hashlib.sha256(b"breakwater browser sessions\0" + settings.SECRET_KEY.encode()).digest()
