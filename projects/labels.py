"""Verbs that change labels and what they are attached to (contract 6.8)."""

from __future__ import annotations

from django.db import IntegrityError, transaction
from django.db.models.functions import Now

from projects.models import ArtifactLabel, Label
from registry_core import errors
from registry_core.models import Artifact

MAX_NAME, MAX_COLOR = 128, 16


@transaction.atomic
def create(scope: str, project_id: int, name: str, *, description: str = "", color: str = "") -> Label:
    """Conflict when the scope has one of this name. A name may be empty, as in Harbor."""
    _check_lengths(name, color)
    label = Label(scope=scope, project_id=project_id, name=name, description=description, color=color)
    try:
        with transaction.atomic():
            label.save(force_insert=True)
    except IntegrityError as e:
        raise errors.Conflict(f"label {name} already exists") from e
    return label


@transaction.atomic
def update(label: Label, name: str, *, description: str = "", color: str = "") -> None:
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


@transaction.atomic
def attach(label: Label, artifact: Artifact) -> None:
    try:
        with transaction.atomic():
            ArtifactLabel.objects.create(label=label, artifact=artifact)
    except IntegrityError as e:
        raise errors.Conflict(f"label {label.pk} is already added to the artifact {artifact.pk}") from e


@transaction.atomic
def detach(label_id: int, artifact: Artifact) -> None:
    gone, _ = ArtifactLabel.objects.filter(label=label_id, artifact=artifact).delete()
    if not gone:
        raise errors.NotFound(f"reference with label {label_id} and artifact {artifact.pk} not found")


def _check_lengths(name: str, color: str) -> None:
    if len(name) > MAX_NAME:
        raise errors.BadRequest(f"max length is {MAX_NAME}", {"limit": MAX_NAME})
    if len(color) > MAX_COLOR:
        raise errors.BadRequest(f"max length of color is {MAX_COLOR}", {"limit": MAX_COLOR})
