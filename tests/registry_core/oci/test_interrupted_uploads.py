"""Clients that leave amid a body, write at the same time, or cancel what is still arriving (design 3, Push)."""

from __future__ import annotations

import socket
import time

import pytest

from tests import ledger
from tests.content import digest_of, new_bytes
from tests.server import Pair, Repository, Server, assert_refused

WRITING = "SELECT 1 FROM registry_core_upload WHERE id = %s AND writer IS NOT NULL"
IDLE = 'SELECT "offset" FROM registry_core_upload WHERE id = %s AND writer IS NULL'


def path_of(location: str) -> str:
    return location[location.index("/v2/") :]


def id_of(location: str) -> str:
    return location.rpartition("/")[2]


def answer_of(connection: socket.socket) -> str:
    """Status line and headers."""
    received = b""
    while b"\r\n\r\n" not in received and (piece := connection.recv(65536)):
        received += piece
    return received.decode("latin-1")


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
@pytest.mark.parametrize("size", [40, (2 << 20) + 40])
def test_a_truncated_upload_goes_on_from_its_offset(
    server: Server, repository: Repository, robot: Pair, method: str, size: int
) -> None:
    data = new_bytes(size + 60)
    location = repository.start_upload()
    target = path_of(location) + (f"?digest={digest_of(data)}" if method == "PUT" else "")
    with server.unfinished(method, target, robot, data[:size], Content_Length=str(len(data))):
        server.eventually(WRITING, id_of(location))
    ((kept,),) = server.eventually(IDLE, id_of(location))
    assert kept == size
    status = repository.client.get(location)
    assert (status.status_code, status.headers["Range"]) == (204, f"0-{size - 1}")
    answer = repository.client.patch(
        location, content=data[size:], headers={"Content-Range": f"{size}-{size + 59}"}
    )
    assert (answer.status_code, answer.headers["Range"]) == (202, f"0-{size + 59}")
    assert repository.client.put(location, params={"digest": digest_of(data)}).status_code == 201
    assert repository.get(f"blobs/{digest_of(data)}").content == data


def test_a_chunked_body_that_breaks_off_keeps_what_came(
    server: Server, repository: Repository, robot: Pair
) -> None:
    data = new_bytes(30)
    location = repository.start_upload()
    sent = b"a\r\n" + data[:10] + b"\r\n14\r\n" + data[10:15]
    with server.unfinished("PATCH", path_of(location), robot, sent, Transfer_Encoding="chunked"):
        server.eventually(WRITING, id_of(location))
    ((kept,),) = server.eventually(IDLE, id_of(location))
    assert 10 <= kept <= 15  # a server may hand on a chunk whole or not at all
    answer = repository.client.put(location, params={"digest": digest_of(data)}, content=data[kept:])
    assert answer.status_code == 201


def test_nothing_of_a_body_keeps_the_session(server: Server, repository: Repository, robot: Pair) -> None:
    location = repository.start_upload()
    with server.unfinished("PATCH", path_of(location), robot, b"", Content_Length="10"):
        server.eventually(WRITING, id_of(location))
    assert server.eventually(IDLE, id_of(location)) == [(0,)]
    assert repository.client.get(location).headers["Range"] == "0-0"


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
def test_one_request_writes_at_a_time(
    server: Server, repository: Repository, robot: Pair, method: str
) -> None:
    data = new_bytes(100)
    location = repository.start_upload()
    repository.client.patch(location, content=data[:10])
    with server.unfinished("PATCH", path_of(location), robot, data[10:50], Content_Length="50") as first:
        server.eventually(WRITING, id_of(location))
        second = repository.client.request(
            method, location, params={"digest": digest_of(data)}, content=data[10:]
        )
        assert_refused(second, 416, "RANGE_INVALID", offset=10)
        assert second.headers["Range"] == "0-9"
        first.sendall(data[50:60])
        head = answer_of(first)
        assert head.startswith("HTTP/1.1 202")
        assert "range: 0-59" in head.lower()
    answer = repository.client.put(location, params={"digest": digest_of(data)}, content=data[60:])
    assert answer.status_code == 201
    assert repository.get(f"blobs/{digest_of(data)}").content == data


def test_a_writer_that_was_killed_gives_way_when_its_lease_ends(
    server: Server, repository: Repository
) -> None:
    data = new_bytes(20)
    location = repository.start_upload()
    repository.client.patch(location, content=data[:10])
    claim = (
        "UPDATE registry_core_upload SET writer = gen_random_uuid(), writer_until = now() + %s::interval "
        "WHERE id = %s"
    )
    server.rows(claim, "30 seconds", id_of(location))
    assert_refused(repository.client.patch(location, content=data[10:]), 416, "RANGE_INVALID")
    server.rows(claim, "-1 second", id_of(location))
    assert repository.client.patch(location, content=data[10:]).headers["Range"] == "0-19"


def end_leases(server: Server) -> None:
    """A writer can have no byte left to write once its lease is over: then the bytes of its key go."""
    server.rows("UPDATE registry_core_deletedobject SET due_at = now()")
    server.collect()


@pytest.mark.parametrize("sent", [b"", b"12345"])
def test_cancelling_what_still_arrives_leaves_no_bytes(
    server: Server, repository: Repository, robot: Pair, sent: bytes
) -> None:
    """The key is condemned before its writer's first byte is on the disk: the bytes must not outlive it."""
    location = repository.start_upload()
    ((key,),) = server.rows("SELECT key FROM registry_core_upload WHERE id = %s", id_of(location))
    with server.unfinished("PATCH", path_of(location), robot, sent, Content_Length="10") as arriving:
        server.eventually(WRITING, id_of(location))
        assert repository.client.delete(location).status_code == 204
        server.collect()
        arriving.sendall(b"0123456789"[len(sent) :])
        assert answer_of(arriving).startswith("HTTP/1.1 404")
    assert_refused(repository.client.get(location), 404, "BLOB_UPLOAD_UNKNOWN")
    ledger.assert_adds_up(server.database, server.storage)
    end_leases(server)
    assert not (server.storage / key).exists()


def test_deleting_the_repository_of_what_still_arrives_leaves_no_bytes(
    server: Server, repository: Repository, robot: Pair
) -> None:
    image = repository.push_image("latest")
    location = repository.start_upload()
    project, _, path = repository.name.partition("/")
    with server.unfinished("PATCH", path_of(location), robot, b"", Content_Length="10") as arriving:
        server.eventually(WRITING, id_of(location))
        answer = server.rest.delete(f"/projects/{project}/repositories/{path}")
        assert answer.status_code == 200, answer.text
        server.collect()
        arriving.sendall(b"0123456789")
        assert answer_of(arriving).startswith("HTTP/1.1 404")
    ledger.assert_adds_up(server.database, server.storage)
    end_leases(server)
    assert_refused(repository.get(f"manifests/{image.digest}"), 404, "MANIFEST_UNKNOWN")


def test_slow_uploads_do_not_stop_others(server: Server, repository: Repository, robot: Pair) -> None:
    """More of them than threads and hot connections together."""
    locations = [repository.start_upload() for _ in range(20)]
    connections = []
    try:
        for location in locations:
            manager = server.unfinished("PATCH", path_of(location), robot, b"1", Content_Length="10")
            connections.append((manager, manager.__enter__()))
        for location in locations:
            server.eventually(WRITING, id_of(location))
        began = time.monotonic()
        repository.assert_holds(repository.push_image("latest"), "latest")
        assert time.monotonic() - began < 5
    finally:
        for manager, _ in connections:
            manager.__exit__(None, None, None)
    for location in locations:
        assert server.eventually(IDLE, id_of(location)) == [(1,)]
