"""Which projects a caller sees in lists (contract 7, `/projects` visibility)."""

from __future__ import annotations

from django.db.models import Q, QuerySet

from projects.models import Project
from rbac.catalogue import Permission
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
    seen = Project.objects.filter(Q(public=True) | _own(identity, permission))
    # Few projects limit the networks that they are used from.
    limited = Project.objects.exclude(networks=[]).values_list("pk", "networks")
    hidden = [pk for pk, networks in limited if not is_from(tuple(networks), identity.address)]
    return seen.exclude(pk__in=hidden) if hidden else seen


def _own(identity: Identity, permission: Permission | None) -> Q:
    robot = identity.robot
    if robot is None:
        kind, _, number = identity.principal.subject.partition(":")
        return (
            Q(pk__in=Project.objects.filter(members__user=int(number)).values("pk"))
            if kind == "u"
            else Q(pk__in=[])
        )
    if robot.everywhere is not None and (permission is None or permission in robot.everywhere):
        return Q(pk__isnull=False)  # an empty Q would be dropped from the alternative
    return Q(
        namespace__in=[
            namespace
            for namespace, granted in robot.namespaces.items()
            if permission is None or permission in granted
        ]
    )
