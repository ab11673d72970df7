"""A web process that hangs, stopped as a whole or stuck in one call, under load: the web server ends it and goes on.

Until then its share of the new connections waits; what waits is cut, and comes again elsewhere.
"""

from __future__ import annotations

import os
import pathlib
import signal
import time
from collections.abc import Iterator

import pytest

from tests.components.breakwater import Breakwater
from tests.faults import victims
from tests.faults.load import Load
from tests.reporting import Report

WHOLE_AFTER = 30.0  # seconds after which nobody waits any more, and there are as many processes as before
WORKERS = 3
RIGHTS = ("pull", "push", "list")

# Loaded by every Python process of the registry under test: a signal whose handler never comes back to the event loop.
STUCK = """
import signal, time
def get_stuck(*_):
    time.sleep(3600)
signal.signal(signal.SIGUSR1, get_stuck)
"""


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Breakwater]:
    modules = tmp_path_factory.mktemp("modules")
    (modules / "sitecustomize.py").write_text(STUCK)
    server = Breakwater(BREAKWATER_WORKERS=str(WORKERS), PYTHONPATH=str(modules))
    try:
        server.start()
        yield server
    finally:
        server.remove()


def test_web_processes_that_hang(registry: Breakwater, report: Report) -> None:
    """One is stopped, one is stuck in a call, and the third goes on."""
    project = registry.create_project()
    stopped, stuck, well = victims.find(registry, "web worker")
    with Load(registry, project, registry.create_robot(project, RIGHTS)) as load:
        load.wait_for_more(20, 20)
        began = time.monotonic()
        os.kill(stopped, signal.SIGSTOP)
        os.kill(stuck, signal.SIGUSR1)
        whole = wait_until_whole(registry, {stopped, stuck})
        took = time.monotonic() - began
        load.wait_for_more(100, 20)
    report(f"one stopped, one stuck: whole after {took:.1f} s; {load.summary()}")
    assert took < WHOLE_AFTER
    assert well in whole
    assert not load.faults, load.faults[:4]
    assert set(load.answers) <= {200, 201, 202}
    assert max(load.times) < WHOLE_AFTER
    assert load.broken, "nobody waited for them"
    assert set(registry.tags(f"{project}/load")) >= load.pushed.keys()
    for hung in (stopped, stuck):
        assert f"web process {hung} has hung for 20 s: killed, another takes its place" in registry.log
    assert "in get_stuck" in registry.log, "the log does not say where it hung"


def wait_until_whole(registry: Breakwater, hung: set[int]) -> set[int]:
    """As many web processes as before, each of which listens, and none that hung among them."""
    deadline = time.monotonic() + 2 * WHOLE_AFTER
    while True:
        pids = set(victims.find(registry, "web worker"))
        if hung.isdisjoint(pids) and len(pids) == WORKERS and all(map(listens, pids)):
            return pids
        assert time.monotonic() < deadline, f"{pids} with {hung}"
        time.sleep(0.1)


def listens(pid: int) -> bool:
    sockets = pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]
    inodes = {f"socket:[{fields[9]}]" for fields in map(str.split, sockets) if fields[3] == "0A"}
    links = []
    for link in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        try:
            links.append(str(link.readlink()))
        except OSError:
            continue
    return not inodes.isdisjoint(links)
