"""Celery entry points: woken, not told; they run twice safely."""

from __future__ import annotations

import logging
import threading

from celery import shared_task
from django.db import DatabaseError, close_old_connections

from registry_core import errors, gc

log = logging.getLogger("breakwater.worker")

_collecting = threading.Lock()


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
