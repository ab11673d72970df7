"""Tag member (contract 4.4)."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.db.models.functions import Coalesce

from api import addressing
from api.dispatch import Answer, Call, created, listed
from projects.models import Project
from rbac import actions
from rbac.authn import sources
from rbac.catalogue import ROLE_NAMES, Permission
from rbac.models import Member, User, UserGroup
from registry_core.errors import BadRequest, NotFound


def _members(project: Project) -> QuerySet[Any]:
    """Those with a role that exists, by name; the others read as absent."""
    rows = Member.objects.filter(project=project, role__in=list(ROLE_NAMES)).select_related("user", "group")
    return rows.annotate(entity_name=Coalesce("user__username", "group__name")).order_by("entity_name", "id")


def present_members(rows: list[Member]) -> list[dict[str, Any]]:
    return [
        {
            "id": row.pk,
            "project_id": row.project_id,
            "entity_name": row.entity_name,  # type: ignore[attr-defined]
            "role_name": ROLE_NAMES[row.role],
            "role_id": row.role,
            "entity_id": row.user_id or row.group_id,
            "entity_type": "u" if row.user_id else "g",
        }
        for row in rows
    ]


def list_project_members(call: Call) -> Answer:
    """`entityname` matches whole names only, and the total stays that of all members (contract 4.4)."""
    project = addressing.project(call, Permission.MEMBER_LIST)
    rows = _members(project)
    total = rows.count()
    if name := call.query.get("entityname"):
        rows = rows.filter(entity_name=name)
    return listed(call, rows, present_members, total=total)


def get_project_member(call: Call) -> Answer:
    project = addressing.project(call, Permission.MEMBER_READ)
    if not (number := call.path["mid"]):
        raise BadRequest("the member id can not be empty!")
    found = list(_members(project).filter(pk=number))
    if not found:
        raise NotFound(f"the project member is not found, project id {project.pk}, member id {number}")
    return Answer(present_members(found)[0])


def create_project_member(call: Call) -> Answer:
    project = addressing.project(call, Permission.MEMBER_CREATE)
    if call.body is None:
        raise BadRequest("the project member should provide")
    who = _chosen(call.body.get("member_user") or {}, call.body.get("member_group") or {})
    member = actions.add_member(call.identity, project, call.body.get("role_id", 0), who=who)
    return created(call, member.pk)


def _chosen(user: dict[str, Any], group: dict[str, Any]) -> User | UserGroup:
    """User id, group id, user name, group's DN, group's name: the first that is given counts."""
    if user_id := user.get("user_id"):
        if (by_id := User.objects.living().filter(pk=user_id).first()) is None:
            raise BadRequest(f"Failed to get user {user_id}: user {user_id} not found")
        return by_id
    if group_id := group.get("id"):
        if (group_by_id := UserGroup.objects.filter(pk=group_id).first()) is None:
            raise BadRequest(f"Group {group_id} not found")
        return group_by_id
    if name := user.get("username"):
        by_name = User.objects.living().filter(username=name).first() or sources.find_person(name)
        if by_name is None:
            raise NotFound(f"user {name} is not found")
        return by_name
    return _chosen_group(group)


def _chosen_group(group: dict[str, Any]) -> UserGroup:
    if dn := group.get("ldap_group_dn"):
        found = UserGroup.objects.filter(ldap_dn__iexact=dn).first() or sources.find_group(dn)
    elif dn := group.get("group_name"):
        found = UserGroup.objects.filter(name=dn, type=group.get("group_type", 0)).first()
    else:
        raise BadRequest("at least one of member_user or member_group must be provided")
    if found is None:
        raise NotFound(f"{dn} not found: not supported")
    return found


def update_project_member(call: Call) -> Answer:
    """An absent member, or one of another project, is 200 without effect (contract 4.4)."""
    project = addressing.project(call, Permission.MEMBER_UPDATE)
    if call.body is None:
        raise BadRequest("role can not be empty")
    if (member := _find(call, project)) is not None:
        actions.change_role(call.identity, member, call.body.get("role_id", 0))
    return Answer()


def delete_project_member(call: Call) -> Answer:
    project = addressing.project(call, Permission.MEMBER_DELETE)
    if (member := _find(call, project)) is not None:
        actions.remove_member(call.identity, member)
    return Answer()


def _find(call: Call, project: Project) -> Member | None:
    if not (number := call.path["mid"]):
        raise BadRequest("the project member id is required.")
    rows = Member.objects.filter(project=project).select_related("user", "group", "project__namespace")
    return rows.filter(pk=number).first()
