"""Disks that fill up while clients push and pull: a 5xx that says what is full and who mends it, no half blob, pulls go
on, and once there is room all is well without a restart."""

from __future__ import annotations

import collections
import secrets
from collections.abc import Iterator

import httpx
import pytest

from tests import ledger
from tests.components import process
from tests.components.disk import Disk
from tests.components.postgres import Postgres
from tests.components.valkey import Valkey
from tests.content import digest_of, new_bytes
from tests.reporting import Report
from tests.server import Pair, Repository, Server, assert_refused

MIB = 1 << 20


class Tally:
    """How often each status came; what a run did."""

    def __init__(self) -> None:
        self.statuses: collections.Counter[int] = collections.Counter()

    def note(self, answer: httpx.Response) -> httpx.Response:
        self.statuses[answer.status_code] += 1
        return answer

    def __str__(self) -> str:
        return ", ".join(f"{count} times {status}" for status, count in sorted(self.statuses.items()))


def assert_full(answer: httpx.Response, component: str) -> None:
    """507 for a person: what is full, and who makes room."""
    error = assert_refused(answer, 507, "INSUFFICIENT_STORAGE", component=component)
    assert component in error["message"]
    assert "full" in error["message"]
    assert "operator" in error["detail"]["who"]
    assert error["detail"]["fix"]
    assert "/" not in error["message"] + error["detail"]["fix"], "a path of the server"


@pytest.fixture(scope="module")
def disk() -> Iterator[Disk]:
    """With room for 24 MiB, at the place where the server keeps its storage."""
    disk = Disk(process.own_directory("full") / "storage", size=24 * MIB, inodes=400)
    yield disk
    disk.remove()


@pytest.fixture(scope="module")
def server(postgres: Postgres, valkey: Valkey, disk: Disk) -> Iterator[Server]:
    """It is never restarted, and at its end nothing is lost or left over, whatever the tests did."""
    server = Server(postgres, valkey.url(61), BREAKWATER_STORAGE=f"file://{disk.mount_point}")
    server.within, server.storage = disk.enter, disk.path
    server.start()
    pid = server.web_pids()
    try:
        yield server
        assert server.web_pids() == pid, "a web process has ended"
        server.collect()
        assert server.scrub(100) == []
        ledger.assert_adds_up(server.database, server.storage)
    finally:
        server.stop()


@pytest.fixture(scope="module")
def robot(server: Server) -> Pair:
    return server.create_robot(server.create_project("full"))


@pytest.fixture
def repository(server: Server, robot: Pair) -> Repository:
    return server.repository(f"full/{secrets.token_hex(6)}", robot)


@pytest.fixture
def room(disk: Disk) -> Iterator[Disk]:
    """There is room again after each test."""
    yield disk
    disk.make_room()


def pushes_that_fail(repository: Repository, tally: Tally) -> None:
    """Each way in which bytes of a blob come, over a disk without room."""
    for size in (1, 4096, 3 * MIB):
        data = new_bytes(size)
        digest = digest_of(data)
        assert_full(tally.note(repository.post("blobs/uploads/", params={"digest": digest}, content=data)), "storage")
        location = repository.start_upload()
        put = repository.client.put(location, params={"digest": digest}, content=data)
        assert_full(tally.note(put), "storage")
        location = repository.start_upload()
        assert_full(tally.note(repository.client.patch(location, content=data)), "storage")
        assert repository.client.get(location).headers["Range"] == "0-0"
        assert repository.head(f"blobs/{digest}").status_code == 404


def test_a_full_store_refuses_bytes_and_nothing_else(
    server: Server, repository: Repository, robot: Pair, room: Disk, report: Report
) -> None:
    tally = Tally()
    before = repository.push_image("before")
    data = new_bytes(5 * MIB)
    location = repository.start_upload()
    assert repository.client.patch(location, content=data[: 2 * MIB]).status_code == 202
    room.fill()
    pushes_that_fail(repository, tally)
    assert_full(tally.note(repository.client.patch(location, content=data[2 * MIB :])), "storage")
    assert repository.client.get(location).headers["Range"] == f"0-{2 * MIB - 1}"

    # What needs no new bytes in the store goes on.
    repository.assert_holds(before, "before")
    assert tally.note(repository.put_manifest(before.payload, "again")).status_code == 201
    other = server.repository(f"{repository.name}-2", robot)
    mount = {"mount": digest_of(before.config), "from": repository.name}
    assert tally.note(other.post("blobs/uploads/", params=mount)).status_code == 201
    assert tally.note(repository.delete("manifests/again")).status_code == 202
    health = {c["name"]: c for c in server.rest.get("/health").json()["components"]}
    assert health["registry"]["status"] == "unhealthy"
    assert "No space left" in health["registry"]["error"]

    room.make_room()
    rest = repository.client.patch(location, content=data[2 * MIB :])
    assert tally.note(rest).headers["Range"] == f"0-{5 * MIB - 1}"
    assert tally.note(repository.client.put(location, params={"digest": digest_of(data)})).status_code == 201
    assert repository.get(f"blobs/{digest_of(data)}").content == data
    repository.assert_holds(repository.push_image("after"), "after")
    assert server.rest.get("/health").json()["status"] == "healthy"
    report(f"store full: {tally}; then 1 upload resumed, 1 image pushed")


def test_a_push_that_does_not_fit_takes_no_room_from_those_that_do(
    server: Server, repository: Repository, room: Disk, report: Report
) -> None:
    """Half a blob that nobody can use must not keep the disk full for days."""
    room.fill(leave=4 * MIB)
    free = room.free()
    data = new_bytes(6 * MIB)
    tally = Tally()
    assert_full(
        tally.note(repository.post("blobs/uploads/", params={"digest": digest_of(data)}, content=data)), "storage"
    )
    assert_full(tally.note(repository.client.patch(repository.start_upload(), content=data)), "storage")
    assert room.free() >= free - 4 * 4096  # directories and empty files
    for _ in range(3):
        repository.push_image()
    report(f"a blob of 6 MiB onto 4 MiB: {tally}; 3 images pushed beside it")


def test_a_disk_without_inodes_is_full_too(repository: Repository, room: Disk, report: Report) -> None:
    tally = Tally()
    before = repository.push_image("before")
    room.use_up_inodes()
    pushes_that_fail(repository, tally)
    repository.assert_holds(before, "before")
    room.make_room()
    repository.assert_holds(repository.push_image("after"), "after")
    report(f"no inode left: {tally}")


def test_pushes_that_failed_do_not_count_against_who_tries_again(
    server: Server, repository: Repository, room: Disk, report: Report
) -> None:
    """A client that posts a blob in one request never learns of a session that is left over."""
    room.fill()
    tally = Tally()
    sessions = "SELECT count(*) FROM registry_core_upload"
    before = server.rows(sessions)
    for _ in range(20):
        data = new_bytes(10_000)
        tally.note(repository.post("blobs/uploads/", params={"digest": digest_of(data)}, content=data))
    assert tally.statuses == {507: 20}
    assert server.rows(sessions) == before
    report(f"blobs in one request onto a full disk: {tally}")
