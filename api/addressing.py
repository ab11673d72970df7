"""What a path is about: project, repository, artifact. Found by name or id, allowed by id, never by a name alone.

An absent thing and one that the caller may not see give the same answer (design 2.8); only who sees every project is
told that there is none.
"""

from __future__ import annotations

import re
import urllib.parse

from api.dispatch import Call
from projects.models import Project
from rbac.catalogue import Permission
from rbac.permissions import absent_project, can, require
from registry_core import errors
from registry_core.digests import is_digest
from registry_core.models import Artifact, Repository

_ID = re.compile(r"[+-]?[0-9]{1,18}")


def project(call: Call, permission: Permission) -> Project:
    """The project of the path, if the caller may do this there."""
    found = find_project(call)
    if found is None:
        raise absent_project(call.identity, permission, _project_text(call))
    require(call.identity, permission, found)
    return found


def find_project(call: Call) -> Project | None:
    """By name, or by id where the path takes both and the text is a number (contract 1.3, X-Is-Resource-Name)."""
    projects = Project.objects.select_related("namespace")
    text = _project_text(call)
    by_id = "project_name_or_id" in call.path and not call.headers.get("X-Is-Resource-Name")
    if by_id and _ID.fullmatch(text):
        return projects.filter(pk=int(text)).first()
    return projects.named(text).first()


def require_by_id(call: Call, permission: Permission, project: Project, absent: errors.NotFound) -> None:
    """For what a number names and a project holds. Who may not see the project hears what it would hear of a number
    that names nothing: `absent`, or that it may not know."""
    if can(call.identity, permission, project):
        return
    if can(call.identity, Permission.PROJECT_READ, project):
        require(call.identity, permission, project)
    call.require(permission)
    raise absent


def _project_text(call: Call) -> str:
    text: str = (
        call.path["project_name_or_id"] if "project_name_or_id" in call.path else call.path["project_name"]
    )
    return text


def repository_path(call: Call) -> str:
    """Without the project. The router decoded it once; names with slashes come encoded twice (contract 1.6)."""
    return urllib.parse.unquote(call.path["repository_name"], errors="replace").replace("\0", "\ufffd")


def find_repository(call: Call, permission: Permission) -> Repository | None:
    """The repository of the path; None when it, or its project, is absent and the caller may know that."""
    found = find_project(call)
    if found is None:
        if call.identity.principal.is_admin:
            return None
        raise absent_project(call.identity, permission, _project_text(call))
    require(call.identity, permission, found)
    return (
        Repository.objects.listed()
        .select_related("namespace__project")
        .filter(namespace_id=found.namespace_id, path=repository_path(call))
        .first()
    )


def repository(call: Call, permission: Permission) -> Repository:
    found = find_repository(call, permission)
    if found is None:
        raise errors.NotFound(f"repository {call.path['project_name']}/{repository_path(call)} not found")
    return found


def artifact(call: Call, permission: Permission) -> Artifact:
    """By digest or tag; without its payload, which no REST answer shows."""
    home = repository(call, permission)
    reference: str = call.path["reference"]
    by_digest = is_digest(reference)
    named = {"digest": reference} if by_digest else {"tags__name": reference, "tags__repository": home}
    found = Artifact.objects.defer("payload").filter(repository=home, **named).first()
    if found is None:
        raise errors.NotFound(f"artifact {home.name}{'@' if by_digest else ':'}{reference} not found")
    found.repository = home
    return found
