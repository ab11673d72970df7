"""The additions of an artifact (tag artifact of the contract; 3.5)."""

from __future__ import annotations

from api import addressing
from api.dispatch import Answer, Call
from rbac.catalogue import Permission
from registry_core import additions
from registry_core.errors import NotFound

# Somebody else wrote it: a browser that is led here shows it as text, and runs nothing of it.
_HARMLESS = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "default-src 'none'; sandbox"}


def get_addition(call: Call) -> Answer:
    artifact = addressing.artifact(call, Permission.ARTIFACT_ADDITION_READ)
    found = additions.get_addition(artifact, call.path["addition"])
    return Answer(found.content, headers=_HARMLESS, content_type=found.media_type)


def get_vulnerabilities_addition(call: Call) -> Answer:
    """Reports by their media type: none as long as nothing scans. What no scanner reads has none ever."""
    artifact = addressing.artifact(call, Permission.ARTIFACT_ADDITION_READ)
    if artifact.kind != "IMAGE":
        raise NotFound(f"report not found for {artifact.repository.name}@{artifact.digest}")
    return Answer({})
