"""The audit log: who did what, written in the transaction of the change (design 5).

A row goes into the log, into the queue of what is forwarded to a syslog server (registry_core/forwarding.py), or both,
as the settings say; an event that is switched off goes nowhere.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Any, NamedTuple

from django.db import connection

from registry_core import configuration
from registry_core.statements import Statement, Step, run_all

# Harbor's words for operations (contract 6.9).
CREATE, UPDATE, DELETE, PULL, LOGIN, LOGOUT = "create", "update", "delete", "pull", "login", "logout"
# Harbor's list of what can be switched off, in its order; whatever else is recorded can be, by the same pattern.
EVENT_TYPES = (
    "create_artifact",
    "delete_artifact",
    "pull_artifact",
    "create_project",
    "delete_project",
    "delete_repository",
    "login_user",
    "logout_user",
    "create_user",
    "delete_user",
    "update_user",
    "create_robot",
    "delete_robot",
    "update_configuration",
    "create_member",
    "delete_member",
    "update_member",
    "update_project",
)

# Who runs a management command has no name here.
COMMAND = "manage.py"

COLUMNS = (
    "username, operation, resource_type, resource, description, succeeded, namespace_id, address, occurred_at"
)
_VALUES = """%(audit_username)s::text, %(audit_operation)s::text, %(audit_type)s::text, %(audit_resource)s::text,
    %(audit_text)s::text, %(audit_succeeded)s::boolean, %(audit_namespace)s::bigint, %(audit_address)s::inet, now()"""


def insert(source: str = "") -> str:
    """SQL that goes on a WITH: a row of the log, and one of the queue, for the row of `source` if there is one."""
    rows = f"SELECT {_VALUES} {source}"
    return f"""
    line AS (INSERT INTO registry_core_auditlog ({COLUMNS}) {rows} WHERE %(audit_kept)s::boolean),
    forwarded AS (INSERT INTO registry_core_auditforward ({COLUMNS}) {rows} WHERE %(audit_forwarded)s::boolean)
    """


_RECORD = Statement("record_audit", f"WITH {insert()} SELECT 1")


class Fate(NamedTuple):
    """Where a row goes."""

    kept: bool
    forwarded: bool


def fate(operation: str, resource_type: str) -> Fate:
    """As the settings have it now."""
    disabled, endpoint, skip, quiet = configuration.get_some(
        "disabled_audit_log_event_types",
        "audit_log_forward_endpoint",
        "skip_audit_log_database",
        "pull_audit_log_disable",
    )
    event = f"{operation}_{resource_type}"
    if event in disabled.replace(" ", "").split(",") or (quiet and operation == PULL):
        return Fate(kept=False, forwarded=False)
    return Fate(kept=not (endpoint and skip), forwarded=bool(endpoint))


def step(
    operator: str,
    operation: str,
    resource_type: str,
    resource: str,
    description: str = "",
    *,
    namespace_id: int | None = None,
    address: str = "",
    succeeded: bool = True,
) -> Step:
    """One row. `operator` is the caller's name, empty for anonymous; `resource` is a name, never an id.

    `description` defaults to Harbor's `<operation> <resource type>: <resource>`.
    """
    kept, forwarded = fate(operation, resource_type)
    return _RECORD, {
        "audit_username": operator or "anonymous", "audit_operation": operation, "audit_type": resource_type,
        "audit_resource": resource, "audit_text": description or f"{operation} {resource_type}: {resource}",
        "audit_succeeded": succeeded, "audit_namespace": namespace_id, "audit_address": inet(address),
        "audit_kept": kept, "audit_forwarded": forwarded,
    }  # fmt: skip


def record(
    operator: str,
    operation: str,
    resource_type: str,
    resource: str,
    description: str = "",
    *,
    namespace_id: int | None = None,
    address: str = "",
    succeeded: bool = True,
) -> None:
    """`step`, at once."""
    row = step(
        operator, operation, resource_type, resource, description,
        namespace_id=namespace_id, address=address, succeeded=succeeded,
    )  # fmt: skip
    with connection.cursor() as cursor:
        run_all(cursor, [row])


class Line(NamedTuple):
    """A row that is written later than what it tells of; `occurred_at` as PostgreSQL reads it."""

    username: str
    operation: str
    resource_type: str
    resource: str
    description: str
    succeeded: bool
    namespace_id: int | None
    address: str | None
    occurred_at: Any


_TYPES = ("text", "text", "text", "text", "text", "boolean", "bigint", "inet", "timestamptz")
_MANY = f"""
INSERT INTO {{table}} ({COLUMNS})
SELECT * FROM unnest({", ".join(f"%s::{t}[]" for t in _TYPES)})
"""


def write(lines: Sequence[Line]) -> None:
    """Many rows at once."""
    fates = {pair: fate(*pair) for pair in {line[1:3] for line in lines}}
    with connection.cursor() as cursor:
        for table, place in (("registry_core_auditlog", 0), ("registry_core_auditforward", 1)):
            wanted = [line for line in lines if fates[line[1:3]][place]]
            if wanted:
                cursor.execute(_MANY.format(table=table), [list(column) for column in zip(*wanted, strict=True)])


def inet(address: str) -> str | None:
    try:
        return str(ipaddress.ip_address(address))
    except ValueError:  # a socket file, or nothing at all
        return None
