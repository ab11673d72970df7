"""Tag permissions: what robots may be given (contract 4.5)."""

from __future__ import annotations

from typing import Any

from api.dispatch import Answer, Call
from rbac.catalogue import ROBOT_PROJECT_PERMISSIONS, ROBOT_SYSTEM_PERMISSIONS, Permission
from rbac.models import Member
from registry_core.errors import Forbidden


def get_permissions(call: Call) -> Answer:
    """The system's part to system administrators only; project administrators see the projects' part."""
    call.require_sign_in()
    is_admin = call.identity.principal.is_admin
    if not is_admin and not _administers_a_project(call):
        raise Forbidden("forbidden: only admins(system and project) can access permissions")
    return Answer(
        {
            "system": _pairs(ROBOT_SYSTEM_PERMISSIONS) if is_admin else None,
            "project": _pairs(ROBOT_PROJECT_PERMISSIONS),
        }
    )


def _administers_a_project(call: Call) -> bool:
    kind, _, number = call.identity.principal.subject.partition(":")
    administers = Member.objects.filter(role=Member.Role.PROJECT_ADMIN)
    return kind == "u" and administers.of_user(int(number)).exists()


def _pairs(permissions: frozenset[Permission]) -> list[dict[str, Any]]:
    split = (permission.partition(":") for permission in sorted(permissions))
    return [{"resource": resource, "action": action} for resource, _, action in split]
