import os
import sys
from typing import Any

from django.core.management.base import BaseCommand


class Command(BaseCommand):
    help = "Serve the registry: /v2, /api/v2.0 and the console."
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        # Replaced, not called: the process that watches the workers need not hold Django.
        os.execv(sys.executable, [sys.executable, "-m", "config.web_server"])  # noqa: S606
