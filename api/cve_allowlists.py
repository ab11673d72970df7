"""Tag SystemCVEAllowlist, and the list of a project (contract 7)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from api.dispatch import Answer, Call
from projects.models import Project
from rbac.catalogue import Permission
from registry_core.errors import BadRequest
from scanning import allowlist
from scanning.models import CveAllowlist


def present_of_project(project_id: int, row: CveAllowlist | None) -> dict[str, Any]:
    """Every project has a list, even if nothing is on it yet; when it was set is not told."""
    return {"id": project_id, "project_id": project_id, **_present_content(row)}


def _present_content(row: CveAllowlist | None) -> dict[str, Any]:
    return {
        "items": [{"cve_id": one} for one in row.items] if row else [],
        "expires_at": row.expires_at if row else None,
    }


def replace(call: Call, project: Project | None, sent: Mapping[str, Any]) -> None:
    ids = [(item or {}).get("cve_id", "") for item in sent.get("items") or ()]
    allowlist.replace(project, ids, sent.get("expires_at"), by=call.by, address=call.identity.address)


def get_system_cve_allowlist(call: Call) -> Answer:
    call.require_sign_in()
    row = allowlist.of_system()
    moment = row.updated_at if row else None
    return Answer(
        {"id": row.pk if row else 1, "creation_time": moment, "update_time": moment, **_present_content(row)}
    )


def put_system_cve_allowlist(call: Call) -> Answer:
    """Replaces it; ids and project of the body do not count."""
    call.require(Permission.CONFIGURATION_UPDATE)
    if call.body is None:
        raise BadRequest("allowlist in body is required")
    replace(call, None, call.body)
    return Answer()
