"""Verbs that change people, memberships and projects, each one transaction with its audit row and epochs.

`by` is who does it; that they may is asked before (`rbac.permissions.require`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from django.db import IntegrityError, connection, transaction
from django.db.models.functions import Now

from projects import actions as project_actions
from projects.models import Project
from rbac.authn import local
from rbac.models import ExternalIdentity, GroupMembership, Member, Robot, User, UserGroup
from rbac.permissions import Identity
from registry_core import audit, epochs, errors
from registry_core.locks import retrying

ADMIN_ID, ANONYMOUS_ID = 1, 2
_FORBIDDEN_SIGNS = frozenset(',"~#%$')
# Harbor's own; no two of its repetitions can match the same text, so it never backtracks far.
_EMAIL = re.compile(
    r'(?:[^<>()\[\]\\.,;:\s@"]+(?:\.[^<>()\[\]\\.,;:\s@"]+)*|".+")@'
    r"(?:\[[0-9]{1,3}(?:\.[0-9]{1,3}){3}\]|(?:[a-zA-Z0-9-]+\.)+[a-zA-Z]{2,})"
)


# -- users


@transaction.atomic
def create_user(
    by: Identity, *, username: str, email: str, realname: str, comment: str = "", password: str
) -> User:
    """Conflict when the name or the e-mail is taken; BadRequest says which field does not fit."""
    _check_password(password)
    _check_profile(email, realname, comment)
    if not 1 <= len(username) <= 255:
        raise errors.BadRequest("username with illegal length")
    if not _FORBIDDEN_SIGNS.isdisjoint(username) or "\0" in username:
        raise errors.BadRequest("username contains illegal characters")
    user = User(username=username, email=email, realname=realname, comment=comment)
    user.password = local.hash_secret(password)
    try:
        with transaction.atomic():
            user.save(force_insert=True)
    except IntegrityError as e:
        raise errors.Conflict(f"user {username} or email {email} already exists") from e
    _record_user(by, audit.CREATE, user)
    return user


@transaction.atomic
def update_profile(by: Identity, user: User, *, email: str, realname: str, comment: str = "") -> None:
    _check_profile(email, realname, comment)
    try:
        with transaction.atomic():
            User.objects.filter(pk=user.pk).update(
                email=email, realname=realname, comment=comment, updated_at=Now()
            )
    except IntegrityError as e:
        raise errors.Conflict(f"email {email} already exists") from e
    epochs.raise_epoch(user.subject)
    _record_user(by, audit.UPDATE, user)


@transaction.atomic
def change_password(by: Identity, user: User, new: str, *, old: str = "") -> None:
    """One's own password needs the old one; somebody else's does not (contract 7, in this order)."""
    if by.principal.subject == user.subject and not local.is_behind(old, user.password):
        raise errors.Forbidden("Current password is incorrect")
    _check_password(new)
    if local.is_behind(new, user.password):
        raise errors.BadRequest("New password is identical to old password")
    User.objects.filter(pk=user.pk).update(password=local.hash_secret(new), updated_at=Now())
    epochs.raise_epoch(user.subject)
    _record_user(by, audit.UPDATE, user, ", change user password")


@transaction.atomic
def set_sysadmin(by: Identity, user: User, *, flag: bool) -> None:
    User.objects.filter(pk=user.pk).update(sysadmin_flag=flag, updated_at=Now())
    epochs.raise_epoch(user.subject)
    _check_somebody_administers(user)
    _record_user(by, audit.UPDATE, user, ", add/remove user as system administrator")


@transaction.atomic
def delete_user(by: Identity, user: User) -> None:
    """The row stays under `<name>#<id>`; memberships go, what the user made stays."""
    if user.pk == ADMIN_ID or by.principal.subject == user.subject:
        raise errors.Forbidden(f"User with ID {user.pk} cannot be deleted")
    for rows in (Member, GroupMembership, ExternalIdentity):
        rows.objects.filter(user=user).delete()
    User.objects.filter(pk=user.pk).update(
        username=f"{user.username}#{user.pk}",
        email=f"{user.email}#{user.pk}" if user.email else "",
        sysadmin_flag=False,
        admin_by_group=False,
        deleted=True,
        updated_at=Now(),
    )
    epochs.raise_epoch(user.subject)
    _check_somebody_administers(user)
    _record_user(by, audit.DELETE, user)


def _check_somebody_administers(user: User) -> None:
    """Nobody could give the right back. To be asked after raise_epoch, whose lock lasts until commit: of two who take
    it from each other, the second sees what the first has done."""
    if not User.objects.living().filter(sysadmin_flag=True).exists():
        raise errors.Precondition(f"{user.username} is the last system administrator")


def _check_password(password: str) -> None:
    if not local.is_acceptable(password):
        raise errors.BadRequest(local.RULE)


def _check_profile(email: str, realname: str, comment: str) -> None:
    if not email:
        raise errors.BadRequest("email can't be empty")
    if len(email) > 255 or not _EMAIL.fullmatch(email):
        raise errors.BadRequest("email with illegal format")
    if not 1 <= len(realname) <= 255:
        raise errors.BadRequest("realname with illegal length")
    if not _FORBIDDEN_SIGNS.isdisjoint(realname) or "\0" in realname:
        raise errors.BadRequest("realname contains illegal characters")
    if len(comment) > 30 or "\0" in comment:
        raise errors.BadRequest("comment with illegal length")


def _record_user(by: Identity, operation: str, user: User, what: str = "") -> None:
    text = f"{operation} user with name: {user.username}{what}"
    audit.record(by.principal.name, operation, "user", user.username, text, address=by.address)


# -- members


@transaction.atomic
def add_member(by: Identity, project: Project, role: int, *, who: User | UserGroup) -> Member:
    """Conflict when they are a member already, which is asked before the role (contract 4.4)."""
    place = {"user": who} if isinstance(who, User) else {"group": who}
    # The project's row makes two of these wait for each other, so that the second finds the first.
    Project.objects.select_for_update(no_key=True).get(pk=project.pk)
    if Member.objects.filter(project=project, **place).exists():
        raise errors.Conflict("The project member specified already exist")
    if role not in Member.Role.values:
        raise errors.BadRequest("Failed to update project member, role is not in 1,2,3")
    member = Member.objects.create(project=project, role=role, **place)
    _membership_changed(by, audit.CREATE, member)
    return member


@transaction.atomic
def change_role(by: Identity, member: Member, role: int) -> None:
    """The role is not checked, as the contract has it: one that does not exist grants nothing (4.4)."""
    Member.objects.filter(pk=member.pk).update(role=role, updated_at=Now())
    _membership_changed(by, audit.UPDATE, member)


@transaction.atomic
def remove_member(by: Identity, member: Member) -> None:
    Member.objects.filter(pk=member.pk).delete()
    _membership_changed(by, audit.DELETE, member)


def _membership_changed(by: Identity, operation: str, member: Member) -> None:
    project = member.project
    kind, name = ("user", member.user.username) if member.user else ("group", member.group.name)  # type: ignore[union-attr]
    # Who is in a group is known elsewhere: everybody's rights in the project are read again.
    epochs.raise_epoch(member.user.subject if member.user else f"n:{project.namespace_id}")
    where = "from" if operation == audit.DELETE else "in"
    text = f"{operation} {kind} member {name} {where} project {project.name}"
    audit.record(
        by.principal.name,
        operation,
        "member",
        name,
        text,
        namespace_id=project.namespace_id,
        address=by.address,
    )


# -- projects


@transaction.atomic
def create_project(
    by: Identity, name: str, metadata: Mapping[str, str], *, storage_limit: int = -1
) -> Project:
    """Its creator owns and administers it; a robot's belongs to the first system administrator (contract 4.5)."""
    owner = _owner_for(by)
    project = project_actions.create(
        name,
        metadata,
        owner_id=owner.pk,
        owner_name=owner.username,
        by=by.principal.name,
        address=by.address,
        storage_limit=storage_limit,
    )
    Member.objects.create(project=project, user=owner, role=Member.Role.PROJECT_ADMIN)
    epochs.raise_epoch(owner.subject)
    return project


def _owner_for(by: Identity) -> User:
    kind, _, number = by.principal.subject.partition(":")
    if kind == "u":
        return User.objects.get(pk=int(number))
    return User.objects.living().filter(sysadmin_flag=True).order_by("pk")[0]


@retrying
def delete_project(by: Identity, project: Project) -> None:
    """With its memberships and robots; Precondition while there are repositories."""
    robots = [robot.subject for robot in Robot.objects.filter(project=project)]
    project_actions.delete(project, by=by.principal.name, address=by.address)
    epochs.raise_epoch(*robots)


# -- the first start


@transaction.atomic
def ensure_seed(admin_password: str) -> bool:
    """What a new registry holds (contract 7): `admin`, the deleted user `anonymous`, the project `library`.

    True when `admin` was created, with the given password; later starts change nothing.
    """
    if User.objects.filter(pk=ADMIN_ID).exists():
        return False
    admin = User.objects.create(
        pk=ADMIN_ID,
        username="admin",
        email="admin@example.com",
        realname="system admin",
        comment="admin user",
        password=local.hash_secret(admin_password),
        sysadmin_flag=True,
    )
    User.objects.create(
        pk=ANONYMOUS_ID,
        username="anonymous",
        email="anonymous@example.com",
        realname="anonymous user",
        comment="anonymous user",
        deleted=True,
    )
    # The rows above chose their own numbers: the next user gets the one after them.
    with connection.cursor() as cursor:
        cursor.execute("SELECT setval(pg_get_serial_sequence('rbac_user', 'id'), %s)", [ANONYMOUS_ID])
    library = project_actions.create(
        "library", {"public": "true"}, owner_id=admin.pk, owner_name=admin.username, by=admin.username
    )
    Member.objects.create(project=library, user=admin, role=Member.Role.PROJECT_ADMIN)
    return True
