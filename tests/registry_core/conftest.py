"""Fixtures of the content tests: one server for all of them, a private project, and who may do what in it."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import httpx
import pytest
from hypothesis import settings

from tests.components.postgres import Postgres
from tests.components.valkey import Valkey
from tests.server import Pair, Repository, Server, serving

# A loaded machine is no defect, and examples are not kept between runs.
settings.register_profile("suite", deadline=None, database=None)
settings.load_profile("suite")


@pytest.fixture(scope="session")
def server(postgres: Postgres, valkey: Valkey) -> Iterator[Server]:
    with serving(Server(postgres, valkey.url(60))) as server:
        yield server


@pytest.fixture(scope="session")
def project(server: Server) -> str:
    return server.create_project()


@pytest.fixture(scope="session")
def robot(server: Server, project: str) -> Pair:
    """May pull, push and delete in the project."""
    return server.create_robot(project)


@pytest.fixture(scope="session")
def puller(server: Server, project: str) -> Pair:
    return server.create_robot(project, ["pull"])


@pytest.fixture(scope="session")
def stranger(server: Server) -> Pair:
    """Every right, in another project."""
    return server.create_robot(server.create_project())


@pytest.fixture
def name(project: str) -> str:
    """A repository that nobody has used."""
    return f"{project}/{secrets.token_hex(6)}"


@pytest.fixture(scope="session")
def client(server: Server, robot: Pair) -> httpx.Client:
    return server.client(robot)


@pytest.fixture
def repository(client: httpx.Client, name: str) -> Repository:
    """A new repository, as the robot sees it that may do everything in it."""
    return Repository(client, name)
