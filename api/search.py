"""Tag search: projects and repositories of which the caller sees, by a part of their name (contract 6.10, 7)."""

from __future__ import annotations

from typing import Any, TypeVar

from django.db.models import F, Model, QuerySet

from api.dispatch import MAX_UNPAGED, Answer, Call
from api.projects import present_projects
from api.repositories import artifact_counts, named_repositories
from projects.models import Project
from rbac.catalogue import Permission
from rbac.visibility import visible_projects
from registry_core.errors import BadRequest

M = TypeVar("M", bound=Model)


def search(call: Call) -> Answer:
    """Not in pages. Projects are compared to the letter, full names of repositories not; wildcards mean themselves."""
    text = call.query["q"]
    projects = visible_projects(call.identity).select_related("namespace").filter(namespace__name__contains=text)
    listing = visible_projects(call.identity, Permission.REPOSITORY_LIST)
    repositories = (
        named_repositories()
        .annotate(project_name=F("namespace__name"), project_public=F("namespace__project__public"))
        .filter(namespace__project__in=listing, full_name__icontains=text)
    )
    return Answer(
        {
            "project": _present_projects(call, _all(projects.order_by("namespace__name"))),
            "repository": _present_repositories(_all(repositories.order_by("-created_at", "-id"))),
        }
    )


def _all(rows: QuerySet[M]) -> list[M]:
    found = list(rows[: MAX_UNPAGED + 1])
    if len(found) > MAX_UNPAGED:
        text = f"more than {MAX_UNPAGED} names match: search for a longer part of the name"
        raise BadRequest(text, {"limit": MAX_UNPAGED})
    return found


def _present_projects(call: Call, rows: list[Project]) -> list[dict[str, Any]]:
    """Without owners' names and allowlists (contract 1.2)."""
    return [
        project | {"owner_name": "", "cve_allowlist": {"items": None}} for project in present_projects(call, rows)
    ]


def _present_repositories(rows: list[Any]) -> list[dict[str, Any]]:
    counts = artifact_counts(rows)
    return [
        {
            "project_id": row.project_pk,
            "project_name": row.project_name,
            "project_public": row.project_public,
            "repository_name": row.full_name,
            "pull_count": row.pull_count,
            "artifact_count": counts.get(row.pk, 0),
        }
        for row in rows
    ]
