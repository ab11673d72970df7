"""Tag quota: storage limits of projects (contract 6.8)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db.models import QuerySet, Value
from django.db.models.functions import NullIf

from api import query
from api.dispatch import Answer, Call, listed, search
from projects.models import Quota
from projects.policies import quota
from rbac.catalogue import Permission
from registry_core.errors import BadRequest, NotFound

FIELDS = query.FieldMap(
    [
        query.Field("id", "id", "integer"),
        query.Field("hard.storage", "limit", "integer"),  # no limit is the largest of all
        query.Field("used.storage", "used", "integer"),
        query.Field("creation_time", "created_at", "time"),
        query.Field("update_time", "updated_at", "time"),
    ],
    default=("-created_at", "-id"),
)


def _quotas() -> QuerySet[Quota]:
    rows = Quota.objects.select_related("project__namespace")
    return rows.annotate(limit=NullIf("hard", Value(quota.UNLIMITED)))


def present_quotas(rows: list[Quota]) -> list[dict[str, Any]]:
    return [
        {
            "id": row.pk,
            "ref": {
                "id": row.project_id,
                "name": row.project.name,
                # Harbor has no owner to show of what user 1 owns.
                "owner_name": "" if row.project.owner_id == 1 else row.project.owner_name,
            },
            "hard": {"storage": row.hard},
            "used": {"storage": row.used},
            "creation_time": row.created_at,
            "update_time": row.updated_at,
        }
        for row in rows
    ]


def list_quotas(call: Call) -> Answer:
    """Of projects: there are no others, and of what is no project there is none."""
    call.require(Permission.QUOTA_LIST)
    rows = _quotas()
    if call.query.get("reference") not in (None, "", "project"):
        rows = rows.none()
    if number := call.query.get("reference_id"):
        is_id = number.isascii() and number.isdigit() and len(number) < 19
        rows = rows.filter(project=int(number)) if is_id else rows.none()
    return listed(call, search(call, rows, FIELDS), present_quotas)


def _get(call: Call, permission: Permission) -> Quota:
    call.require(permission)
    number = call.path["id"]
    found = _quotas().filter(pk=number).first()
    if found is None:
        raise NotFound(f"quota {number} not found")
    return found


def get_quota(call: Call) -> Answer:
    """One alone has no time of its last change (contract 6.8)."""
    (shown,) = present_quotas([_get(call, Permission.QUOTA_READ)])
    return Answer(shown | {"update_time": None})


def update_quota(call: Call) -> Answer:
    found = _get(call, Permission.QUOTA_UPDATE)
    limit = _sent_limit(call.body.get("hard") or {})
    quota.set_limit(found.project, limit, by=call.by, address=call.identity.address)
    return Answer()


def _sent_limit(hard: Mapping[str, int]) -> int:
    if not hard:
        raise BadRequest("hard required in body")
    if unknown := [resource for resource in hard if resource != "storage"]:
        raise BadRequest(f"resource {unknown[0][:100]} not support")
    return hard["storage"] or 0
