"""Tag projectMetadata: one key and value a call (contract 7)."""

from __future__ import annotations

from api import addressing
from api.dispatch import Answer, Call
from projects import actions, metadata
from rbac.catalogue import Permission


def list_project_metadatas(call: Call) -> Answer:
    project = addressing.project(call, Permission.METADATA_LIST)
    return Answer(project.metadata)


def add_project_metadatas(call: Call) -> Answer:
    project = addressing.project(call, Permission.METADATA_CREATE)
    key, value = metadata.parse_one(call.body)
    actions.add_metadata(project, key, value, by=call.by, address=call.identity.address)
    return Answer()


def get_project_metadata(call: Call) -> Answer:
    project = addressing.project(call, Permission.METADATA_READ)
    key = call.path["meta_name"]
    return Answer({key: project.metadata[key]} if key in project.metadata else {})


def update_project_metadata(call: Call) -> Answer:
    """Of the body only the key of the path counts."""
    project = addressing.project(call, Permission.METADATA_UPDATE)
    key = call.path["meta_name"]
    value = metadata.parse_value(key, (call.body or {}).get(key) or "")
    actions.change_metadata(project, key, value, by=call.by, address=call.identity.address)
    return Answer()


def delete_project_metadata(call: Call) -> Answer:
    project = addressing.project(call, Permission.METADATA_DELETE)
    if (key := call.path["meta_name"]) in project.metadata:
        actions.delete_metadata(project, key, by=call.by, address=call.identity.address)
    return Answer()
