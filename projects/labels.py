"""Verbs that change labels and what they are attached to (contract 6.8), each with its audit row."""

from __future__ import annotations

from django.db import IntegrityError, transaction
from django.db.models.functions import Now

from projects.models import ArtifactLabel, Label, Project
from registry_core import audit, errors
from registry_core.models import Artifact

MAX_NAME, MAX_COLOR = 128, 16


@transaction.atomic
def create(
    scope: str, project_id: int, name: str, *, description: str = "", color: str = "", by: str, address: str = ""
) -> Label:
    """Conflict when the scope has one of this name. A name may be empty, as in Harbor."""
    _check_lengths(name, color)
    label = Label(scope=scope, project_id=project_id, name=name, description=description, color=color)
    try:
        with transaction.atomic():
            label.save(force_insert=True)
    except IntegrityError as e:
        raise errors.Conflict(f"label {name} already exists") from e
    _record(by, audit.CREATE, label, address)
    return label


@transaction.atomic
def update(
    label: Label, name: str, *, description: str = "", color: str = "", by: str, address: str = ""
) -> None:
    """Scope and project stay."""
    if not name:
        raise errors.BadRequest("cannot be empty")
    _check_lengths(name, color)
    try:
        with transaction.atomic():
            Label.objects.filter(pk=label.pk).update(
                name=name, description=description, color=color, updated_at=Now()
            )
    except IntegrityError as e:
        raise errors.Conflict(f"label {name} already exists") from e
    _record(by, audit.UPDATE, label, address)


@transaction.atomic
def delete(label: Label, *, by: str, address: str = "") -> None:
    _record(by, audit.DELETE, label, address)
    label.delete()


@transaction.atomic
def attach(label: Label, artifact: Artifact, *, by: str, address: str = "") -> None:
    try:
        with transaction.atomic():
            ArtifactLabel.objects.create(label=label, artifact=artifact)
    except IntegrityError as e:
        raise errors.Conflict(f"label {label.pk} is already added to the artifact {artifact.pk}") from e
    _record_at(by, f"add label {label.name} to", artifact, address)


@transaction.atomic
def detach(label_id: int, artifact: Artifact, *, by: str, address: str = "") -> None:
    attached = ArtifactLabel.objects.select_related("label").filter(label=label_id, artifact=artifact).first()
    if attached is None or not attached.delete()[0]:
        raise errors.NotFound(f"reference with label {label_id} and artifact {artifact.pk} not found")
    _record_at(by, f"remove label {attached.label.name} from", artifact, address)


def _record(by: str, operation: str, label: Label, address: str) -> None:
    of_project = label.scope == Label.Scope.PROJECT
    projects = Project.objects.filter(pk=label.project_id) if of_project else Project.objects.none()
    namespace_id = projects.values_list("namespace", flat=True).first()
    audit.record(by, operation, "label", label.name, namespace_id=namespace_id, address=address)


def _record_at(by: str, what: str, artifact: Artifact, address: str) -> None:
    """A label that comes to an artifact, or goes, changes the artifact."""
    home = artifact.repository
    resource = f"{home.name}@{artifact.digest}"
    text = f"{what} artifact: {resource}"
    audit.record(
        by, audit.UPDATE, "artifact", resource, text, namespace_id=home.namespace_id, address=address
    )


def _check_lengths(name: str, color: str) -> None:
    if len(name) > MAX_NAME:
        raise errors.BadRequest(f"max length is {MAX_NAME}", {"limit": MAX_NAME})
    if len(color) > MAX_COLOR:
        raise errors.BadRequest(f"max length of color is {MAX_COLOR}", {"limit": MAX_COLOR})
