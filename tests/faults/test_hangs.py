"""What hangs is ended: a web process, stopped as a whole or stuck in one call; a client that takes or says nothing.

Until then a process's share of the new connections waits; what waits is cut, and comes again elsewhere.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import secrets
import signal
import socket
import time
from collections.abc import Iterator

import httpx
import pytest

from config.stalled import LOOKS
from tests.components.breakwater import ROOT, Breakwater, Credentials
from tests.faults import victims
from tests.faults.load import Load
from tests.reporting import Report
from tests.server import Repository

WHOLE_AFTER = 30.0  # seconds after which nobody waits any more, and there are as many processes as before
WORKERS = 3
BLOB = 8 << 20
ESTABLISHED = 1
SILENT = 33.0  # granian allows 30 s for a head, also for the first
LOOK = 0.5  # seconds between two looks at clients that take nothing
RIGHTS = ("pull", "push", "list")

# Loaded by every Python process of the registry under test: a signal whose handler never comes back to the event loop,
# and less patience with clients.
CUSTOM = f"""
import signal, time
import config.stalled
config.stalled.LOOK = {LOOK}
def get_stuck(*_):
    time.sleep(3600)
signal.signal(signal.SIGUSR1, get_stuck)
"""


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Breakwater]:
    modules = tmp_path_factory.mktemp("modules")
    (modules / "sitecustomize.py").write_text(CUSTOM)
    server = Breakwater(BREAKWATER_WORKERS=str(WORKERS), PYTHONPATH=f"{modules}:{ROOT}")
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture(scope="module", autouse=True)
def silent(registry: Breakwater) -> Iterator[tuple[float, list[socket.socket]]]:
    """Since when, and connections that say nothing more, some of each kind in each process."""
    host, _, port = registry.host.partition(":")
    whole = f"GET /v2/ HTTP/1.1\r\nHost: {registry.host}\r\n\r\n".encode()
    with contextlib.ExitStack() as stack:
        found = []
        for said in [b"", whole[:20], whole] * 20:
            connection = stack.enter_context(socket.create_connection((host, int(port))))
            connection.sendall(said)
            found.append(connection)
        yield time.monotonic(), found


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
        assert f"web process {hung} has hung for 16 s: killed, another takes its place" in registry.log
    assert "in get_stuck" in registry.log, "the log does not say where it hung"


class Reader:
    """Has asked for a blob. Its buffer is small, so that the server soon waits for it."""

    def __init__(self, registry: Breakwater, who: Credentials, path: str) -> None:
        host, _, port = registry.host.partition(":")
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        self.socket.connect((host, int(port)))
        basic = httpx.BasicAuth(*who.pair)._auth_header
        head = f"GET {path} HTTP/1.1\r\nHost: {registry.host}\r\nAuthorization: {basic}\r\n\r\n"
        self.socket.sendall(head.encode())
        self.data = b""

    def read(self, size: int) -> None:
        self.data += self.socket.recv(size)

    def read_on(self, length: int) -> bytes:
        """The rest of the body, which has this length."""
        self.socket.settimeout(30)
        while len(body := self.data.partition(b"\r\n\r\n")[2]) < length:
            more = self.socket.recv(1 << 20)
            assert more, f"it ended after {len(body)} bytes"
            self.data += more
        return body

    def is_connected(self) -> bool:
        return self.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == ESTABLISHED


def test_a_client_that_takes_nothing_is_ended_and_a_slow_one_is_served(
    registry: Breakwater, report: Report
) -> None:
    project = registry.create_project()
    robot, blob = registry.create_robot(project), secrets.token_bytes(BLOB)
    with registry.v2(robot) as client:
        digest = Repository(client, f"{project}/large").push_blob(blob)
    idle, slow = [Reader(registry, robot, f"/v2/{project}/large/blobs/{digest}") for _ in range(2)]
    began = time.monotonic()
    while idle.is_connected():
        slow.read(4096)
        time.sleep(0.2)
        assert time.monotonic() - began < 30
    took = time.monotonic() - began
    for _ in range(20):
        slow.read(4096)
        time.sleep(0.2)
    assert slow.read_on(BLOB) == blob
    slow.socket.close()
    idle.socket.close()
    assert took > LOOK * LOOKS - 1
    assert "clients took nothing for" in registry.log
    report(f"who took nothing was ended after {took:.1f} s; who took 4 KiB now and then got all {BLOB} bytes")


def test_clients_that_say_nothing_are_ended(
    silent: tuple[float, list[socket.socket]], report: Report
) -> None:
    """Last in this file: their time has passed by now."""
    since, connections = silent
    for connection in connections:
        connection.settimeout(max(0.1, since + SILENT - time.monotonic()))
        with contextlib.suppress(ConnectionResetError):  # its process was one that hung
            while connection.recv(65536):
                pass
    report(
        f"{len(connections)} connections without a byte, with half a head, and idle after an answer: all ended"
    )


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
