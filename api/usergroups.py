"""Tag usergroup (contract 4.4)."""

from __future__ import annotations

from typing import Any

from django.db.models.functions import Length

from api.dispatch import Answer, Call, created, listed, page_headers
from api.pagination import Page
from rbac import groups
from rbac.catalogue import Permission
from rbac.models import UserGroup
from registry_core import configuration, errors

_NO_NAME = Answer(status=400)  # without a body, as Harbor does


def present_groups(rows: list[UserGroup]) -> list[dict[str, Any]]:
    return [
        {"id": row.pk, "group_name": row.name, "group_type": row.type, "ldap_group_dn": row.ldap_dn}
        for row in rows
    ]


def list_user_groups(call: Call) -> Answer:
    """In the order of their last change; in LDAP mode those of the directory, of which `ldap_group_dn` names one."""
    call.require(Permission.USER_GROUP_LIST)
    rows = UserGroup.objects.order_by("updated_at", "id")
    if configuration.get("auth_mode") == "ldap_auth":
        rows = rows.filter(type=UserGroup.Type.LDAP)
        if dn := call.query.get("ldap_group_dn"):
            rows = rows.filter(ldap_dn=dn)
    if name := call.query.get("group_name"):
        rows = rows.filter(name__icontains=name)
    return listed(call, rows, present_groups)


def search_user_groups(call: Call) -> Answer:
    """The shortest names first; only the size of a page counts (contract 4.4)."""
    call.require_sign_in()
    page = Page.of(call.query)
    if page.size < 0:
        raise errors.BadRequest("page_size must not be negative here")
    rows = UserGroup.objects.filter(name__icontains=call.query["groupname"])
    total, found = rows.count(), rows.order_by(Length("name"), "name")[: page.size]
    return Answer(present_groups(list(found)), headers=page_headers(call, page, total))


def create_user_group(call: Call) -> Answer:
    call.require(Permission.USER_GROUP_CREATE)
    body = call.body or {}
    if not body.get("group_name"):
        return _NO_NAME
    group = groups.create(call.identity, body["group_name"], body.get("group_type", 0), body.get("ldap_group_dn", ""))
    return created(call, group.pk)


def _find(call: Call) -> UserGroup | None:
    number = call.path["group_id"]
    if number <= 0:
        raise errors.BadRequest("the group id should be provided")
    return UserGroup.objects.filter(pk=number).first()


def _get(call: Call) -> UserGroup:
    if (group := _find(call)) is None:
        raise errors.NotFound(f"the user group with id {call.path['group_id']} is not found")
    return group


def get_user_group(call: Call) -> Answer:
    """Without its id (contract 7)."""
    call.require(Permission.USER_GROUP_READ)
    return Answer(present_groups([_get(call)])[0] | {"id": None})


def update_user_group(call: Call) -> Answer:
    call.require(Permission.USER_GROUP_UPDATE)
    name = (call.body or {}).get("group_name")
    if not name or call.path["group_id"] <= 0:
        return _NO_NAME
    groups.rename(call.identity, _get(call), name)
    return Answer()


def delete_user_group(call: Call) -> Answer:
    """An absent group is 200 (contract 4.4)."""
    call.require(Permission.USER_GROUP_DELETE)
    if (group := _find(call)) is not None:
        groups.delete(call.identity, group)
    return Answer()
