"""Fixtures of the tests of projects and their policies: one server for those that speak HTTP."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.components.postgres import Postgres
from tests.components.valkey import Valkey
from tests.server import Server, serving


@pytest.fixture(scope="session")
def server(postgres: Postgres, valkey: Valkey) -> Iterator[Server]:
    """Four web processes."""
    with serving(Server(postgres, valkey.url(59), BREAKWATER_WORKERS="4")) as server:
        yield server
