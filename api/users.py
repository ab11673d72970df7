"""Tag user."""

from __future__ import annotations

import re
from typing import Any

from django.db.models import QuerySet

from api import browser, query
from api.dispatch import Answer, Call, created, listed, page_headers, search
from api.errors import NotBuilt
from api.pagination import Page
from projects.models import Project
from rbac import actions
from rbac.authn import browser as sessions
from rbac.catalogue import ROLE_PERMISSIONS, SYSTEM_PERMISSIONS, Permission
from rbac.models import Member, User
from rbac.permissions import can, held, is_from, standing_in
from registry_core import configuration, errors

_PROJECT_SCOPE = re.compile(r"/project/([0-9]{1,18})(?=/|$)")

FIELDS = query.FieldMap(
    [
        query.Field("user_id", "id", "integer"),
        query.Field("username"),
        query.Field("email"),
        query.Field("realname"),
        query.Field("comment"),
        query.Field("sysadmin_flag", kind="boolean"),
        query.Field("creation_time", "created_at", "time"),
        query.Field("update_time", "updated_at", "time"),
    ],
    default=("username",),
)


def present_users(rows: list[User]) -> list[dict[str, Any]]:
    return [
        {
            "user_id": row.pk,
            "username": row.username,
            "email": row.email,
            "realname": row.realname,
            "comment": row.comment,
            "sysadmin_flag": row.sysadmin_flag,
            "admin_role_in_auth": False,
            "creation_time": row.created_at,
            "update_time": row.updated_at,
        }
        for row in rows
    ]


def _others() -> QuerySet[User]:
    """Lists never show `admin` (contract 7)."""
    return User.objects.living().exclude(pk=actions.ADMIN_ID)


def list_users(call: Call) -> Answer:
    call.require(Permission.USER_LIST)
    # The contract's file does not know these two; Harbor reads them all the same (contract 1.2).
    old = {k: query.Fuzzy(v) for k, v in call.query_pairs if k in ("username", "email") and v}
    return listed(call, search(call, _others(), FIELDS, **old), present_users)


def search_users(call: Call) -> Answer:
    """The total counts in any case, the names match in theirs, and only the size of a page counts (contract 7)."""
    call.require_sign_in()
    name, page = call.query["username"], Page.of(call.query)
    if page.size < 0:
        raise errors.BadRequest("page_size must not be negative here")
    total = _others().filter(username__icontains=name).count()
    found = _others().filter(username__contains=name).order_by("username")[: page.size]
    body = [{"user_id": row.pk, "username": row.username} for row in found]
    return Answer(body, headers=page_headers(call, page, total))


def create_user(call: Call) -> Answer:
    _check_may_create(call)
    user = actions.create_user(
        call.identity,
        username=call.body.get("username", ""),
        email=call.body.get("email", ""),
        realname=call.body.get("realname", ""),
        comment=call.body.get("comment", ""),
        password=call.body.get("password", ""),
    )
    return created(call, user.pk)


def _check_may_create(call: Call) -> None:
    if (mode := configuration.get("auth_mode")) != "db_auth":
        raise errors.Forbidden(f"creating local user is not allowed under auth mode: {mode}")
    if configuration.get("self_registration") and not can(call.identity, Permission.USER_CREATE):
        # With the cookie it was asked for the other token, too: somebody sits there (contract 7).
        if browser.SID not in call.request.COOKIES:
            raise errors.Forbidden("self-registration cannot be triggered via API")
        return
    call.require(Permission.USER_CREATE)


def _is_self(call: Call) -> bool:
    return call.identity.principal.subject == f"u:{call.path['user_id']}"


def _get(call: Call, permission: Permission, *, or_self: bool = False) -> User:
    """The user of the path; only who may is told that there is none."""
    if not (or_self and _is_self(call)):
        call.require(permission)
    number = call.path["user_id"]
    user = User.objects.living().filter(pk=number).first()
    if user is None:
        raise errors.NotFound(f"user {number} not found")
    return user


def get_user(call: Call) -> Answer:
    return Answer(present_users([_get(call, Permission.USER_READ, or_self=True)])[0])


def get_current_user_info(call: Call) -> Answer:
    call.require_sign_in()
    kind, _, number = call.identity.principal.subject.partition(":")
    if kind != "u":
        raise errors.Precondition("get current user not available for security context: robot")
    user = User.objects.get(pk=int(number))
    return Answer(present_users([user])[0] | {"admin_role_in_auth": user.admin_by_group})


def update_user_profile(call: Call) -> Answer:
    user = _get(call, Permission.USER_UPDATE, or_self=True)
    if (mode := configuration.get("auth_mode")) != "db_auth" and user.pk != actions.ADMIN_ID:
        raise errors.Forbidden(f"the profile cannot be changed under auth mode: {mode}")
    actions.update_profile(
        call.identity,
        user,
        email=call.body.get("email", ""),
        realname=call.body.get("realname", ""),
        comment=call.body.get("comment", ""),
    )
    return Answer()


def update_user_password(call: Call) -> Answer:
    user = _get(call, Permission.USER_UPDATE, or_self=True)
    if (mode := configuration.get("auth_mode")) != "db_auth" and user.pk != actions.ADMIN_ID:
        raise errors.Forbidden(f"the password cannot be changed under auth mode: {mode}")
    actions.change_password(
        call.identity, user, call.body.get("new_password", ""), old=call.body.get("old_password", "")
    )
    if _is_self(call):
        sessions.keep(browser.sid(call.request._request), user)  # noqa: SLF001  DRF hides the request that it wraps
    return Answer()


def set_user_sysadmin(call: Call) -> Answer:
    user = _get(call, Permission.USER_UPDATE)
    actions.set_sysadmin(call.identity, user, flag=call.body.get("sysadmin_flag", False))
    return Answer()


def delete_user(call: Call) -> Answer:
    user = _get(call, Permission.USER_DELETE)
    actions.delete_user(call.identity, user)
    return Answer()


def set_cli_secret(call: Call) -> Answer:
    """Asked before who calls, as Harbor does: the answer tells nothing about anybody."""
    if (mode := configuration.get("auth_mode")) != "oidc_auth":
        raise errors.Precondition(f"unable to update CLI secret under authmode: {mode}")
    raise NotBuilt("sign-in by OIDC is not built yet")


# -- what may I do?


def get_current_user_permissions(call: Call) -> Answer:
    """Pairs of resource and action below the scope, which stays in front of the resource unless `relative`."""
    call.require_sign_in()
    scope, relative = call.query.get("scope") or "", call.query.get("relative") or False
    if scope == "/system":
        shown = SYSTEM_PERMISSIONS if call.identity.principal.is_admin and not relative else ()
        return Answer([_pair(p) for p in sorted(shown)])
    if (match := _PROJECT_SCOPE.match(scope)) is None:
        return Answer([])
    root = match[0]
    body = []
    for permission in sorted(_in_project(call, int(match[1]))):
        resource, _, action = permission.partition(":")
        full = root if resource == "project" else f"{root}/{resource}"
        if full.startswith(scope):
            below = full[len(scope) :].lstrip("/") or "."
            body.append({"resource": below if relative else full, "action": action})
    return Answer(body)


def _pair(permission: Permission) -> dict[str, str]:
    resource, _, action = permission.partition(":")
    return {"resource": resource, "action": action}


def _in_project(call: Call, number: int) -> frozenset[Permission]:
    if call.identity.principal.is_admin:
        return ROLE_PERMISSIONS[Member.Role.PROJECT_ADMIN]  # of an absent project, too (contract 4.3)
    project = Project.objects.select_related("namespace").filter(pk=number).first()
    if project is None:
        return frozenset()
    standing = standing_in(call.identity, project)
    networks = (call.identity.networks, standing.networks)
    is_near = all(is_from(limit, call.identity.address) for limit in networks)
    return held(call.identity, standing) if is_near else frozenset()
