"""The Celery application. A message carries nothing: it wakes workers, and rows are the queue (design 9)."""

from __future__ import annotations

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

app = Celery("breakwater")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks(["registry_core", "projects", "rbac"])
