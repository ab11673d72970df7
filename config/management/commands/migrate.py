import contextlib
from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.core.management import CommandError
from django.core.management.commands import migrate
from django.db import OperationalError, connection
from django.db.migrations.loader import MigrationLoader

from config.admin_password import given_admin_password, random_admin_password
from rbac.actions import ensure_seed

# The number is any that nobody else takes.
LOCK = 7_305_842_119


class Command(migrate.Command):
    help = "Bring the database to this version; in a new one, make the user admin and the project library."

    def handle(self, *args: Any, **options: Any) -> None:
        given = given_admin_password()
        try:
            with one_at_a_time():
                check_not_newer()
                super().handle(*args, **options)
                password = given or random_admin_password()
                created = ensure_seed(password)
        except OperationalError as e:
            raise CommandError(f"The database cannot be used: {str(e).strip().splitlines()[0]}") from e
        if created:
            self.stdout.write("BREAKWATER_ADMIN_CREATED")  # `manage.py up` reads this line
            if not given:
                self.stdout.write(f"admin password: {password}   (shown once, for the user admin)")


def check_not_newer() -> None:
    loader = MigrationLoader(connection)
    ours = {app for app, _ in loader.disk_migrations}
    newer = sorted(set(loader.applied_migrations) - set(loader.disk_migrations) - set(loader.replacements))
    newer = [(app, name) for app, name in newer if app in ours]
    if newer:
        raise CommandError(
            f"The database was migrated by a newer version of Breakwater (it has {'.'.join(newer[-1])}). "
            "Start that version, or restore the backup made before the upgrade."
        )


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    """Several replicas may be started at once. A lock of the session, which a transaction pooler cannot give."""
    if settings.PGBOUNCER:
        yield
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [LOCK])
        try:
            yield
        finally:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [LOCK])
