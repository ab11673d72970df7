"""Tag statistic: how many projects and repositories the caller sees; totals are for system administrators (6.10)."""

from __future__ import annotations

from django.db.models import Count, Sum

from api.dispatch import Answer, Call
from rbac.visibility import visible_projects
from registry_core.models import Blob, Repository


def get_statistic(call: Call) -> Answer:
    call.require_sign_in()
    visible = visible_projects(call.identity)
    projects = dict(visible.order_by().values_list("public").annotate(count=Count("pk")))
    repositories = dict(
        Repository.objects.listed()
        .filter(namespace__project__in=visible)
        .values_list("namespace__project__public")
        .annotate(count=Count("pk"))
    )
    is_admin = call.identity.principal.is_admin
    return Answer(
        {
            "private_project_count": projects.get(False, 0),
            "private_repo_count": repositories.get(False, 0),
            "public_project_count": projects.get(True, 0),
            "public_repo_count": repositories.get(True, 0),
            "total_project_count": sum(projects.values()) if is_admin else 0,
            "total_repo_count": sum(repositories.values()) if is_admin else 0,
            "total_storage_consumption": _stored_bytes() if is_admin else 0,
        }
    )


def _stored_bytes() -> int:
    """What all blobs take together, each once."""
    return int(Blob.objects.aggregate(size=Sum("size"))["size"] or 0)
