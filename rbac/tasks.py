"""Celery entry points: woken, not told; they run twice safely."""

from __future__ import annotations

import logging

from celery import shared_task
from django.db import DatabaseError, close_old_connections

from rbac.authn import browser, sources
from registry_core import errors

log = logging.getLogger("breakwater.worker")


@shared_task
def end_sessions() -> None:
    """Rung every hour: rows of sessions that are over go."""
    try:
        browser.end_old()
    except (errors.Unavailable, DatabaseError) as e:
        log.warning("old sessions stay for now", extra={"fields": {"cause": str(e)[:300]}})
    finally:
        close_old_connections()


@shared_task
def refresh_groups() -> None:
    """Rung every few minutes: who is in which group is asked here, so that no pull waits for a directory."""
    try:
        sources.refresh()
    except (errors.RegistryError, DatabaseError) as e:
        log.warning("groups stay as they are for now", extra={"fields": {"cause": str(e)[:300]}})
    finally:
        close_old_connections()
