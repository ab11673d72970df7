from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from registry_core import gc


class Command(BaseCommand):
    help = "Collect what is due now, as the worker does every few seconds."

    def handle(self, *args: Any, **options: Any) -> None:
        gc.tidy()
        freed = gc.collect()
        self.stdout.write(f"collected: {freed.blobs} candidates, {freed.objects} objects, {freed.bytes} bytes freed")
