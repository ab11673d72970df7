"""Verbs that change projects, each one transaction with its audit row and epoch."""

from __future__ import annotations

from collections.abc import Mapping

from django.db import transaction
from django.db.models.functions import Now

from projects import metadata
from projects.models import Project, Quota
from registry_core import audit, deletions, epochs, errors
from registry_core.locks import Vanished, retrying
from registry_core.models import Namespace, Repository
from registry_core.references import is_project_name

NOT_EMPTY = "the project contains repositories, can not be deleted"


@transaction.atomic
def create(
    name: str,
    settings: Mapping[str, str],
    *,
    owner_id: int,
    owner_name: str,
    by: str,
    address: str = "",
    storage_limit: int = -1,
) -> Project:
    """A new project; Conflict when the name is taken. Its members are the business of rbac.

    `storage_limit` in bytes, -1 for none.
    """
    if not is_project_name(name):
        raise errors.BadRequest(
            "project name is not in lower case or contains illegal characters",
            {"name": name, "form": "1 to 255 of a-z 0-9, parts joined by one of . _ -"},
        )
    kept = metadata.for_new_project(settings)
    namespace, is_new = Namespace.objects.get_or_create(name=name)
    if not is_new:
        raise errors.Conflict(f"The project named {name} already exists")
    project = Project.objects.create(
        namespace=namespace,
        owner_id=owner_id,
        owner_name=owner_name,
        public=metadata.is_public(kept),
        metadata=kept,
    )
    Quota.objects.create(project=project, hard=storage_limit)
    audit.record(by, audit.CREATE, "project", name, namespace_id=namespace.pk, address=address)
    return project


@transaction.atomic
def update_metadata(project: Project, sent: Mapping[str, str], *, by: str, address: str = "") -> None:
    """Merge into the project's map; a change of `public` reaches every process within seconds."""
    _set_metadata(project, metadata.merged(_locked(project).metadata, sent), by=by, address=address)


@transaction.atomic
def delete_metadata(project: Project, key: str, *, by: str, address: str = "") -> None:
    """Forget one key; without `public` a project is private (contract 7)."""
    kept = {k: v for k, v in _locked(project).metadata.items() if k != key}
    _set_metadata(project, kept, by=by, address=address)


@transaction.atomic
def add_metadata(project: Project, key: str, value: str, *, by: str, address: str = "") -> None:
    """Set a key that is not set yet; Conflict when it is."""
    current = _locked(project).metadata
    if key in current:
        raise errors.Conflict(f"metadata {key} already exists for project {project.pk}")
    _set_metadata(project, {**current, key: value}, by=by, address=address)


@transaction.atomic
def change_metadata(project: Project, key: str, value: str, *, by: str, address: str = "") -> None:
    """Change a key that is set; one that is not stays so (contract 7)."""
    current = _locked(project).metadata
    if key in current:
        _set_metadata(project, {**current, key: value}, by=by, address=address)


def _set_metadata(project: Project, kept: dict[str, str], *, by: str, address: str) -> None:
    project.metadata, project.public = kept, metadata.is_public(kept)
    Project.objects.filter(pk=project.pk).update(metadata=kept, public=project.public, updated_at=Now())
    epochs.raise_epoch(f"n:{project.namespace_id}")
    audit.record(
        by, audit.UPDATE, "project", project.name, namespace_id=project.namespace_id, address=address
    )


def _locked(project: Project) -> Project:
    return Project.objects.select_for_update().get(pk=project.pk)


def find_obstacle(project: Project) -> str:
    """Why the project cannot be deleted now, or nothing."""
    listed = Repository.objects.listed().filter(namespace=project.namespace_id)
    return NOT_EMPTY if listed.exists() else ""


@retrying
def delete(project: Project, *, by: str, address: str = "") -> None:
    """Precondition (412) while there are repositories; NotFound when somebody else was first."""
    name, namespace_id = project.name, project.namespace_id
    # Repositories before their namespace, as pushers lock them: they hold the one when they first refer to the other.
    deletions.delete_unlisted(namespace_id)
    if not Namespace.objects.select_for_update().filter(pk=namespace_id).exists():
        raise errors.NotFound(f"project {name} not found")
    # From here on nobody can make another one: who wants to waits, and then finds no namespace.
    if obstacle := find_obstacle(project):
        raise errors.Precondition(f"precondition failed: {obstacle}")
    if Repository.objects.filter(namespace=namespace_id).exists():
        raise Vanished  # begun by an upload between the two
    Project.objects.filter(pk=project.pk).delete()
    Namespace.objects.filter(pk=namespace_id).delete()
    epochs.raise_epoch(f"n:{namespace_id}")
    audit.record(by, audit.DELETE, "project", name, namespace_id=namespace_id, address=address)
