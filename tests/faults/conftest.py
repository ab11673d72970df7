"""A registry of one web process, which can be watched, hindered and killed alone."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.components import process
from tests.components.breakwater import web_workers
from tests.components.postgres import Postgres
from tests.components.valkey import Valkey
from tests.server import Pair, Repository, Server, serving


class Alone(Server):
    """Its one worker is started again by the parent when it is killed; two deaths within seconds end the parent."""

    @property
    def worker(self) -> int:
        """Its pid, once it answers. What the supervisor does, start the parent again, is done here."""
        deadline = time.monotonic() + 30
        while True:
            if not process.is_running(self.pid):
                self.start()
            before = self._children()
            if before and self._answers() and self._children() == before:
                return before[-1]
            assert time.monotonic() < deadline, self.log
            time.sleep(0.02)

    def _children(self) -> list[int]:
        return [pid for pid in web_workers(self.pid) if process.is_running(pid)]


def alone(postgres: Postgres, redis_url: str, *, start: bool = True) -> Iterator[Alone]:
    with serving(Alone(postgres, redis_url, BREAKWATER_WORKERS="1"), start=start) as server:
        yield server


@pytest.fixture(scope="session")
def server(postgres: Postgres, valkey: Valkey) -> Iterator[Alone]:
    yield from alone(postgres, valkey.url(58))


@pytest.fixture(scope="session")
def project(server: Alone) -> str:
    return server.create_project()


@pytest.fixture(scope="session")
def robot(server: Alone, project: str) -> Pair:
    return server.create_robot(project)


@pytest.fixture
def repository(server: Alone, project: str, robot: Pair) -> Repository:
    return server.repository(f"{project}/{time.monotonic_ns()}", robot)


# Two web processes, for those whose requests meet.


@pytest.fixture(scope="session")
def two(postgres: Postgres, valkey: Valkey) -> Iterator[Server]:
    with serving(Server(postgres, valkey.url(57), BREAKWATER_WORKERS="2")) as server:
        yield server


@pytest.fixture(scope="session")
def pusher(two: Server) -> Pair:
    """A robot of theirs."""
    return two.create_robot(two.create_project("meeting"))


@pytest.fixture
def shared(two: Server, pusher: Pair) -> Repository:
    """A repository that nobody has used, as the robot sees it."""
    return two.repository(f"meeting/{time.monotonic_ns()}", pusher)
