"""One registry for all that is fuzzed in this process. At its end it must be as whole as at its beginning."""

from __future__ import annotations

import json
import pathlib
import re
from collections.abc import Iterator

import pytest

from tests import ledger
from tests.components.postgres import Postgres
from tests.components.valkey import Valkey
from tests.fuzz.world import World
from tests.server import Server

GROWTH = (
    256 << 20
)  # bytes that two web processes may gain: REST is loaded on first use, caches fill; nothing leaks


@pytest.fixture(scope="session")
def server(postgres: Postgres, valkey: Valkey) -> Iterator[Server]:
    server = Server(postgres, valkey.url(61))
    server.start()
    try:
        yield server
        assert_unharmed(server)
    finally:
        server.stop()


@pytest.fixture(scope="session")
def world(server: Server) -> Iterator[World]:
    world = World(server)
    before = memory_of(server.pid)
    yield world
    world.close()
    grown = memory_of(server.pid) - before
    assert grown < GROWTH, f"the web processes grew by {grown >> 20} MiB"


@pytest.fixture(autouse=True)
def fresh_tally(world: World) -> Iterator[None]:
    """Every test counts its own requests, and finds the registry alive at its end."""
    world.tally.__init__()  # type: ignore[misc]
    yield
    world.assert_alive()


def assert_unharmed(server: Server) -> None:
    ledger.assert_adds_up(server.database, server.storage)
    faults = [line for line in server.log.splitlines() if is_fault(line)]
    assert faults == [], f"{len(faults)} faults in the log, first: {faults[0][:4000]}"
    odd = server.rows(
        "SELECT username, resource, description FROM registry_core_auditlog "
        r"WHERE username || resource || description ~ '[\x01-\x1f\x7f]'"
    )
    assert odd == [], "control characters in the audit log"


def is_fault(line: str) -> bool:
    try:
        entry = json.loads(line)
    except ValueError:
        return bool(re.search("Traceback|panicked|Error", line))
    return entry.get("level") in ("error", "critical") or "exception" in entry


def memory_of(pid: int) -> int:
    """Bytes (PSS) of a process and its children."""
    total, waiting = 0, [pid]
    while waiting:
        found = pathlib.Path(f"/proc/{waiting.pop()}")
        text = (found / "smaps_rollup").read_text()
        total += int(re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)[1]) << 10  # type: ignore[index]
        for task in (found / "task").iterdir():
            waiting += [int(child) for child in (task / "children").read_text().split()]
    return total
