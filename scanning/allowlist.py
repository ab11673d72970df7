"""Allowlists of CVEs: what they may hold, and their one verb (contract 3.3, 7)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from django.db import transaction
from django.db.models.functions import Now

from projects.models import Project
from registry_core import audit, errors
from scanning.models import CveAllowlist

MAX_ITEMS = 10_000
MAX_ID = 255


def check_ids(ids: Sequence[str]) -> list[str]:
    """BadRequest for what Harbor's database refuses: an id that is empty, too long, or there twice."""
    if len(ids) > MAX_ITEMS:
        raise errors.BadRequest(f"an allowlist holds at most {MAX_ITEMS} ids", {"limit": MAX_ITEMS, "sent": len(ids)})
    seen: set[str] = set()
    for one in ids:
        if not one or len(one) > MAX_ID:
            raise errors.BadRequest(f"an id in an allowlist has 1 to {MAX_ID} characters", {"cve_id": one[:MAX_ID]})
        if one in seen:
            raise errors.BadRequest(f"the id {one} occurs twice in the allowlist", {"cve_id": one})
        seen.add(one)
    return list(ids)


def of_system() -> CveAllowlist | None:
    return CveAllowlist.objects.filter(project=None).first()


def of_projects(projects: Iterable[int]) -> dict[int, CveAllowlist]:
    """By the project's id; in one query."""
    rows = CveAllowlist.objects.filter(project__in=list(projects))
    return {row.project_id: row for row in rows if row.project_id is not None}


@transaction.atomic
def replace(
    project: Project | None, ids: Sequence[str], expires_at: int | None, *, by: str, address: str = ""
) -> None:
    """The list of the project, or of the system, is this from now on."""
    CveAllowlist.objects.update_or_create(
        project=project, defaults={"items": check_ids(ids), "expires_at": expires_at, "updated_at": Now()}
    )
    if project is None:  # that of a project is part of its own update
        audit.record(by, audit.UPDATE, "cve_allowlist", "system", address=address)
