"""Bring the database to this version and give a new registry its first rows; safe to run from several hosts."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from django.core.management.base import CommandError
from django.core.management.commands import migrate
from django.db import OperationalError, connection
from django.db.migrations.loader import MigrationLoader
from django.utils import timezone

from config.admin_password import given_admin_password
from config.environment import ConfigurationError
from registry_core import audit_months

_LOCK = 0x42570003


class Command(migrate.Command):
    help = "Brings the database to this version; a new one gets the user admin and the project library."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            with _one_at_a_time():
                _refuse_newer_database()
                super().handle(*args, **options)
                if not (options["app_label"] or options["plan"] or options["check_unapplied"]):
                    audit_months.ensure_partitions(timezone.now().date())
                    self._seed()
                    _take_over_settings()
        except OperationalError as e:
            reason = (str(e).strip().splitlines() or [type(e).__name__])[0].rstrip(".")
            raise CommandError(f"The database of DATABASE_URL cannot be used: {reason}.") from e

    def _seed(self) -> None:
        # Models can be imported once the commands are being run, not while they are being listed.
        from rbac.actions import ADMIN_ID, ensure_seed
        from rbac.models import User

        if User.objects.filter(pk=ADMIN_ID).exists():
            return
        try:
            password = given_admin_password()
        except ConfigurationError as e:
            raise CommandError(str(e)) from e
        if not password:
            raise CommandError(
                "This is a new registry, so BREAKWATER_ADMIN_PASSWORD (or BREAKWATER_ADMIN_PASSWORD_FILE) must "
                "hold the first password of the user admin."
            )
        if ensure_seed(password):
            self.stdout.write("BREAKWATER_ADMIN_CREATED")


def _take_over_settings() -> None:
    from registry_core import configuration, errors

    try:
        configuration.take_over()
    except errors.RegistryError as e:
        raise CommandError(f"CONFIG_OVERWRITE_JSON: {e.message}") from e


@contextlib.contextmanager
def _one_at_a_time() -> Iterator[None]:
    """A lock in a transaction of a second connection: it is held until the end, behind a transaction pooler too."""
    holder = connection.copy()
    try:
        holder.set_autocommit(False)
        with holder.cursor() as cursor:
            cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
        yield
    finally:
        holder.close()


def _refuse_newer_database() -> None:
    loader = MigrationLoader(connection)
    known = set(loader.disk_migrations or ()) | set(loader.replacements)
    unknown = sorted(f"{app}.{name}" for app, name in loader.applied_migrations if (app, name) not in known)
    if unknown:
        raise CommandError(
            f"The database was migrated by a newer version of Breakwater (it knows {', '.join(unknown[:3])}, this "
            "version does not). Start that version, or restore a backup from before it."
        )
