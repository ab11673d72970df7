"""PostgreSQL's own disk is full, the store's is not: pushes are refused with 507 and a sentence, pulls go on, nothing
that was acknowledged is lost, and once there is room all is well without a restart of the registry."""

from __future__ import annotations

import contextlib
import pathlib
import secrets
import subprocess
import time
from collections.abc import Iterator

import httpx
import pytest

from tests import ledger
from tests.components import process
from tests.components.disk import Disk
from tests.components.postgres import Postgres, binaries
from tests.components.valkey import Valkey
from tests.content import digest_of, new_bytes
from tests.faults.test_full_disks import Tally, assert_full
from tests.faults.test_full_home import use_up_the_log_of
from tests.reporting import Report
from tests.server import Image, Repository, Server, assert_refused, new_image

MIB = 1 << 20
SMALL_LOG = ("-c", "min_wal_size=32MB", "-c", "max_wal_size=48MB")


class OnSmallDisk(Postgres):
    """Durable, with its data on a disk of its own and its output elsewhere."""

    def __init__(self, directory: pathlib.Path) -> None:
        super().__init__(directory, process.free_port())
        self.initialise()
        self.disk = Disk(directory / "data", size=220 * MIB)
        # The disk hides what was made there before; from outside both can be seen.
        subprocess.run(["cp", "-a", f"{directory}/data/.", f"{self.disk.path}/"], check=True)
        self.start()
        self.migrate_template()

    def start(self) -> None:
        as_user = (
            []
            if self.user is None
            else ["setpriv", f"--reuid={self.user}", f"--regid={self.group}", "--clear-groups"]
        )
        server = process.start(
            [*self.disk.enter, *as_user, str(binaries() / "postgres"), "-D", str(self.directory / "data"),
             "-k", str(self.directory), "-h", "127.0.0.1", "-p", str(self.port), *SMALL_LOG],
            self.directory, name="postgres",
        )  # fmt: skip
        self.pid = server.pid
        process.wait_until(self._answers, server, self.directory / "postgres.log")


@pytest.fixture(scope="module")
def small() -> Iterator[OnSmallDisk]:
    postgres = OnSmallDisk(process.own_directory(f"small-{secrets.token_hex(2)}"))
    yield postgres
    postgres.stop()
    postgres.disk.remove()


@pytest.fixture(scope="module")
def server(small: OnSmallDisk, valkey: Valkey) -> Iterator[Server]:
    server = Server(small, valkey.url(56))
    server.start()
    pids = server.web_pids()
    try:
        yield server
        assert server.web_pids() == pids, "a web process has ended"
        server.collect()
        assert server.scrub(100) == []
        ledger.assert_adds_up(server.database, server.storage)
    finally:
        server.stop()


@pytest.fixture
def repository(server: Server) -> Repository:
    project = server.create_project()
    return server.repository(f"{project}/app", server.create_robot(project))


@pytest.fixture(autouse=True)
def room(small: OnSmallDisk) -> Iterator[None]:
    yield
    small.disk.make_room()


def large_image() -> Image:
    """Its manifest needs new pages of a table each time: nothing compresses it."""
    return new_image(1, annotations={"padding": secrets.token_hex(30_000)})


def push(repository: Repository, tag: str, tally: Tally) -> Image | None:
    """The image, when all of it was acknowledged; each refusal must be a sentence about the database."""
    image = large_image()
    for blob in image.blobs:
        answer = repository.post("blobs/uploads/", params={"digest": digest_of(blob)}, content=blob)
        if not succeeded(tally.note(answer)):
            return None
    return image if succeeded(tally.note(repository.put_manifest(image.payload, tag))) else None


def succeeded(answer: httpx.Response) -> bool:
    if answer.status_code == 507:
        assert_full(answer, "database")
    elif answer.status_code == 503:
        assert_refused(answer, 503, "UNAVAILABLE", component="database")
    else:
        assert answer.status_code == 201, answer.text
    return answer.status_code == 201


def push_until(repository: Repository, status: int, count: int, tally: Tally) -> dict[str, Image]:
    """Until so many were refused like this; the acknowledged ones by tag."""
    acknowledged: dict[str, Image] = {}
    for number in range(200):
        if tally.statuses[status] >= count:
            return acknowledged
        if image := push(repository, f"t{number}", tally):
            acknowledged[f"t{number}"] = image
    raise AssertionError(f"not full: {tally}")


def assert_well_again(repository: Repository, acknowledged: dict[str, Image]) -> None:
    after = repository.push_image("after")
    for tag, image in {**acknowledged, "after": after}.items():
        repository.assert_holds(image, tag)
    assert sorted(repository.get("tags/list").json()["tags"]) == sorted([*acknowledged, "after"])


def test_a_database_without_room_for_rows(
    server: Server, small: OnSmallDisk, repository: Repository, report: Report
) -> None:
    held, tally = repository.push_image("held"), Tally()
    data = new_bytes(3 * MIB)
    where = repository.start_upload()
    assert repository.client.patch(where, content=data[:MIB]).status_code == 202
    small.disk.fill()
    acknowledged = push_until(repository, 507, 20, tally)
    for _ in range(3):
        repository.assert_holds(held, "held")
    assert "held" in repository.get("tags/list").json()["tags"]
    small.disk.make_room()
    digest = digest_of(data)
    assert repository.client.put(where, params={"digest": digest}, content=data[MIB:]).status_code == 201
    assert repository.get(f"blobs/{digest}").content == data
    assert_well_again(repository, {**acknowledged, "held": held})
    report(f"no room for rows: {tally}; {len(acknowledged)} images acknowledged meanwhile and all there")


def test_a_database_without_room_for_its_log(
    server: Server, small: OnSmallDisk, repository: Repository, report: Report
) -> None:
    """It ends itself, and cannot recover before there is room; who starts it again is the operator here."""
    held, tally = repository.push_image("held"), Tally()
    small.disk.fill()
    acknowledged = push_until(repository, 507, 2, tally)
    use_up_the_log_of(server.database)
    acknowledged |= push_until(repository, 503, 5, tally)
    answer = repository.get("manifests/held")
    if answer.status_code != 200:
        assert_refused(answer, 503, "UNAVAILABLE", component="database")
    small.disk.make_room()
    process.stop(small.pid)
    small.start()
    wait_until_healthy(server)
    assert_well_again(repository, {**acknowledged, "held": held})
    report(f"no room for the log: {tally}; a restart of PostgreSQL; {len(acknowledged) + 1} images all there")


def wait_until_healthy(server: Server) -> None:
    deadline = time.monotonic() + 20
    while True:
        with contextlib.suppress(httpx.TransportError):
            if (
                server.rest.get("/health").json().get("status") == "healthy"
            ):  # an error while nobody can sign in
                return
        assert time.monotonic() < deadline
        time.sleep(0.1)
