"""Acknowledged means durable (design 2.5): the order of the kernel's calls, and what a sync that fails leads to."""

from __future__ import annotations

import contextlib
import itertools
import os
import pathlib
import re
from collections.abc import Callable

import psycopg2
import pytest

from tests.components import strace
from tests.components.breakwater import Breakwater
from tests.components.postgres import Postgres
from tests.components.strace import Call
from tests.content import digest_of, new_bytes
from tests.faults.conftest import Alone
from tests.reporting import Report
from tests.server import Repository, assert_refused, new_image
from tests.steps import Actor

CALLS = "trace=fsync,fdatasync,mkdir,openat,fchmod,pwrite64,sendto,recvfrom,writev,write,sendmsg"
COMMITTED = r'"C\0\0\0\vCOMMIT\0'
BLOB_COMMITTED = r"INSERT 0 1\0Z\0\0\0\5I"  # the row of the lease, and the server is in no transaction


class Story:
    """What one process asked of the kernel, with questions that a reader of the trace has."""

    def __init__(self, calls: list[Call]) -> None:
        self.calls = calls

    def one(self, name: str, pattern: str, after: int = -1) -> Call:
        """The first such call from there on."""
        found = (c for c in self.calls if c.name == name and c.began > after and re.search(pattern, c.text))
        call = next(found, None)
        assert call, f"no {name} of {pattern} after line {after}"
        return call

    def created(self, *, below: pathlib.Path) -> list[Call]:
        """Files and directories, as the calls that made them."""
        return [
            call
            for call in self.calls
            if call.succeeded and f'"{below}/' in call.text
            if call.name == "mkdir" or (call.name == "openat" and "O_CREAT" in call.text)
        ]

    def syncs(self, path: str) -> list[Call]:
        return [c for c in self.calls if c.name == "fsync" and c.file == path and c.succeeded]

    def commit_of(self, statement: str) -> tuple[Call, Call]:
        """The COMMIT of the transaction with this statement: sent, and answered."""
        within = self.one("sendto", statement)
        sent = next(
            c for c in self.calls if c.began > within.ended and c.file == within.file and "COMMIT" in c.text
        )
        assert sent.name == "sendto"
        answered = next(c for c in self.calls if c.began > sent.ended and c.file == within.file)
        assert answered.name == "recvfrom"
        assert COMMITTED in answered.text
        return sent, answered

    def commit_of_blob(self) -> tuple[Call, Call]:
        """All of its transaction is one message: sent, and answered with the server idle."""
        sent = self.one("sendto", r"EXECUTE hold_name\b.*EXECUTE commit_new_blob\b")
        answered = next(c for c in self.calls if c.began > sent.ended and c.file == sent.file)
        assert answered.name == "recvfrom"
        assert BLOB_COMMITTED in answered.text
        return sent, answered

    @property
    def acknowledged(self) -> Call:
        """201 on its way to the client; only one in the trace."""
        (call,) = (
            c
            for c in self.calls
            if c.name in ("writev", "write", "sendto", "sendmsg") and "HTTP/1.1 201" in c.text
        )
        return call


def path_in(call: Call) -> str:
    found = re.search(r'"([^"]+)"', call.text)
    assert found
    return found[1]


def assert_in_order(*calls: Call) -> None:
    for earlier, later in itertools.pairwise(calls):
        assert earlier.ended < later.began, f"{later} does not come after {earlier}"


def push_at_once(repository: Repository, data: bytes) -> None:
    repository.push_blob(data)


def push_in_pieces(repository: Repository, data: bytes) -> None:
    where = repository.start_upload()
    for start in range(0, len(data), 1 << 20):
        answer = repository.client.patch(where, content=data[start : start + (1 << 20)])
        assert answer.status_code == 202, answer.text
    answer = repository.client.put(where, params={"digest": digest_of(data)})
    assert answer.status_code == 201, answer.text


Push = Callable[[Repository, bytes], None]


@pytest.mark.parametrize("push", [push_at_once, push_in_pieces])
def test_a_blob_is_synced_then_its_directories_then_committed_then_acknowledged(
    server: Alone, repository: Repository, tmp_path: pathlib.Path, report: Report, push: Push
) -> None:
    data = new_bytes(3 << 20)
    with strace.attached(server.worker, tmp_path, CALLS) as trace:
        push(repository, data)
    story = Story(trace.calls())
    sent, answered = story.commit_of_blob()
    assert_in_order(sent, answered, story.acknowledged)

    made = story.created(below=server.storage)
    (file,) = (call for call in made if call.name == "openat")
    writes = [c for c in story.calls if c.name == "pwrite64" and c.file == path_in(file)]
    assert sum(int(c.text.rpartition("= ")[2]) for c in writes) == len(data)
    (of_file,) = story.syncs(path_in(file))
    assert_in_order(writes[-1], of_file, sent)
    # "Finished" is believed by later requests, so it must not be said too early either.
    finished = story.one("fchmod", re.escape(path_in(file)))
    assert_in_order(of_file, finished)
    # Whatever was made is in a directory that was synced since, up to one that stood there before.
    for call in made:
        parent = str(pathlib.Path(path_in(call)).parent)
        synced = next(c for c in story.syncs(parent) if c.began > call.ended)
        assert_in_order(call, synced, finished, sent)
        if call is file:
            assert_in_order(of_file, synced)
    report(
        f"{len(story.calls)} calls of a push seen, {len(made) - 1} directories made and synced, one 201, last"
    )


def test_a_manifest_is_committed_then_acknowledged(
    server: Alone, repository: Repository, tmp_path: pathlib.Path, report: Report
) -> None:
    image = new_image()
    for blob in image.blobs:
        repository.push_blob(blob)
    with strace.attached(server.worker, tmp_path, CALLS) as trace:
        repository.push_manifest(image.payload, "v1")
    story = Story(trace.calls())
    (document,) = (
        c for c in story.calls if c.name == "sendto" and "INSERT INTO registry_core_artifact (" in c.text
    )
    sent, answered = story.commit_of(r"INSERT INTO registry_core_artifact \(")
    event = story.one("sendto", "INSERT INTO .?registry_core_eventoutbox")
    assert event.file == document.file
    assert_in_order(document, event, sent, answered, story.acknowledged)
    report(f"{len(story.calls)} calls of a manifest's push seen, one 201, last")


FAULTS = {
    "of the file": "inject=fsync:error=EIO:when=1+",
    "of the file, once": "inject=fsync:error=EIO:when=1",
    "of its directory": "inject=fsync:error=EIO:when=2+",
    "of its directory, once": "inject=fsync:error=EIO:when=2",
    "of a directory above": "inject=fsync:error=EIO:when=3",
    "for want of room": "inject=fsync:error=ENOSPC:when=1+",
}


def move_directories(objects: pathlib.Path) -> None:
    """As if another process had just made a directory in each: what stands in them may not be durable."""
    for directory in objects.iterdir():
        (directory / "made").mkdir()
        (directory / "made").rmdir()


@pytest.mark.parametrize("in_pieces", [False, True], ids=["at once", "in pieces"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_sync_that_fails_is_no_acknowledgement(
    server: Alone, repository: Repository, tmp_path: pathlib.Path, report: Report, fault: str, in_pieces: bool
) -> None:
    """What the kernel could not write it may drop, and calls the next sync a success: the bytes are sent anew, and to
    another key, so that neither the old pages nor the old directory entry are believed."""
    data = new_bytes(20_000)
    where = repository.start_upload()
    if in_pieces:
        assert repository.client.patch(where, content=data).status_code == 202
    move_directories(server.storage / "objects")
    with strace.attached(server.worker, tmp_path, CALLS, FAULTS[fault]) as trace:
        answer = repository.client.put(
            where, params={"digest": digest_of(data)}, content=b"" if in_pieces else data
        )
        status, code = (507, "INSUFFICIENT_STORAGE") if "room" in fault else (503, "UNAVAILABLE")
        error = assert_refused(answer, status, code, component="storage")
        assert "again" in error["detail"]["fix"]
    failed = [c for c in trace.calls() if c.name == "fsync" and "(INJECTED)" in c.text]
    assert len(failed) == 1, "nothing is synced after a sync that failed"
    path = next(c.file for c in trace.calls() if c.name == "fsync")
    digest = digest_of(data)
    assert server.rows("SELECT 1 FROM registry_core_blob WHERE digest = %s", digest) == []
    assert repository.head(f"blobs/{digest}").status_code == 404
    # The session is over: its bytes cannot be trusted.
    assert_refused(repository.client.get(where), 404, "BLOB_UPLOAD_UNKNOWN")
    again = repository.client.put(where, params={"digest": digest}, content=b"" if in_pieces else data)
    assert_refused(again, 404, "BLOB_UPLOAD_UNKNOWN")
    assert server.scrub(100) == []

    repository.push_blob(data)
    ((key,),) = server.rows("SELECT key FROM registry_core_blob WHERE digest = %s", digest)
    assert str(server.storage / key) != path
    assert repository.get(f"blobs/{digest}").content == data
    server.collect()
    assert not pathlib.Path(path).exists()
    assert server.scrub(100) == []
    report(f"one fsync failed ({fault}), answered {status}, bytes sent anew and taken")


DURABLE = ("fsync", "synchronous_commit", "full_page_writes")


def test_a_server_that_would_commit_later_is_asked_to_do_it_now(postgres: Postgres, report: Report) -> None:
    """A role or a database may have synchronous_commit off; every connection that writes sets it."""
    url = postgres.clone()
    database = url.rpartition("/")[2]
    postgres.execute(f'ALTER DATABASE "{database}" SET synchronous_commit = off')
    with contextlib.closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute("SHOW synchronous_commit")
        assert cursor.fetchone() == ("off",)
    actor = Actor({**os.environ, "DATABASE_URL": url})
    try:
        assert actor.do("select", "SHOW synchronous_commit") == [["on"]]
    finally:
        actor.close()
    report("a database with synchronous_commit off: the registry's connections have it on")


def test_the_embedded_database_is_durable(registry: Breakwater, report: Report) -> None:
    """As the registry's own kind of connection finds it, not as the file says it."""
    with contextlib.closing(psycopg2.connect(registry.database)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT name, setting FROM pg_settings WHERE name = ANY(%s)", [list(DURABLE)])
        found = dict(cursor.fetchall())
    assert found == dict.fromkeys(DURABLE, "on")
    report(f"the database of `manage.py up`: {found}")
