"""Audit rows on their way to a syslog server: a queue of rows, written with the change and emptied by the worker, never
in a request.

At least once: a row leaves the queue after its message left this machine, over TCP after the other side's kernel has
acknowledged it. A server that is away is tried again; what has waited for MAX_DAYS is given up.
"""

from __future__ import annotations

import logging
import urllib.parse

from django.conf import settings
from django.db import connection, transaction

from registry_core import configuration, syslog
from registry_core.models import AuditForward

log = logging.getLogger("breakwater.worker")

BATCH = 500
MAX_DAYS = 30


def forward() -> int:
    """Send what waits, oldest first; how much that was. OSError while the server is away."""
    if not (text := configuration.get("audit_log_forward_endpoint")):
        AuditForward.objects.all().delete()  # nobody wants it any more
        return 0
    endpoint, sent = syslog.parse_endpoint(text), 0
    while count := _forward_some(endpoint):
        sent += count
        if count < BATCH:
            break
    return sent


def _forward_some(endpoint: syslog.Endpoint) -> int:
    """0 where nothing waits, or another worker is at it."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_xact_lock(hashtext('audit forwarding'))")
            if not cursor.fetchone()[0]:
                return 0
            cursor.execute(
                "DELETE FROM registry_core_auditforward WHERE occurred_at < now() - %s * interval '1 day'", [MAX_DAYS]
            )
            if cursor.rowcount:
                log.error(
                    "audit rows were given up: the syslog server was away too long",
                    extra={"fields": {"rows": cursor.rowcount, "days": MAX_DAYS}},
                )
        rows = list(AuditForward.objects.order_by("pk")[:BATCH])
        if rows:
            syslog.send(endpoint, [_message(row) for row in rows])
            AuditForward.objects.filter(pk__in=[row.pk for row in rows]).delete()
    return len(rows)


def _message(row: AuditForward) -> bytes:
    fields = {
        "username": row.username,
        "operation": row.operation,
        "resource_type": row.resource_type,
        "resource": row.resource,
        "result": "success" if row.succeeded else "failure",
        "address": row.address or "",
    }
    return syslog.message(
        row.occurred_at,
        urllib.parse.urlsplit(settings.EXTERNAL_URLS[0]).hostname or "",
        f"{row.operation}_{row.resource_type}",
        fields,
        row.description,
        severity=syslog.INFORMATIONAL if row.succeeded else syslog.WARNING,
    )
