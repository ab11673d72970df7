"""Registries that are `manage.py up` on servers which a test may stop, stall and kill."""

from __future__ import annotations

import contextlib
import pathlib
import re
import secrets
from collections.abc import Iterator
from typing import Any

import psycopg2

from tests.components import process
from tests.components.breakwater import Breakwater
from tests.components.postgres import Postgres
from tests.components.valkey import Valkey
from tests.components.valve import Valve

SECRET_KEY = "k" * 48


class Site:
    """One database and one Redis of its own, and as many hosts over them as asked for, each behind its own valve."""

    def __init__(self, postgres: Postgres, database: str, hosts: int) -> None:
        self.directory = process.own_directory(f"site-{secrets.token_hex(3)}")
        self.storage = self.directory / "storage"
        self.storage.mkdir(parents=True)
        self.postgres, self.database = postgres, database
        self.valkey = Valkey(self.directory / "valkey", process.free_port())
        self.valves = [Valve(postgres.port) for _ in range(hosts)]
        self.hosts = [self._host(valve) for valve in self.valves]

    def _host(self, valve: Valve) -> Breakwater:
        return Breakwater(
            DATABASE_URL=re.sub(r":\d+/", f":{valve.port}/", self.database),
            REDIS_URL=self.valkey.url(0),
            BREAKWATER_SECRET_KEY=SECRET_KEY,
            BREAKWATER_STORAGE=f"file://{self.storage}",
            BREAKWATER_WORKERS="2",
        )

    def execute(self, *statements: tuple[str, tuple[Any, ...]]) -> list[tuple[Any, ...]]:
        """In one transaction, past every valve; the rows of the last one."""
        connection = psycopg2.connect(self.database)
        try:
            with connection, connection.cursor() as cursor:
                for sql, values in statements:
                    cursor.execute(sql, values)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    @contextlib.contextmanager
    def running(self) -> Iterator[Site]:
        try:
            self.valkey.start()
            for host in self.hosts:
                host.start()
            yield self
        finally:
            for valve in self.valves:
                valve.flow()
            for host in self.hosts:
                host.remove()
            for valve in self.valves:
                valve.close()
            self.valkey.stop()


def own_postgres(directory: pathlib.Path) -> Postgres:
    """A server that only this test stops; durable, as in production."""
    return Postgres(directory, process.free_port(), durable=True)
