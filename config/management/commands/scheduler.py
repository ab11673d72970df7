import signal
import sys
from typing import Any

from celery.beat import Scheduler, Service
from django.core.management.base import BaseCommand

from config.celery import app
from config.management.commands.worker import keep_our_logging


class Command(BaseCommand):
    help = "Ring the workers for what is due. Any number may run: a schedule fires once (rows decide)."
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        keep_our_logging()
        # Service ends its loop on SystemExit, also out of its sleep.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        Service(app, scheduler_cls=Scheduler).start()
