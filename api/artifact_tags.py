"""The tags of an artifact (tag artifact of the contract)."""

from __future__ import annotations

from typing import Any

from api import addressing, query
from api.dispatch import Answer, Call, listed, search
from rbac.catalogue import Permission
from registry_core import deletions, errors
from registry_core.models import Tag
from registry_core.references import is_tag

FIELDS = query.FieldMap(
    [
        query.Field("id", "id", "integer"),
        query.Field("repository_id", kind="integer"),
        query.Field("artifact_id", kind="integer"),
        query.Field("name"),
        query.Field("push_time", "pushed_at", "time"),
        query.Field("pull_time", "pulled_at", "time"),
    ],
    default=("-pushed_at", "-id"),
)


def present_tags(rows: list[Tag]) -> list[dict[str, Any]]:
    return [
        {
            "id": row.pk,
            "repository_id": row.repository_id,
            "artifact_id": row.artifact_id,
            "name": row.name,
            "push_time": row.pushed_at,
            "pull_time": row.pulled_at,
            "immutable": False,
        }
        for row in rows
    ]


def list_tags(call: Call) -> Answer:
    artifact = addressing.artifact(call, Permission.TAG_LIST)
    return listed(call, search(call, Tag.objects.filter(artifact=artifact), FIELDS), present_tags)


def create_tag(call: Call) -> Answer:
    artifact = addressing.artifact(call, Permission.TAG_CREATE)
    name = call.body["name"]
    if not is_tag(name):
        raise errors.BadRequest(
            f"bad request: invalid tag name: {name}",
            {"tag": name[:200], "form": "1 to 128 of A-Z a-z 0-9 _ . -, not beginning with . or -"},
        )
    deletions.add_tag(artifact, name, call.by, call.identity.address)
    return Answer(status=201)


def delete_tag(call: Call) -> Answer:
    artifact = addressing.artifact(call, Permission.TAG_DELETE)
    name = call.path["tag_name"]
    if not Tag.objects.filter(artifact=artifact, name=name).exists():
        raise errors.NotFound(f"tag {name} attached to artifact {artifact.pk} not found")
    deletions.delete_tag(artifact.repository_id, name, call.by, call.identity.address)
    return Answer()
