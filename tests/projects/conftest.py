"""Fixtures of the tests of projects and their policies: one server for those that speak HTTP."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import ledger
from tests.components.postgres import Postgres
from tests.components.valkey import Valkey
from tests.server import Server


@pytest.fixture(scope="session")
def server(postgres: Postgres, valkey: Valkey) -> Iterator[Server]:
    """Four web processes. At its end the ledger must add up, quotas included, whatever the tests did."""
    server = Server(postgres, valkey.url(59), BREAKWATER_WORKERS="4")
    server.start()
    try:
        yield server
        ledger.assert_adds_up(server.database, server.storage)
    finally:
        server.stop()
