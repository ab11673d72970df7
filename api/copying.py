"""Copying an artifact (tag artifact of the contract; 7)."""

from __future__ import annotations

import urllib.parse

from api import addressing
from api.contract import PREFIX
from api.dispatch import Answer, Call
from projects.models import Project
from rbac.catalogue import Permission
from rbac.permissions import absent_project, require
from registry_core import copies, errors
from registry_core.hooks import Grant
from registry_core.models import Artifact
from registry_core.references import MAX_NAME, RepositoryName, is_repository_path


def copy_artifact(call: Call) -> Answer:
    project = addressing.project(call, Permission.ARTIFACT_CREATE)
    source, reference = _source(call, call.query["from"])
    path = addressing.repository_path(call)
    if not is_repository_path(path) or len(project.name) + 1 + len(path) > MAX_NAME:
        raise errors.NotFound(
            f"repository {project.name}/{path} cannot be: its name is invalid",
            {"name": path[:MAX_NAME], "form": "lower case, parts joined by one of . _ __ - /"},
        )
    copies.copy_artifact(
        Grant(call.identity.principal, project.namespace_id),
        RepositoryName(project.name, path),
        source,
        "" if "@" in call.query["from"] else reference,
        call.identity.address,
    )
    shown = urllib.parse.quote(path, safe="")
    location = f"{PREFIX}/projects/{call.path['project_name']}/repositories/{shown}/artifacts/{reference}"
    return Answer(status=201, headers={"Location": location})


def _source(call: Call, text: str) -> tuple[Artifact, str]:
    """What `project/repository:tag` or `project/repository@digest` names, if the caller may have it, and how."""
    repository, _, reference = text.rpartition("@" if "@" in text else ":")
    name, _, path = repository.partition("/")
    project = Project.objects.named(name).first()
    if project is None:
        if not call.identity.principal.is_admin:
            raise absent_project(call.identity, Permission.ARTIFACT_READ, name)
    else:
        require(call.identity, Permission.ARTIFACT_READ, project)
        # Else who may look at it and not pull it would copy it to where they may.
        require(call.identity, Permission.REPOSITORY_PULL, project)
        rows = Artifact.objects.defer("payload").filter(
            repository__namespace=project.namespace_id, repository__path=path
        )
        found = rows.filter(**{"digest" if "@" in text else "tags__name": reference}).first()
        if found is not None:
            return found, reference
    raise errors.BadRequest(f"artifact {text} not found")
