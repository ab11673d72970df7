"""Verbs that change user groups (contract 4.4), each with its audit row. Members are known elsewhere: LDAP, OIDC."""

from __future__ import annotations

from django.db import IntegrityError, transaction
from django.db.models.functions import Now

from rbac.authn import sources
from rbac.models import Member, User, UserGroup
from rbac.permissions import Identity
from registry_core import audit, epochs, errors

MAX_NAME = 255


@transaction.atomic
def create(by: Identity, name: str, kind: int, ldap_dn: str = "") -> UserGroup:
    """Conflict when the name is taken, by a group of whatever type."""
    _check_name(name)
    if kind == UserGroup.Type.LDAP and sources.find_group(ldap_dn, keep=False) is None:
        raise errors.BadRequest(f"LDAP Group DN is not found: DN:{ldap_dn}")
    group = UserGroup(name=name, type=kind, ldap_dn=ldap_dn)
    try:
        with transaction.atomic():
            group.save(force_insert=True)
    except IntegrityError as e:
        raise errors.Conflict("duplicated user group name") from e
    _record(by, audit.CREATE, name)
    return group


@transaction.atomic
def rename(by: Identity, group: UserGroup, name: str) -> None:
    _check_name(name)
    try:
        with transaction.atomic():
            UserGroup.objects.filter(pk=group.pk).update(name=name, updated_at=Now())
    except IntegrityError as e:
        raise errors.Conflict("duplicated user group name") from e
    _record(by, audit.UPDATE, group.name, f"rename user group {group.name} to {name}")


@transaction.atomic
def delete(by: Identity, group: UserGroup) -> None:
    """With its memberships; the rights in those projects are read again."""
    places = Member.objects.filter(group=group).values_list("project__namespace", flat=True)
    subjects = [f"n:{namespace}" for namespace in places]
    people = list(group.people.values_list("user", flat=True))
    group.delete()
    sources.mark_administrators(User.objects.filter(pk__in=people))
    if subjects:
        epochs.raise_epoch(*subjects)
    _record(by, audit.DELETE, group.name)


def _record(by: Identity, operation: str, name: str, text: str = "") -> None:
    text = text or f"{operation} user group: {name}"
    audit.record(by.principal.name, operation, "group", name, text, address=by.address)


def _check_name(name: str) -> None:
    if len(name) > MAX_NAME:
        raise errors.BadRequest(f"a group's name may be {MAX_NAME} characters long", {"limit": MAX_NAME})
