"""Tag repository."""

from __future__ import annotations

from typing import Any

from django.db.models import Count, F, Q, QuerySet, Value
from django.db.models.functions import Concat

from api import addressing, query
from api.artifacts import listed_artifacts
from api.dispatch import Answer, Call, listed, search
from rbac.catalogue import Permission
from rbac.visibility import visible_projects
from registry_core import actions, deletions
from registry_core.models import Repository


def _named(match: query.Match) -> Q:
    """By the full name; exact ones by the index on the project's name and the path."""
    names: tuple[object, ...] = ()
    if isinstance(match, query.Exact):
        names = (match.value,)
    elif isinstance(match, query.AnyOf):
        names = match.values
    if not names or not all(isinstance(name, str) for name in names):
        return query.compare(query.Field("name", "full_name"), match)
    condition = Q(pk__in=[])
    for name in names:
        project, _, path = str(name).partition("/")
        condition |= Q(namespace__name=project, path=path)
    return condition


_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&#34;", "'": "&#39;"})

FIELDS = query.FieldMap(
    [
        query.Field("repository_id", "id", "integer"),
        query.Field("name", "full_name", condition=_named),
        query.Field("project_id", "namespace__project__id", "integer"),
        query.Field("description"),
        query.Field("pull_count", kind="integer"),
        query.Field("creation_time", "created_at", "time"),
        query.Field("update_time", "updated_at", "time"),
    ],
    default=("-created_at", "-id"),
)


def present_repositories(rows: list[Repository]) -> list[dict[str, Any]]:
    """Rows with `project_pk` and `full_name` (see named_repositories)."""
    counts = artifact_counts(rows)
    return [
        {
            "id": row.pk,
            "project_id": row.project_pk,  # type: ignore[attr-defined]
            "name": row.full_name,  # type: ignore[attr-defined]
            "description": row.description,
            "artifact_count": counts.get(row.pk, 0),
            "pull_count": row.pull_count,
            "creation_time": row.created_at,
            "update_time": row.updated_at,
        }
        for row in rows
    ]


def artifact_counts(rows: list[Repository]) -> dict[int, int]:
    """Of what lists of artifacts show, by the repository's id; in one query."""
    found = listed_artifacts().filter(repository__in=rows).order_by().values_list("repository")
    return dict(found.annotate(count=Count("pk")))


def named_repositories() -> QuerySet[Repository]:
    return Repository.objects.listed().annotate(
        full_name=Concat("namespace__name", Value("/"), "path"), project_pk=F("namespace__project__id")
    )


def list_all_repositories(call: Call) -> Answer:
    projects = visible_projects(call.identity, Permission.REPOSITORY_LIST)
    rows = named_repositories().filter(namespace__project__in=projects)
    return listed(call, search(call, rows, FIELDS), present_repositories)


def list_repositories(call: Call) -> Answer:
    project = addressing.project(call, Permission.REPOSITORY_LIST)
    rows = named_repositories().filter(namespace=project.namespace)
    return listed(call, search(call, rows, FIELDS), present_repositories)


def get_repository(call: Call) -> Answer:
    repository = addressing.repository(call, Permission.REPOSITORY_READ)
    return Answer(present_repositories(list(named_repositories().filter(pk=repository.pk)))[0])


def update_repository(call: Call) -> Answer:
    repository = addressing.repository(call, Permission.REPOSITORY_UPDATE)
    # Escaped when stored, as Harbor does: its console showed the text as it is.
    actions.describe_repository(
        repository, call.body.get("description", "").translate(_ESCAPES), call.by, call.identity.address
    )
    return Answer()


def delete_repository(call: Call) -> Answer:
    repository = addressing.repository(call, Permission.REPOSITORY_DELETE)
    deletions.delete_repository(repository.pk, call.by, call.identity.address)
    return Answer()
