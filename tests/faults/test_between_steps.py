"""A commit that breaks off between any two of its steps: killed there, or cut off from its database (design 2.5)."""

from __future__ import annotations

import collections
import itertools
import os
import pathlib
import re
import signal
import time
from collections.abc import Callable, Iterator

import httpx
import pytest

from tests.components import strace
from tests.components.postgres import Postgres
from tests.components.valkey import Valkey
from tests.components.wire import NOT_ANSWERED, NOT_SENT, Asked, PostgresListener, Wire
from tests.content import digest_of, new_bytes
from tests.faults.conftest import Alone, alone
from tests.reporting import Report
from tests.server import Pair, Repository, assert_refused, new_image

STEPS = "trace=mkdir,pwrite64,fsync,fchmod,writev"
# Prepared once a connection, then run by name.
BLOB = r"EXECUTE commit_new_blob\b"
MANIFEST = r"EXECUTE push_manifest\b"


@pytest.fixture(scope="module")
def wire(postgres: Postgres) -> Iterator[Wire]:
    wire = Wire(postgres.port, PostgresListener)
    yield wire
    wire.close()


@pytest.fixture(scope="module")
def wired(postgres: Postgres, valkey: Valkey, wire: Wire) -> Iterator[Alone]:
    """Its web process reaches PostgreSQL through the wire, the test itself directly."""
    for server in alone(postgres, valkey.url(57), start=False):
        server.environment["DATABASE_URL"] = server.database.replace(f":{postgres.port}/", f":{wire.port}/")
        server.start()
        yield server


@pytest.fixture
def there(wired: Alone) -> Repository:
    project = wired.create_project()
    robot: Pair = wired.create_robot(project)
    return wired.repository(f"{project}/a", robot)


def at_commit(wire: Wire, statement: str, then: Callable[[], str]) -> list[str]:
    """Once, at the next message with this statement, which is all of its transaction; the list fills when it has
    happened."""
    happened = list[str]()

    def meddle(asked: Asked) -> str:
        if asked.who != "breakwater" or happened or not re.search(statement, asked.what):
            return ""
        happened.append(asked.what)
        return then()

    wire.meddle = meddle
    return happened


def count(server: Alone, table: str, column: str, value: str) -> int:
    ((found,),) = server.rows(f"SELECT count(*) FROM registry_core_{table} WHERE {column} = %s", value)  # noqa: S608
    return int(found)


def assert_taken_again(server: Alone, repository: Repository, data: bytes, *, kept: bool) -> None:
    """After the breakdown: nothing half, nothing twice, and the client's next try succeeds."""
    digest = digest_of(data)
    assert count(server, "blob", "digest", digest) == int(kept)
    assert repository.head(f"blobs/{digest}").status_code == (200 if kept else 404)
    assert server.scrub(100) == []
    repository.push_blob(data)
    assert repository.get(f"blobs/{digest}").content == data
    assert count(server, "blob", "digest", digest) == 1
    server.collect()
    assert server.scrub(100) == []


KILLED_AT = {
    "making a directory": "mkdir:signal=SIGKILL:when=1",
    "writing": "pwrite64:signal=SIGKILL:when=1",
    "syncing the file": "fsync:signal=SIGKILL:when=1",
    "syncing its directory": "fsync:signal=SIGKILL:when=2",
    "syncing the one above": "fsync:signal=SIGKILL:when=3",
    "calling it finished": "fchmod:signal=SIGKILL:when=1",
    "acknowledging": "writev:signal=SIGKILL:when=1",
}


@pytest.mark.parametrize("step", KILLED_AT)
def test_killed_at_a_call(
    server: Alone, repository: Repository, tmp_path: pathlib.Path, report: Report, step: str
) -> None:
    data, worker = new_bytes(1_500_000), server.worker
    call = KILLED_AT[step].partition(":")[0]
    with (
        strace.attached(worker, tmp_path, STEPS, f"inject={KILLED_AT[step]}") as trace,
        pytest.raises(httpx.TransportError),
    ):
        repository.push_blob(data)
    said = trace.file.read_text(errors="replace").splitlines()
    assert any(re.fullmatch(rf"{worker} +\+\+\+ killed by SIGKILL \+\+\+", line) for line in said)
    last = next(line for line in reversed(said) if f" {call}(" in line)
    assert ("HTTP/1.1 201" in last) == (step == "acknowledging")
    assert server.worker != worker
    assert_taken_again(server, repository, data, kept=step == "acknowledging")
    report(
        f"one web process killed when {step}; its blob was {'kept' if step == 'acknowledging' else 'not there'}"
    )


@pytest.mark.parametrize("sent", [False, True], ids=["before", "after"])
def test_killed_about_the_commit(
    wired: Alone, there: Repository, wire: Wire, report: Report, *, sent: bool
) -> None:
    data, worker = new_bytes(1_500_000), wired.worker

    def kill() -> str:
        os.kill(worker, signal.SIGKILL)
        return "" if sent else NOT_SENT

    happened = at_commit(wire, BLOB, kill)
    with pytest.raises(httpx.TransportError):
        there.push_blob(data)
    assert happened
    assert wired.worker != worker
    if sent:
        wired.eventually("SELECT 1 FROM registry_core_blob WHERE digest = %s", digest_of(data))
    assert_taken_again(wired, there, data, kept=sent)
    report(f"one web process killed {'after' if sent else 'before'} PostgreSQL was told to commit")


@pytest.mark.parametrize("lost", [NOT_SENT, NOT_ANSWERED])
def test_a_blob_whose_commit_is_unknown(
    wired: Alone, there: Repository, wire: Wire, report: Report, lost: str
) -> None:
    data = new_bytes(20_000)
    happened = at_commit(wire, BLOB, lambda: lost)
    answer = there.post("blobs/uploads/", params={"digest": digest_of(data)}, content=data)
    assert happened
    assert_refused(answer, 503, "UNAVAILABLE", component="database")
    assert_taken_again(wired, there, data, kept=lost == NOT_ANSWERED)
    report(f"COMMIT of a blob {lost}: 503, then 201")


@pytest.mark.parametrize("lost", [NOT_SENT, NOT_ANSWERED])
def test_a_manifest_whose_commit_is_unknown(
    wired: Alone, there: Repository, wire: Wire, report: Report, lost: str
) -> None:
    """Readers that know the old tag see the new one, at the latest when what they keep runs out (2 s)."""
    old, new = there.push_image("v1"), new_image()
    for blob in new.blobs:
        there.push_blob(blob)
    there.assert_holds(old, "v1")
    happened = at_commit(wire, MANIFEST, lambda: lost)
    assert_refused(there.put_manifest(new.payload, "v1"), 503, "UNAVAILABLE", component="database")
    assert happened
    expected = new if lost == NOT_ANSWERED else old
    deadline = time.monotonic() + 4
    while there.get("manifests/v1").content != expected.payload:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    there.push_manifest(new.payload, "v1")
    there.assert_holds(new, "v1")
    assert count(wired, "artifact", "digest", new.digest) == 1
    assert count(wired, "taghistory", "to_digest", new.digest) == 1
    assert count(wired, "eventoutbox", "payload->>'digest'", new.digest) == 1
    # One each of the old and the new; pulls are audited, too, when they are written.
    assert count(wired, "auditlog", "operation || ' ' || resource", f"create {there.name}:v1") == 2
    report(
        f"COMMIT of a manifest {lost}: 503, then 201; one artifact, one move, one event, one line of audit"
    )


@pytest.mark.parametrize("what", ["blob", "manifest"])
def test_the_database_goes_away_at_any_statement(
    wired: Alone, there: Repository, wire: Wire, report: Report, what: str
) -> None:
    """Of a push, one after the other, until one gets through unhindered: 503 or 201, and 201 on the next try."""
    statuses: collections.Counter[int] = collections.Counter()
    for cut in itertools.count(1):
        image = there.push_image() if what == "manifest" else new_image()
        payload, data = image.payload + b" ", image.config
        asked = itertools.count(1)

        def meddle(heard: Asked, cut: int = cut, asked: Iterator[int] = asked) -> str:
            return NOT_SENT if heard.who == "breakwater" and next(asked) == cut else ""

        def push(payload: bytes = payload, data: bytes = data) -> httpx.Response:
            if what == "manifest":
                return there.put_manifest(payload, "v1")
            return there.post("blobs/uploads/", params={"digest": digest_of(data)}, content=data)

        wire.meddle = meddle
        answer = push()
        wire.meddle = lambda _: ""
        statuses[answer.status_code] += 1
        assert answer.status_code in (201, 503), answer.text
        assert push().status_code == 201
        if next(asked) <= cut:
            break
    assert statuses[201] >= 1
    assert cut > 2
    report(
        f"a {what}'s push cut off at each of its {cut - 1} messages to PostgreSQL: {dict(statuses)}, then 201"
    )
