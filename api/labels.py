"""Tag label, and the labels of an artifact (contract 6.8)."""

from __future__ import annotations

from typing import Any

from api import addressing, query
from api.dispatch import Answer, Call, created, listed, search
from projects import labels
from projects.models import Label, Project
from rbac.catalogue import Permission
from rbac.permissions import absent_project, require
from registry_core.errors import BadRequest, NotFound

FIELDS = query.FieldMap(
    [
        query.Field("id", "id", "integer"),
        query.Field("name"),
        query.Field("description"),
        query.Field("color"),
        query.Field("creation_time", "created_at", "time"),
        query.Field("update_time", "updated_at", "time"),
    ],
    default=("name",),
)


def present_labels(rows: list[Label]) -> list[dict[str, Any]]:
    return [
        {
            "id": row.pk,
            "name": row.name,
            "description": row.description,
            "color": row.color,
            "scope": row.scope,
            "project_id": row.project_id,
            "creation_time": row.created_at,
            "update_time": row.updated_at,
        }
        for row in rows
    ]


def _require(call: Call, permission: Permission, scope: str, project_id: int) -> None:
    """In the project that a label belongs to; a global label belongs to the system."""
    if scope == Label.Scope.GLOBAL:
        call.require(permission)
        return
    project = Project.objects.select_related("namespace").filter(pk=project_id).first()
    if project is not None:
        require(call.identity, permission, project)
    elif not call.identity.principal.is_admin:
        raise absent_project(call.identity, permission, str(project_id))


def list_labels(call: Call) -> Answer:
    """Global ones are open to anybody."""
    scope, project_id = call.query.get("scope") or "", call.query.get("project_id") or 0
    if scope not in Label.Scope.values:
        raise BadRequest(f"invalid scope: {scope}")
    rows = Label.objects.of_all()
    if scope == Label.Scope.PROJECT:
        if not project_id:
            raise BadRequest("must with project ID when to query project labels")
        _require(call, Permission.LABEL_LIST, scope, project_id)
        rows = Label.objects.of_project(project_id)
    old: dict[str, query.Match] = {"name": query.Fuzzy(name)} if (name := call.query.get("name")) else {}
    return listed(call, search(call, rows, FIELDS, **old), present_labels)


def create_label(call: Call) -> Answer:
    body = call.body
    scope = body.get("scope", "")
    if scope not in Label.Scope.values:
        raise BadRequest("unsupported label scope")
    project_id = body.get("project_id", 0) if scope == Label.Scope.PROJECT else 0
    _require(call, Permission.LABEL_CREATE, scope, project_id)
    label = labels.create(
        scope,
        project_id,
        body.get("name", ""),
        description=body.get("description", ""),
        color=body.get("color", ""),
        by=call.by,
        address=call.identity.address,
    )
    return created(call, label.pk)


def _get(call: Call, permission: Permission) -> Label:
    """The label of the path; that there is none is told to who may see the global ones."""
    number = call.path["label_id"]
    absent = NotFound(f"label {number} not found")
    label = Label.objects.filter(pk=number).first()
    project = Project.objects.select_related("namespace").filter(pk=label.project_id if label else 0).first()
    if label is not None and project is not None:
        addressing.require_by_id(call, permission, project, absent)
        return label
    call.require(permission)
    if label is None or (label.scope == Label.Scope.PROJECT and not call.identity.principal.is_admin):
        raise absent
    return label


def get_label_by_id(call: Call) -> Answer:
    return Answer(present_labels([_get(call, Permission.LABEL_READ)])[0])


def update_label(call: Call) -> Answer:
    label = _get(call, Permission.LABEL_UPDATE)
    labels.update(
        label,
        call.body.get("name", ""),
        description=call.body.get("description", ""),
        color=call.body.get("color", ""),
        by=call.by,
        address=call.identity.address,
    )
    return Answer()


def delete_label(call: Call) -> Answer:
    labels.delete(_get(call, Permission.LABEL_DELETE), by=call.by, address=call.identity.address)
    return Answer()


# -- of an artifact


def add_label(call: Call) -> Answer:
    artifact = addressing.artifact(call, Permission.ARTIFACT_LABEL_CREATE)
    number = call.body.get("id", 0)
    if (label := Label.objects.filter(pk=number).first()) is None:
        raise NotFound(f"label {number} not found")
    project = Project.objects.get(namespace=artifact.repository.namespace_id)
    if label.scope == Label.Scope.PROJECT and label.project_id != project.pk:
        raise NotFound(f"project id {project.pk}, label {number} not found")
    labels.attach(label, artifact, by=call.by, address=call.identity.address)
    return Answer()


def remove_label(call: Call) -> Answer:
    artifact = addressing.artifact(call, Permission.ARTIFACT_LABEL_DELETE)
    labels.detach(call.path["label_id"], artifact, by=call.by, address=call.identity.address)
    return Answer()
