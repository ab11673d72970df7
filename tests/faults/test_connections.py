"""Clients that hold connections and do little or nothing with them, and a server that is told to end."""

from __future__ import annotations

import os
import resource
import signal
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.components import process
from tests.components.postgres import Postgres
from tests.components.valkey import Valkey
from tests.content import digest_of, new_bytes
from tests.reporting import Report
from tests.server import Pair, Repository, Server

CONNECTIONS = 2000
HEADER_SECONDS = 30  # for the head of a request
IDLE_SECONDS = 60  # without a byte of the body (design 8.4)
SLACK = 12


@pytest.fixture
def server(postgres: Postgres, valkey: Valkey) -> Iterator[Server]:
    server = Server(postgres, valkey.url(57))
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def robot(server: Server) -> Pair:
    return server.create_robot(server.create_project("held"))


@pytest.fixture
def repository(server: Server, robot: Pair) -> Repository:
    return server.repository("held/app", robot)


@pytest.fixture
def many_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def until_closed(connection: socket.socket, seconds: float) -> tuple[bytes, float]:
    """What the server sent before it closed, and when it did."""
    began, got = time.monotonic(), b""
    connection.settimeout(seconds)
    try:
        while data := connection.recv(65536):
            got += data
    except ConnectionResetError:
        pass
    return got, time.monotonic() - began


def drip(connection: socket.socket, over: threading.Event) -> None:
    """A body at 100 bytes a second."""
    while not over.wait(1):
        try:
            connection.sendall(b"x" * 100)
        except OSError:
            return


@pytest.mark.usefixtures("many_files")
def test_connections_that_are_held(
    server: Server, robot: Pair, repository: Repository, report: Report
) -> None:
    """2,000 without a whole head among them; a body that pauses and one that drips, side by side, are cut."""
    image = repository.push_image("v1")
    held = [socket.create_connection(("127.0.0.1", server.port), timeout=30) for _ in range(CONNECTIONS)]
    opened = time.monotonic()
    for connection in held[::2]:
        connection.sendall(b"GET /v2/ HTTP/1.1\r\nHost: held\r\nX-Half: ")
    over = threading.Event()
    paused, dripping = (repository.start_upload().removeprefix(server.url) for _ in range(2))
    with (
        server.unfinished("PATCH", paused, robot, b"x" * 1000, Content_Length="100000") as pausing,
        server.unfinished("PATCH", dripping, robot, b"", Content_Length="100000") as slow,
    ):
        threading.Thread(target=drip, args=(slow, over), daemon=True).start()
        served = 0
        while time.monotonic() - opened < 5:
            repository.assert_holds(image, "v1")
            served += 1
        assert served >= 5
        ended = [until_closed(c, HEADER_SECONDS + SLACK)[1] for c in held[:200:2]]
        heads = time.monotonic() - opened
        assert heads < HEADER_SECONDS + SLACK
        answers = [until_closed(c, IDLE_SECONDS + SLACK)[0] for c in (pausing, slow)]
        bodies = time.monotonic() - opened
        over.set()
    for answer in answers:
        assert answer.startswith(b"HTTP/1.1 408 "), answer
    assert bodies < IDLE_SECONDS + 2 * SLACK
    for connection in held:
        connection.close()
    # What had arrived of both is kept.
    for path in (paused, dripping):
        assert repository.client.get(server.url + path).status_code == 204
    report(
        f"{CONNECTIONS} held connections, {served} whole pulls beside them; {len(ended)} half heads cut after "
        f"{heads:.0f} s, 2 slow bodies after {bodies:.0f} s"
    )


def test_sigterm_lets_transfers_finish(
    server: Server, robot: Pair, repository: Repository, report: Report
) -> None:
    """A push and its 201 after the signal; the pulls that were noted are written."""
    data = new_bytes(1 << 20)
    image = repository.push_image("v1")
    for _ in range(8):
        repository.assert_holds(image, "v1")
    target = f"/v2/held/app/blobs/uploads/?digest={digest_of(data)}"
    half = len(data) // 2
    with server.unfinished("POST", target, robot, data[:half], Content_Length=str(len(data))) as push:
        time.sleep(0.5)
        os.kill(server.pid, signal.SIGTERM)
        time.sleep(1.5)
        assert process.is_running(server.pid)
        push.sendall(data[half:])
        began = time.monotonic()
        answer, _ = until_closed(push, 15)
    assert answer.startswith(b"HTTP/1.1 201 "), answer
    while process.is_running(server.pid):
        assert time.monotonic() - began < 16
        time.sleep(0.05)
    ((pulls,),) = server.rows("SELECT pull_count FROM registry_core_repository WHERE path = 'app'")
    assert pulls == 8
    report(f"1 push finished {time.monotonic() - began:.1f} s before the end, {pulls} pulls written")
