"""`/metrics`: what all web processes of this host have counted (contract 6.10), for system administrators."""

from __future__ import annotations

import os

from django.http import HttpRequest, HttpResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from api.authentication import identify


def page(request: HttpRequest) -> HttpResponse:
    if not identify(request).principal.is_admin:
        return HttpResponse(
            "metrics are for system administrators\n", "text/plain", 401,
            headers={"WWW-Authenticate": 'Basic realm="metrics"'},
        )  # fmt: skip
    registry = CollectorRegistry()
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return HttpResponse(generate_latest(registry), CONTENT_TYPE_LATEST)
