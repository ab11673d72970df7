"""The audit log: who did what, written in the transaction of the change (design 5)."""

from __future__ import annotations

import ipaddress

from django.db import connection

# Harbor's words for operations (contract 6.9).
CREATE, UPDATE, DELETE, PULL = "create", "update", "delete", "pull"

_RECORD = """
INSERT INTO registry_core_auditlog
    (username, operation, resource_type, resource, description, succeeded, namespace_id, address, occurred_at)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, now())
"""


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
    """One row. `operator` is the caller's name, empty for anonymous; `resource` is a name, never an id.

    `description` defaults to Harbor's `<operation> <resource type>: <resource>`.
    """
    text = description or f"{operation} {resource_type}: {resource}"
    values: list[str | bool] = [operator or "anonymous", operation, resource_type, resource, text, succeeded]
    with connection.cursor() as cursor:
        cursor.execute(_RECORD, [*values, namespace_id, _inet(address)])


def _inet(address: str) -> str | None:
    try:
        return str(ipaddress.ip_address(address))
    except ValueError:  # a socket file, or nothing at all
        return None
