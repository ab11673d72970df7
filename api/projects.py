"""Tag project."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import transaction
from django.db.models import Count, Q, QuerySet

from api import addressing, cve_allowlists, query
from api.dispatch import Answer, Call, created, listed, search
from projects import actions as project_actions
from projects.models import Project, Quota
from projects.policies import quota
from rbac import actions
from rbac.catalogue import ROLES_BY_POWER, Permission
from rbac.models import Member
from rbac.permissions import can
from rbac.visibility import visible_projects
from registry_core import configuration, errors
from registry_core.models import Repository
from scanning import allowlist
from scanning.models import CveAllowlist

_TRUE = ("1", "t", "T", "true", "TRUE", "True")


def _is_public(match: query.Match) -> Q:
    return Q(public=isinstance(match, query.Exact) and match.value in _TRUE)


FIELDS = query.FieldMap(
    [
        query.Field("project_id", "id", "integer"),
        query.Field("owner_id", kind="integer"),
        query.Field("name", "namespace__name"),
        query.Field("creation_time", "created_at", "time"),
        query.Field("update_time", "updated_at", "time"),
        query.Field("owner", "owner_name", sortable=False),
        query.Field("public", condition=_is_public, sortable=False),
    ],
    default=("namespace__name",),
)


def present_projects(call: Call, rows: list[Project]) -> list[dict[str, Any]]:
    """A page of projects with their namespaces loaded; one query each for counts, the caller's roles, allowlists."""
    places = [row.namespace_id for row in rows]
    counts = dict(
        Repository.objects.listed()
        .filter(namespace__in=places)
        .values_list("namespace")
        .annotate(count=Count("pk"))
    )
    roles: dict[int, set[int]] = {}
    for project, role in _memberships(call).filter(project__in=rows).values_list("project", "role"):
        roles.setdefault(project, set()).add(role)
    lists = allowlist.of_projects(row.pk for row in rows)
    return [
        _present(
            row,
            counts.get(row.namespace_id, 0),
            [r for r in ROLES_BY_POWER if r in roles.get(row.pk, ())],
            lists.get(row.pk),
        )
        for row in rows
    ]


def _memberships(call: Call) -> QuerySet[Member]:
    kind, _, number = call.identity.principal.subject.partition(":")
    return Member.objects.of_user(int(number)) if kind == "u" else Member.objects.none()


def _present(
    row: Project, repositories: int, roles: list[int], waived: CveAllowlist | None
) -> dict[str, Any]:
    return {
        "project_id": row.pk,
        "owner_id": row.owner_id,
        "owner_name": row.owner_name,
        "name": row.name,
        "creation_time": row.created_at,
        "update_time": row.updated_at,
        "current_user_role_id": roles[0] if roles else 0,
        "current_user_role_ids": roles or None,
        "repo_count": repositories,
        "metadata": row.metadata,
        "cve_allowlist": cve_allowlists.present_of_project(row.pk, waived),
    }


# -- operations


def list_projects(call: Call) -> Answer:
    old: dict[str, query.Match] = {}
    if name := call.query.get("name"):
        old["name"] = query.Fuzzy(name)
    if owner := call.query.get("owner"):
        old["owner"] = query.Exact(owner)
    if (public := call.query.get("public")) is not None:
        old["public"] = query.Exact("true" if public else "false")
    rows = visible_projects(call.identity).select_related("namespace")
    return listed(call, search(call, rows, FIELDS, **old), lambda page: _listed(call, page))


def _listed(call: Call, page: list[Project]) -> list[dict[str, Any]]:
    shown = present_projects(call, page)
    if not call.query.get("with_detail"):
        for project in shown:
            project["metadata"] = None
            project["cve_allowlist"]["items"] = None
    return shown


def head_project(call: Call) -> Answer:
    """Is there a project of this name? Anybody who is signed in may ask, also for those of others (contract 7)."""
    call.require_sign_in()
    name = call.query["project_name"]
    if not Project.objects.named(name).exists():
        raise errors.NotFound(f"project {name} not found")
    return Answer()


def create_project(call: Call) -> Answer:
    call.require_sign_in()
    _check_may_create(call)
    name = call.body.get("project_name", "")
    if not name:
        raise errors.BadRequest("Project name  is illegal in length. (greater than 255 or less than 1)")
    registry = call.body.get("registry_id")
    if registry is not None and registry <= 0:
        raise errors.BadRequest(
            f"bad request: {registry} is invalid value of registry_id, it should be geater than 0"
        )
    if registry is not None:
        raise errors.NotFound(f"registry {registry} not found")  # remote registries are not built yet
    metadata = _sent_metadata(call.body)
    if "public" not in metadata and call.body.get("public"):
        metadata["public"] = "true"
    project = actions.create_project(call.identity, name, metadata, storage_limit=_storage_limit(call))
    by_name = call.headers.get("X-Resource-Name-In-Location")
    return created(call, project.name if by_name else project.pk)


def _check_may_create(call: Call) -> None:
    robot, is_admin = call.identity.robot, can(call.identity, Permission.PROJECT_CREATE)
    if robot is not None and not is_admin:
        raise errors.Forbidden("Only system level robot can create project")
    if configuration.get("project_creation_restriction") == "adminonly" and not is_admin:
        raise errors.Forbidden("Only system admin can create project")
    if call.body.get("registry_id") is not None and not is_admin:
        raise errors.Forbidden("Only system admin can create proxy cache project")


def _storage_limit(call: Call) -> int:
    """What the caller may choose, if it may choose."""
    default: int = configuration.get("storage_per_project")
    if not can(call.identity, Permission.PROJECT_CREATE):
        return default
    return quota.check_limit(call.body.get("storage_limit") or default)


def _sent_metadata(body: Mapping[str, Any]) -> dict[str, str]:
    return {key: value for key, value in (body.get("metadata") or {}).items() if value}


def get_project(call: Call) -> Answer:
    project = addressing.project(call, Permission.PROJECT_READ)
    return Answer(present_projects(call, [project])[0])


def update_project(call: Call) -> Answer:
    project = addressing.project(call, Permission.PROJECT_UPDATE)
    waived = call.body.get("cve_allowlist")
    if waived is not None and (sent := waived.get("project_id", 0)) not in (0, project.pk):
        raise errors.BadRequest(f"project_id in cve_allowlist must be {project.pk} but it's {sent}")
    with transaction.atomic():
        project_actions.update_metadata(
            project, _sent_metadata(call.body), by=call.by, address=call.identity.address
        )
        if waived is not None:
            cve_allowlists.replace(call, project, waived)
    return Answer()


def delete_project(call: Call) -> Answer:
    project = addressing.project(call, Permission.PROJECT_DELETE)
    actions.delete_project(call.identity, project)
    return Answer()


def get_project_deletable(call: Call) -> Answer:
    project = addressing.project(call, Permission.PROJECT_DELETE)
    obstacle = project_actions.find_obstacle(project)
    return Answer({"deletable": not obstacle, "message": obstacle})


_COUNTS = {
    Member.Role.PROJECT_ADMIN: "project_admin_count",
    Member.Role.MAINTAINER: "maintainer_count",
    Member.Role.DEVELOPER: "developer_count",
    Member.Role.GUEST: "guest_count",
    Member.Role.LIMITED_GUEST: "limited_guest_count",
}


def get_project_summary(call: Call) -> Answer:
    """As much of it as the caller may see elsewhere."""
    project = addressing.project(call, Permission.PROJECT_READ)
    summary: dict[str, Any] = {
        "repo_count": Repository.objects.listed().filter(namespace=project.namespace).count()
    }
    if can(call.identity, Permission.MEMBER_LIST, project):
        members = Member.objects.filter(project=project).values_list("role").annotate(count=Count("pk"))
        summary |= {_COUNTS[Member.Role(role)]: n for role, n in members if role in _COUNTS}
    has_quota = configuration.get("quota_per_project_enable")
    if has_quota and can(call.identity, Permission.QUOTA_READ, project):
        limit = Quota.objects.get(project=project)
        summary["quota"] = {"hard": {"storage": limit.hard}, "used": {"storage": limit.used}}
    return Answer(summary)
