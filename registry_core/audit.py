"""The audit log: who did what, written in the transaction of the change (design 5)."""

from __future__ import annotations

import datetime
import ipaddress
from typing import Any

from django.db import connection

from registry_core.statements import Statement, Step, run_all

# Harbor's words for operations (contract 6.9).
CREATE, UPDATE, DELETE, PULL = "create", "update", "delete", "pull"

INSERT = """
INSERT INTO registry_core_auditlog
    (username, operation, resource_type, resource, description, succeeded, namespace_id, address, occurred_at)
SELECT %(audit_username)s, %(audit_operation)s, %(audit_type)s, %(audit_resource)s, %(audit_text)s,
    %(audit_succeeded)s::boolean, %(audit_namespace)s::bigint, %(audit_address)s::inet, now()
"""
_RECORD = Statement("record_audit", INSERT)


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
    return _RECORD, {
        "audit_username": operator or "anonymous", "audit_operation": operation, "audit_type": resource_type,
        "audit_resource": resource, "audit_text": description or f"{operation} {resource_type}: {resource}",
        "audit_succeeded": succeeded, "audit_namespace": namespace_id, "audit_address": _inet(address),
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


MONTHS_AHEAD = 2
_PARTITION = """
CREATE TABLE IF NOT EXISTS registry_core_auditlog_{name} PARTITION OF registry_core_auditlog
FOR VALUES FROM ('{first}') TO ('{end}')
"""


def ensure_partitions(today: datetime.date) -> list[str]:
    """Partitions of this month and the next ones; the names of those that were made now.

    A month whose first rows went into the default partition already stays there: nothing is lost, it is only not a
    table of its own.
    """
    made = []
    for ahead in range(MONTHS_AHEAD + 1):
        first, end = _month(today, ahead), _month(today, ahead + 1)
        name = f"{first:%Y_%m}"
        with connection.cursor() as cursor:
            cursor.execute("SELECT to_regclass(%s) IS NULL", [f"registry_core_auditlog_{name}"])
            if cursor.fetchone()[0] and not _is_in_default(cursor, first, end):
                cursor.execute(_PARTITION.format(name=name, first=first, end=end))
                made.append(name)
    return made


def _month(day: datetime.date, ahead: int) -> datetime.date:
    months = day.year * 12 + day.month - 1 + ahead
    return datetime.date(months // 12, months % 12 + 1, 1)


def _is_in_default(cursor: Any, first: datetime.date, end: datetime.date) -> bool:
    cursor.execute(
        "SELECT EXISTS (SELECT 1 FROM registry_core_auditlog_default WHERE occurred_at >= %s AND occurred_at < %s)",
        [first, end],
    )
    return bool(cursor.fetchone()[0])


def _inet(address: str) -> str | None:
    try:
        return str(ipaddress.ip_address(address))
    except ValueError:  # a socket file, or nothing at all
        return None
