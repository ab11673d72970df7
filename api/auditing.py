"""What failed, for the audit log: the changes that Harbor records even so (contract 6.9), and every refusal."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from django.db import DatabaseError

from api import addressing
from api.dispatch import Call
from projects.models import Project
from rbac.models import Member, User
from registry_core import audit, refusals
from registry_core.errors import RegistryError
from registry_core.refusals import Refusal

log = logging.getLogger(__name__)

_VERBS = {"GET": "read", "HEAD": "read", "POST": audit.CREATE, "DELETE": audit.DELETE}


def note_failure(call: Call, error: RegistryError) -> None:
    """Nothing of callers without a name: whoever knows no password fills no log."""
    if call.identity.is_anonymous or error.status >= 500:
        return
    is_refusal = error.status in (401, 403)
    describe = _RECORDED.get(call.operation.id)
    try:
        if describe is not None:
            _record(call, describe(call), is_refusal=is_refusal)
        elif is_refusal:
            refusals.note(_refusal(call, error), call.identity.address)
    except DatabaseError as e:
        log.warning("a failure is not in the audit log", extra={"fields": {"cause": str(e)[:300]}})


def _record(call: Call, failed: Refusal, *, is_refusal: bool) -> None:
    """At once, as Harbor does; who is refused again and again fills no log either."""
    address = call.identity.address
    if is_refusal and not refusals.note(failed, address, is_told=True):
        return
    project = Project.objects.named(failed.project).first() if failed.project else None
    audit.record(
        failed.username,
        failed.operation,
        failed.resource_type,
        failed.resource,
        failed.description,
        namespace_id=project.namespace_id if project else None,
        address=address,
        succeeded=False,
    )


def _refusal(call: Call, error: RegistryError) -> Refusal:
    rule = error.detail.get("rule") if isinstance(error.detail, dict) else None
    return Refusal(
        call.by,
        _VERBS.get(call.operation.method, audit.UPDATE),
        call.operation.tag,
        call.raw_path,
        f"refused: {rule or error.message}",
        _project_name(call),
    )


def _project_name(call: Call) -> str:
    """Of the project of the path, which need not be there; empty where the path has none."""
    if "project_name_or_id" not in call.path:
        return str(call.path.get("project_name") or "")
    found = addressing.find_project(call)
    return found.name if found else str(call.path["project_name_or_id"])


# -- in Harbor's words


def _new_user(call: Call) -> Refusal:
    return Refusal(call.by, audit.CREATE, "user", "", "create user with name: ")


def _user(operation: str, what: str = "") -> Callable[[Call], Refusal]:
    def describe(call: Call) -> Refusal:
        number = call.path["user_id"]
        names = User.objects.living().filter(pk=number).values_list("username", flat=True)
        name = names.first() or str(number)
        return Refusal(call.by, operation, "user", name, f"{operation} user with name: {name}{what}")

    return describe


def _member(operation: str, where: str) -> Callable[[Call], Refusal]:
    def describe(call: Call) -> Refusal:
        project = _project_name(call)
        rows = Member.objects.filter(project__namespace__name=project, pk=call.path.get("mid", 0))
        member = rows.select_related("user", "group").first()
        name = (member.user.username if member.user else member.group.name) if member else ""  # type: ignore[union-attr]
        shown = f"{'user' if member.user else 'group'} member {name}" if member else "member"
        return Refusal(call.by, operation, "member", name, f"{operation} {shown} {where} project {project}", project)

    return describe


def _configuration(call: Call) -> Refusal:
    return Refusal(call.by, audit.UPDATE, "configuration", "configuration", "update configuration")


_RECORDED: Mapping[str, Callable[[Call], Refusal]] = {
    "createUser": _new_user,
    "updateUserProfile": _user(audit.UPDATE),
    "updateUserPassword": _user(audit.UPDATE, ", change user password"),
    "setUserSysAdmin": _user(audit.UPDATE, ", add/remove user as system administrator"),
    "deleteUser": _user(audit.DELETE),
    "createProjectMember": _member(audit.CREATE, "in"),
    "updateProjectMember": _member(audit.UPDATE, "in"),
    "deleteProjectMember": _member(audit.DELETE, "from"),
    "updateConfigurations": _configuration,
}
