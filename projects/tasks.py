"""Celery entry points: woken, not told; they run twice safely."""

from __future__ import annotations

import logging

from celery import shared_task
from django.db import DatabaseError, close_old_connections

from projects.policies import quota
from registry_core import errors

log = logging.getLogger("breakwater.worker")


@shared_task
def prove_quotas() -> None:
    """Rung every few minutes: each project's turn comes once a day, also where nothing runs for long."""
    try:
        quota.prove_quotas()
    except (errors.Unavailable, DatabaseError) as e:
        log.warning("quotas were not proven for now", extra={"fields": {"cause": str(e)[:300]}})
    finally:
        close_old_connections()
