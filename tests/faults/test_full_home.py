"""Everything on one disk, as `make up` has it, and the disk is full: database, storage, logs, run directory."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import httpx
import psycopg2
import pytest

from config import log_stream
from config.log_stream import LogStream
from tests import ledger
from tests.components import process
from tests.components.breakwater import Breakwater, arguments_of, web_workers
from tests.components.disk import Disk
from tests.content import digest_of, new_bytes
from tests.faults.test_full_disks import Tally, assert_full
from tests.reporting import Report
from tests.server import Image, Repository, new_image

MIB = 1 << 20
# A database that does not start is tried again after 0.1, 0.5, 2 and 8 s, which ends a start that never worked.
FULL_SECONDS = 15.0


@pytest.fixture
def disk() -> Iterator[Disk]:
    disk = Disk(process.own_directory("home"), size=300 * MIB)
    yield disk
    disk.remove()


@pytest.fixture
def registry(disk: Disk) -> Iterator[Breakwater]:
    server = Breakwater(
        BREAKWATER_HOME=str(disk.mount_point), BREAKWATER_STORAGE=f"file://{disk.mount_point}/storage"
    )
    server.within = disk.enter
    # The database beside the rest, instead of below /var/lib.
    (disk.path / "pg").mkdir()
    (disk.path / "postgresql").symlink_to(disk.mount_point / "pg")
    server.start()
    try:
        yield server
    finally:
        server.stop()


def database_of(disk: Disk) -> str:
    known = json.loads((disk.path / "embedded.json").read_text())
    return f"postgresql://breakwater:{known['postgres_password']}@127.0.0.1:{known['postgres_port']}/breakwater"


def use_up_the_log_of(database: str) -> None:
    """Until it needs another segment of 16 MiB and finds no room: it panics, and cannot recover either."""
    with contextlib.suppress(psycopg2.OperationalError):
        connection = psycopg2.connect(database)
        connection.autocommit = True
        with contextlib.closing(connection), connection.cursor() as cursor:
            for _ in range(200):
                cursor.execute("SELECT pg_logical_emit_message(false, 'fill', repeat('x', 1000000))")
        raise AssertionError("the database took 200 MB of log on a full disk")


def wait_until(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def attempt(repository: Repository, held: Image, tally: Tally) -> None:
    """One push and one pull: a refusal that is no sentence, or half a blob, is a failure here."""
    data = new_bytes(10_000)
    for answer in (
        repository.post("blobs/uploads/", params={"digest": digest_of(data)}, content=data),
        repository.put_manifest(held.payload, f"t{secrets.token_hex(2)}"),
        repository.get("manifests/v1"),
        repository.get(f"blobs/{digest_of(held.layers[0])}"),
    ):
        tally.note(answer)
        assert answer.status_code in (200, 201, 503, 507), answer.text
        if answer.status_code >= 500:
            (error,) = answer.json()["errors"]
            assert error["detail"]["component"] in ("database", "storage"), error
        elif answer.request.method == "GET":
            assert answer.content in (held.payload, held.layers[0])


@pytest.fixture
def repository(registry: Breakwater) -> Iterator[Repository]:
    project = registry.create_project()
    robot = registry.create_robot(project)
    with httpx.Client(base_url=f"{registry.url}/v2", auth=robot.pair, timeout=60) as client:
        yield Repository(client, f"{project}/app")


def test_a_full_disk_under_everything(
    registry: Breakwater, repository: Repository, disk: Disk, report: Report
) -> None:
    held = repository.push_image("v1", new_image(size=5000))
    tally = Tally()

    disk.fill()
    data = new_bytes(10_000)
    refused = tally.note(repository.post("blobs/uploads/", params={"digest": digest_of(data)}, content=data))
    assert_full(refused, refused.json()["errors"][0]["detail"]["component"])  # whichever needs room first
    assert tally.note(repository.get("manifests/v1")).content == held.payload

    # A web process that ends now finds no room for its counters and its map, and serves all the same.
    web = next(pid for pid in process.descendants(registry.pid) if "config.web_server" in arguments_of(pid))
    for worker in web_workers(web):
        os.kill(worker, signal.SIGKILL)
    wait_until(lambda: answers(repository), 20)
    for _ in range(5):
        repository.assert_holds(held, "v1")
    workers = set(web_workers(web))

    use_up_the_log_of(database_of(disk))
    until = time.monotonic() + FULL_SECONDS
    while time.monotonic() < until:
        attempt(repository, held, tally)
        time.sleep(0.2)
    failed = registry.log.count("postgres was killed") + registry.log.count("postgres ended")
    assert failed >= 5, "the database was not away for long enough"
    assert tally.statuses[503] > 10

    disk.make_room()
    wait_until(lambda: is_healthy(registry), 30)
    after = repository.push_image("after", new_image(size=5000))
    repository.assert_holds(after, "after")
    repository.assert_holds(held, "v1")
    assert set(web_workers(web)) == workers, "a web process has ended"
    for line in (disk.path / "logs" / "breakwater.log").read_text().splitlines()[-20:]:
        json.loads(line)
    wait_until(lambda: registry.manage("scrub", "--verify", "100").returncode == 0, 20)
    ledger.assert_adds_up(database_of(disk), disk.path / "storage")
    report(f"one full disk, database gone {failed} times: {tally}")


def is_healthy(registry: Breakwater) -> bool:
    try:
        return bool(httpx.get(f"{registry.url}/api/v2.0/health", timeout=10).json()["status"] == "healthy")
    except (httpx.HTTPError, ValueError):
        return False


def answers(repository: Repository) -> bool:
    try:
        return repository.get("manifests/v1").status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture
def small() -> Iterator[Disk]:
    disk = Disk(process.own_directory("logs"), size=MIB, inodes=40)
    yield disk
    disk.remove()


def test_a_log_that_finds_no_room_is_whole_again_later(small: Disk) -> None:
    stream = LogStream(small.path / "log", out=os.open(os.devnull, os.O_WRONLY))
    small.fill(leave=4096)
    for n in range(100):
        stream.child_line("web", f"{n:0200}")
    small.make_room()
    stream.child_line("web", "room")
    stream.child_line("web", "again")
    *_, cut, first, second = (small.path / "log").read_text().splitlines()
    with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
        json.loads(cut)
    assert [json.loads(line)["message"] for line in (first, second)] == ["room", "again"]


def test_a_log_that_cannot_begin_another_file_goes_on_in_the_old_one(
    small: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_stream, "MAX_FILE", 1000)
    stream = LogStream(small.path / "log", out=os.open(os.devnull, os.O_WRONLY))
    for n in range(20):
        stream.child_line("web", f"{n:0200}")
    kept = (small.path / "log.5").read_bytes()
    small.use_up_inodes()
    for n in range(20, 40):
        stream.child_line("web", f"{n:0200}")
    lines = [json.loads(line)["message"] for line in (small.path / "log").read_text().splitlines()]
    assert lines[-20:] == [f"{n:0200}" for n in range(20, 40)]
    assert (small.path / "log.5").read_bytes() == kept
    small.make_room()
    stream.child_line("web", "room")
    assert json.loads((small.path / "log").read_text())["message"] == "room"


def test_a_map_without_room_on_the_disk_is_a_host_of_its_own(small: Disk) -> None:
    """A page that is first touched on a full disk would end the process (SIGBUS)."""
    program = (
        "import django; django.setup()\n"
        "from registry_core import versions\n"
        "for slot in range(0, versions.SLOTS, 256): versions.ring(slot)\n"
        "print(versions.host_id())\n"
    )
    command = [*small.enter, sys.executable, "-c", program]
    environment = {
        **os.environ, "BREAKWATER_RUN_DIR": str(small.mount_point), "DJANGO_SETTINGS_MODULE": "config.settings"
    }  # fmt: skip
    small.fill(leave=8192)
    done = [subprocess.run(command, env=environment, check=False, capture_output=True, text=True) for _ in "12"]
    assert [d.returncode for d in done] == [0, 0], done[0].stderr
    assert done[0].stdout.splitlines()[-1] != done[1].stdout.splitlines()[-1]
