import contextlib
import os
import sys
import threading
import warnings
from argparse import ArgumentParser
from collections.abc import Iterator
from typing import Any

from celery import Celery, signals
from celery.beat import Scheduler, Service
from django.core.management.base import BaseCommand
from django.db import DatabaseError, InterfaceError, close_old_connections

from config.celery import app
from registry_core import presence, versions


class Command(BaseCommand):
    help = "Run jobs: scans, replication, webhooks, garbage collection."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--with-scheduler",
            action="store_true",
            help="also ring for what is due, as `manage.py scheduler` does, from a thread of this process",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        keep_our_logging()
        # Celery would run Django's checks, which load the whole of the REST API into this process.
        os.environ["CELERY_SKIP_CHECKS"] = "1"
        # Celery's warning about root is about pickled messages; ours carry JSON, and of that nothing.
        warnings.filterwarnings("ignore", message="You're running the worker with superuser")
        # Tasks live in rows, with leases and heartbeats of their own; workers need not know of one another.
        worker = app.Worker(
            pool_cls="threads",
            quiet=True,
            redirect_stdouts=False,
            without_gossip=True,
            without_mingle=True,
            without_heartbeat=True,
        )
        scheduler = scheduler_thread(app) if options["with_scheduler"] else contextlib.nullcontext()
        with scheduler, heartbeat_thread():
            worker.start()
        sys.exit(worker.exitcode or 0)


def keep_our_logging() -> None:
    """A receiver of this signal is all that keeps Celery from setting up logging anew."""
    signals.setup_logging.connect(_leave_logging, weak=False)


def _leave_logging(**_: Any) -> None:
    pass


@contextlib.contextmanager
def scheduler_thread(celery: Celery) -> Iterator[None]:
    # In memory: the entries are few and fixed, and what is due is decided by rows (design 9). A short interval,
    # because its sleep is what stopping waits for.
    service = Service(celery, max_interval=1, scheduler_cls=Scheduler)
    thread = threading.Thread(target=service.start, name="scheduler", daemon=True)
    thread.start()
    try:
        yield
    finally:
        service.stop(wait=True)


@contextlib.contextmanager
def heartbeat_thread() -> Iterator[None]:
    """Says that a worker lives, whatever its jobs and Redis do; while PostgreSQL is away, nothing."""
    over = threading.Event()
    versions.ring_all()

    def beat() -> None:
        while not over.is_set():
            with contextlib.suppress(DatabaseError, InterfaceError):
                presence.beat_from_thread("worker")
            close_old_connections()
            over.wait(presence.LIVE / 3)

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(1.0)
        with contextlib.suppress(DatabaseError, InterfaceError):
            presence.leave_from_thread()
