"""Tag project, the scanner of a project (contract 7). There is none yet: what can be said of that is said here."""

from __future__ import annotations

from api import addressing
from api.dispatch import Answer, Call
from rbac.catalogue import Permission
from registry_core.errors import BadRequest


def get_scanner_of_project(call: Call) -> Answer:
    """A registration in which nothing is set. Not for anonymous, in public projects neither."""
    call.require_sign_in()
    addressing.project(call, Permission.SCANNER_READ)
    return Answer({})


def list_scanner_candidates_of_project(call: Call) -> Answer:
    addressing.project(call, Permission.SCANNER_CREATE)
    return Answer([], headers={"X-Total-Count": "0"})


def set_scanner_of_project(call: Call) -> Answer:
    """A uuid that names no scanner is 200 and sets nothing."""
    addressing.project(call, Permission.SCANNER_CREATE)
    if not call.body.get("uuid"):
        raise BadRequest("the uuid of a scanner should be given")
    return Answer()
