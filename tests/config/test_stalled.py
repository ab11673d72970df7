"""Who takes nothing is cut off, however alive; who is slow, idle, or not accepted by this process is left alone."""

import contextlib
import os
import socket
import time
from collections.abc import Iterator

import pytest

from config.stalled import LOOKS, Stalled

SMALL, MUCH = 8192, b"x" * (4 << 20)
Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


@pytest.fixture
def pairs(listener: socket.socket) -> Iterator[list[Pair]]:
    """Client and accepted side; to each as much was written as went."""
    with contextlib.ExitStack() as stack:
        made = []
        for _ in range(3):
            client = stack.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
            client.connect(listener.getsockname())
            accepted = stack.enter_context(listener.accept()[0])
            accepted.setblocking(False)
            made.append((client, accepted))
        yield made


def fill(connection: socket.socket) -> None:
    with contextlib.suppress(BlockingIOError):
        while True:
            connection.send(MUCH)


def has_been_reset(connection: socket.socket) -> bool:
    try:
        connection.send(b"x")
    except BlockingIOError:
        return False
    except OSError:
        return True
    return False


def test_who_takes_nothing_is_ended_and_who_is_slow_or_idle_is_not(
    listener: socket.socket, pairs: list[Pair]
) -> None:
    (_, unread), (reader, slow), (_, idle) = pairs
    idle.send(b"an answer that was taken")
    for connection in (unread, slow):
        fill(connection)
    stalled = Stalled(listener.getsockname()[1])
    time.sleep(0.2)
    ended = []
    for _ in range(2 * LOOKS):
        for _ in range(4):  # one look in two finds that something was taken
            reader.recv(4096)
        time.sleep(0.25)
        ended.append(stalled.look())
    assert sum(ended) == 1
    assert ended[LOOKS] == 1, ended
    assert has_been_reset(unread)
    assert not has_been_reset(slow)
    assert not has_been_reset(idle)


def test_what_this_process_has_opened_itself_is_not_looked_at(
    listener: socket.socket, pairs: list[Pair]
) -> None:
    """As its connections to PostgreSQL and S3: the port is the other side's."""
    client, _ = pairs[0]
    client.setblocking(False)
    fill(client)
    accepted_port_only = Stalled(client.getsockname()[1] + 1)
    for _ in range(LOOKS + 2):
        assert accepted_port_only.look() == 0
    stalled = Stalled(listener.getsockname()[1])
    for _ in range(LOOKS + 2):
        assert stalled.look() == 0
    assert not has_been_reset(client)


def test_a_look_leaves_no_descriptor_open(listener: socket.socket, pairs: list[Pair]) -> None:
    fill(pairs[0][1])
    stalled = Stalled(listener.getsockname()[1])
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(LOOKS):
        stalled.look()
    assert len(os.listdir("/proc/self/fd")) == before
