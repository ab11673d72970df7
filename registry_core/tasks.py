"""Celery entry points: woken, not told; they run twice safely."""

from __future__ import annotations

import logging
import threading

from celery import shared_task
from django.db import DatabaseError, close_old_connections
from django.utils import timezone

from registry_core import audit_months, errors, forwarding, gc

log = logging.getLogger("breakwater.worker")

_collecting = threading.Lock()
_forwarding = threading.Lock()


@shared_task
def look_ahead() -> None:
    """Rung every day: what must be there before it is needed."""
    try:
        today = timezone.now().date()
        audit_months.ensure_partitions(today)
        if gone := audit_months.drop_old(today):
            log.info("months of the audit log were dropped", extra={"fields": {"months": gone}})
    except DatabaseError as e:
        log.warning("no partition made or dropped for now", extra={"fields": {"cause": str(e)[:300]}})
    finally:
        close_old_connections()


@shared_task
def count_audit() -> None:
    """Rung every few minutes: hours of the audit log that are over."""
    try:
        audit_months.count_finished(timezone.now())
    except DatabaseError as e:
        log.warning("the audit log is not counted for now", extra={"fields": {"cause": str(e)[:300]}})
    finally:
        close_old_connections()


@shared_task
def forward_audit() -> None:
    """Rung every few seconds: what waits for a syslog server."""
    if not _forwarding.acquire(blocking=False):
        return  # the round before waits for the server
    try:
        forwarding.forward()
    except (OSError, ValueError, errors.RegistryError, DatabaseError) as e:
        log.warning("audit rows are not forwarded for now", extra={"fields": {"cause": str(e)[:300]}})
    finally:
        _forwarding.release()
        close_old_connections()


@shared_task
def sweep() -> None:
    """Rung every few seconds: whatever is due, also what a lost message or a killed worker left behind."""
    if not _collecting.acquire(blocking=False):
        return  # the round before still works
    try:
        gc.tidy()
        gc.collect()
    except (errors.Unavailable, DatabaseError) as e:
        log.warning("collector stopped for now", extra={"fields": {"cause": str(e)[:300]}})
    finally:
        _collecting.release()
        close_old_connections()
