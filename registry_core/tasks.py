"""Celery entry points: woken, not told; they run twice safely."""

from __future__ import annotations

import logging
import threading

from celery import shared_task
from django.db import DatabaseError, close_old_connections
from django.utils import timezone

from registry_core import audit, errors, gc

log = logging.getLogger("breakwater.worker")

_collecting = threading.Lock()


@shared_task
def look_ahead() -> None:
    """Rung every day: what must be there before it is needed."""
    try:
        audit.ensure_partitions(timezone.now().date())
    except DatabaseError as e:
        log.warning("no partition made for now", extra={"fields": {"cause": str(e)[:300]}})
    finally:
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
