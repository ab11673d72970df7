"""People from elsewhere, beside those with a password here (design 5): LDAP now, any source that says who somebody is.

A source's person is linked to one user by what the source calls them for ever, never by a name or an unverified
e-mail: a name that somebody here has already stays theirs. Switching a source off deletes nobody. Users with a
password of their own, `admin` first, sign in by it whatever `auth_mode` says.
"""

from __future__ import annotations

import contextlib
import datetime
import hmac
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from rbac.authn import accounts, directory, local, lockout
from rbac.authn.accounts import Account
from rbac.authn.directory import Directory
from rbac.models import ExternalIdentity, GroupMembership, User, UserGroup
from registry_core import audit, configuration, epochs, errors

log = logging.getLogger("breakwater.sign_in")

KEPT_SECONDS = 60.0
MAX_KEPT = 4096
ASKING = 2  # threads that wait for directories at a time: others must not wait behind one that hangs
QUEUE_SECONDS = 2.0
DOWN_SECONDS = 5.0  # so long one that did not answer is not asked again

_key = os.urandom(32)
_good: dict[bytes, tuple[str, float]] = {}  # what was asked, to whose it was and until when that holds
_keeping = threading.Lock()
_asking = threading.BoundedSemaphore(ASKING)
_down: dict[str, float] = {}


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody, as a source has verified. `groups` is None where it was not asked."""

    source: str
    subject: str
    username: str
    realname: str
    email: str
    comment: str
    groups: tuple[tuple[UserGroup.Type, str, str], ...] | None = None


def asks_passwords() -> bool:
    """Is there a source besides this registry that takes names and passwords?"""
    return bool(configuration.get("auth_mode") == "ldap_auth")


def directories() -> list[Directory]:
    return [Directory.configured()] if asks_passwords() else []


def person_of(source: Directory, entry: directory.Entry, *, with_groups: bool = True) -> Person:
    groups = tuple((UserGroup.Type.LDAP, group.name, group.dn) for group in entry.groups)
    return Person(
        source.name, entry.subject, entry.username, entry.realname or entry.username, entry.email, "from LDAP.",
        groups if with_groups else None,
    )  # fmt: skip


def check(name: str, secret: str, address: str) -> Account | None:
    """The account of whoever a source knows by this name and password. A good answer is kept for a minute."""
    if lockout.is_locked(name, address) or not secret or len(secret) > local.MAX_SECRET:
        return None
    mark = hmac.digest(_key, f"{name}\0{secret}".encode(errors="replace"), "sha256")
    subject, until = _good.get(mark, ("", 0.0))
    if until > time.monotonic() and (account := accounts.find_by_subject(subject)) is not None:
        return account
    user, answered = _ask(name, secret)
    if user is None:
        if answered:  # an outage is nobody's wrong password
            lockout.record_failure(name, address)
        return None
    lockout.record_success(name, address)
    with _keeping:
        while len(_good) >= MAX_KEPT:
            del _good[next(iter(_good))]
        _good[mark] = (user.subject, time.monotonic() + KEPT_SECONDS)
    return accounts.find_by_subject(user.subject)


def _ask(name: str, secret: str) -> tuple[User | None, bool]:
    """Each in turn: one that does not answer does not keep the others from it. False when none did."""
    answered = False
    for source in directories():
        with _unhelpful(source):
            entry = _verify(source, name, secret)
            answered = True
            if entry is not None:
                return onboard(person_of(source, entry)), True
    return None, answered


def _verify(source: Directory, name: str, secret: str) -> directory.Entry | None:
    if _down.get(source.name, 0.0) > time.monotonic():
        raise errors.Unavailable("it did not answer a moment ago")
    if not _asking.acquire(timeout=QUEUE_SECONDS):
        raise errors.Unavailable("too many wait for it")
    try:
        return source.verify(name, secret)
    except errors.Unavailable:
        _down[source.name] = time.monotonic() + DOWN_SECONDS
        raise
    finally:
        _asking.release()


# -- links


@transaction.atomic
def onboard(person: Person) -> User | None:
    """The user who is this person, made if there is none; None when somebody else has the name."""
    link = ExternalIdentity.objects.select_related("user")
    found = link.filter(source=person.source, subject=person.subject).first()
    user = found.user if found else _create(person)
    if user is None:
        log.warning("a name is taken", extra={"fields": {"name": person.username, "source": person.source}})
        return None
    if found is None:
        ExternalIdentity.objects.create(source=person.source, subject=person.subject, user=user)
        audit.record(user.username, audit.CREATE, "user", user.username, f"create user with name: {user.username}")
    else:
        ExternalIdentity.objects.filter(pk=found.pk).update(seen_at=Now())
        User.objects.filter(pk=user.pk, suspended=True).update(suspended=False)
    if person.groups is not None:
        set_groups(user, person.groups)
    return user


def _create(person: Person) -> User | None:
    """Without a password here. An e-mail that somebody has is left to them."""
    fields = {"username": person.username[:255], "realname": person.realname[:255], "comment": person.comment}
    if "\0" in person.username or User.objects.filter(username=fields["username"]).exists():
        return None
    for email in (person.email[:255], ""):
        try:
            with transaction.atomic():
                return User.objects.create(**fields, email=email, password="")
        except IntegrityError:
            continue
    return None


def set_groups(user: User, groups: Iterable[tuple[int, str, str]]) -> None:
    """What the source says now; rights that change with it are read again everywhere."""
    rows = [ensure_group(kind, name, dn) for kind, name, dn in groups]
    wanted = {row.pk for row in rows}
    have = set(GroupMembership.objects.filter(user=user).values_list("group", flat=True))
    if wanted != have:
        GroupMembership.objects.filter(user=user).exclude(group__in=wanted).delete()
        new = [GroupMembership(user=user, group_id=pk) for pk in sorted(wanted - have)]
        GroupMembership.objects.bulk_create(new, ignore_conflicts=True)
        epochs.raise_epoch(user.subject)
    mark_administrators(User.objects.filter(pk=user.pk))


def ensure_group(kind: int, name: str, dn: str) -> UserGroup:
    """The group of this DN (OIDC: of this name); a name that another group has is told apart by the DN."""
    same = {"ldap_dn__iexact": dn} if dn else {"name": name}
    found = UserGroup.objects.filter(type=kind, **same).first()
    if found is not None:
        return found
    for free in (name[:255], dn[:255]):
        row, created = UserGroup.objects.get_or_create(name=free, defaults={"type": kind, "ldap_dn": dn})
        if created or (row.type == kind and row.ldap_dn.lower() == dn.lower()):
            return row
    raise errors.Conflict(f"the group name {name} is taken")


def mark_administrators(users: QuerySet[User], written: Mapping[str, Any] | None = None) -> None:
    """Who is in the group that administers, `ldap_group_admin_dn`. `written` are settings of this transaction."""
    mode, dn = configuration.get_some("auth_mode", "ldap_group_admin_dn")
    if written is not None:
        mode, dn = written.get("auth_mode", mode), written.get("ldap_group_admin_dn", dn)
    dn = dn if mode == "ldap_auth" else ""
    inside = Exists(
        GroupMembership.objects.filter(user=OuterRef("pk"), group__ldap_dn__iexact=dn, group__type=UserGroup.Type.LDAP)
    )
    now_in = users.filter(inside) if dn else users.none()
    changed = [
        *now_in.filter(admin_by_group=False),
        *users.filter(admin_by_group=True).exclude(pk__in=now_in.values("pk")),
    ]
    for user in changed:
        User.objects.filter(pk=user.pk).update(admin_by_group=not user.admin_by_group)
        epochs.raise_epoch(user.subject)


def find_person(name: str) -> User | None:
    """Somebody whom a directory knows by this name, made a user if need be."""
    for source in directories():
        with _unhelpful(source):
            if (entry := source.find(name)) is not None:
                return onboard(person_of(source, entry))
    return None


def find_group(dn: str, *, keep: bool = True) -> UserGroup | None:
    """The group that a directory has under this DN; only looked at unless `keep`."""
    for source in directories():
        with _unhelpful(source):
            if dn and (group := source.find_group(dn)) is not None:
                unsaved = UserGroup(name=group.name, type=UserGroup.Type.LDAP, ldap_dn=group.dn)
                return ensure_group(UserGroup.Type.LDAP, group.name, group.dn) if keep else unsaved
    return None


@contextlib.contextmanager
def _unhelpful(source: Directory) -> Iterator[None]:
    """What one directory cannot answer the next may."""
    try:
        yield
    except (errors.RegistryError, directory.BadCredentials) as e:
        cause = str(e)[:300] or "the account that searches is refused"
        log.warning("a directory was no help", extra={"fields": {"directory": source.name, "cause": cause}})


# -- off the way of docker


def refresh(days: int = 30) -> int:
    """Ask the directories anew for the groups of everybody who came within so many days; how many were asked."""
    count = 0
    since = timezone.now() - datetime.timedelta(days=days)
    for source in directories():
        for link in ExternalIdentity.objects.filter(source=source.name, seen_at__gt=since).select_related("user"):
            count += 1
            _refresh(source, link, source.find)
    return count


def _refresh(
    source: Directory, link: ExternalIdentity, find: Callable[[str], directory.Entry | None]
) -> None:
    entry = find(link.user.username)
    is_same = entry is not None and entry.subject == link.subject
    with transaction.atomic():
        if entry is not None and is_same:
            User.objects.filter(pk=link.user.pk, suspended=True).update(suspended=False)
            set_groups(link.user, person_of(source, entry).groups or ())
            return
        # Gone, or the name is somebody else's now: whoever holds a session or a token of theirs is out.
        set_groups(link.user, ())
        User.objects.filter(pk=link.user.pk).update(suspended=True)
        epochs.raise_epoch(link.user.subject)
