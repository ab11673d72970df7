"""Which projects a caller sees in lists (contract 7, `/projects` visibility)."""

from __future__ import annotations

from django.db.models import Q, QuerySet

from projects.models import Project
from rbac.catalogue import ROLE_PERMISSIONS, Permission
from rbac.models import Member
from rbac.permissions import Identity, is_from


def visible_projects(identity: Identity, permission: Permission | None = None) -> QuerySet[Project]:
    """All for a system administrator; else the public ones and those with a role or a robot's entry.

    With `permission`, of a robot only entries count that grant it: the roles of people and public projects grant
    what lists ask for anyway.
    """
    if identity.principal.is_admin:
        return Project.objects.all()
    if not is_from(identity.networks, identity.address):
        return Project.objects.none()
    return _near(identity, Project.objects.filter(Q(public=True) | _own(identity, permission)))


def projects_with(identity: Identity, permission: Permission) -> QuerySet[Project]:
    """Where a role, or a robot's entry, grants it; that a project is public grants nothing here."""
    if identity.principal.is_admin:
        return Project.objects.all()
    if not is_from(identity.networks, identity.address):
        return Project.objects.none()
    return _near(identity, Project.objects.filter(_own(identity, permission, by_role=True)))


def _near(identity: Identity, seen: QuerySet[Project]) -> QuerySet[Project]:
    """Without those that may not be used from where the caller is."""
    # Few projects limit the networks that they are used from.
    limited = Project.objects.exclude(networks=[]).values_list("pk", "networks")
    hidden = [pk for pk, networks in limited if not is_from(tuple(networks), identity.address)]
    return seen.exclude(pk__in=hidden) if hidden else seen


def _own(identity: Identity, permission: Permission | None, *, by_role: bool = False) -> Q:
    robot = identity.robot
    if robot is None:
        kind, _, number = identity.principal.subject.partition(":")
        if kind != "u":
            return Q(pk__in=[])
        memberships = Member.objects.of_user(int(number))
        if by_role:
            memberships = memberships.filter(
                role__in=[role for role, granted in ROLE_PERMISSIONS.items() if permission in granted]
            )
        return Q(pk__in=memberships.values("project"))
    if robot.everywhere is not None and (permission is None or permission in robot.everywhere):
        return Q(pk__isnull=False)  # an empty Q would be dropped from the alternative
    return Q(
        namespace__in=[
            namespace
            for namespace, granted in robot.namespaces.items()
            if permission is None or permission in granted
        ]
    )
