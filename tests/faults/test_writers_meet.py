"""Requests that meet at one upload or one digest, a web process that is killed amid a PATCH, and manifests made to
hurt: no bytes are mixed, none is lost, every byte stays on one line of the ledger."""

from __future__ import annotations

import gzip
import os
import pathlib
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import httpx
import pytest

from tests import ledger
from tests.components import process
from tests.content import MANIFEST, digest_of, encode, image_document, new_bytes
from tests.reporting import Report
from tests.server import Pair, Repository, Server

T = TypeVar("T")
WRITING = "SELECT 1 FROM registry_core_upload WHERE id = %s AND writer IS NOT NULL"


def at_once(count: int, work: Callable[[int], T]) -> list[T]:
    start = threading.Barrier(count)

    def run(number: int) -> T:
        start.wait(timeout=60)
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


def test_twenty_clients_upload_the_same_bytes(
    two: Server, pusher: Pair, shared: Repository, report: Report
) -> None:
    """One is kept; the others' bytes wait for deletion, and then the room is free."""
    two.collect()
    data, before = new_bytes(70_000), two.stored_bytes()
    digest = digest_of(data)

    def upload(number: int) -> int:
        with httpx.Client(base_url=f"{two.url}/v2", auth=pusher, timeout=60) as client:
            name = f"{shared.name}-{number % 4}"
            return Repository(client, name).post(
                "blobs/uploads/", params={"digest": digest}, content=data
            ).status_code  # fmt: skip

    assert at_once(20, upload) == [201] * 20
    assert len(two.rows("SELECT key FROM registry_core_blob WHERE digest = %s", digest)) == 1
    surplus = two.rows("SELECT key FROM registry_core_deletedobject WHERE digest = %s", digest)
    assert len(surplus) == 19
    ledger.assert_adds_up(two.database, two.storage)
    assert two.collect() == {"blobs": 0, "objects": 19, "bytes": 19 * len(data)}
    assert two.stored_bytes() == before + len(data)
    for number in range(4):
        other = two.repository(f"{shared.name}-{number}", pusher)
        assert other.get(f"blobs/{digest}").content == data
    report("20 uploads of one digest, 1 kept, 19 freed")


@pytest.mark.parametrize(
    "meeting", ["PUT and PUT", "PUT and PATCH", "DELETE and PATCH", "DELETE and PUT", "PATCH and PATCH"]
)
def test_two_requests_meet_at_one_upload(
    two: Server, pusher: Pair, shared: Repository, report: Report, meeting: str
) -> None:
    """Either may win; what is acknowledged as a blob is the bytes that its digest names."""
    seen = set()
    for _ in range(15):
        head, rest = new_bytes(3000), new_bytes(3000)
        location = shared.start_upload()
        assert shared.client.patch(location, content=head).status_code == 202
        digest = digest_of(head + rest)

        def ask(number: int, location: str = location, rest: bytes = rest, digest: str = digest) -> int:
            method = meeting.split(" and ")[number]
            with httpx.Client(auth=pusher, timeout=60) as client:
                params = {"digest": digest} if method == "PUT" else {}
                content = rest if method in ("PUT", "PATCH") else None
                headers = {"Content-Range": "3000-5999"} if method == "PATCH" else {}
                return client.request(
                    method, location, params=params, content=content, headers=headers
                ).status_code

        statuses = tuple(at_once(2, ask))
        seen.add(statuses)
        assert set(statuses) <= {201, 202, 204, 400, 404, 416}, statuses
        assert min(statuses) < 300, "at least one is served"
        stored = shared.get(f"blobs/{digest}")
        assert (stored.status_code == 200) == (201 in statuses)
        if stored.status_code == 200:
            assert stored.content == head + rest
        elif 202 in statuses and "DELETE" not in meeting:
            done = shared.client.put(location, params={"digest": digest})
            assert done.status_code in (201, 400, 404)  # a PUT that came after the PATCH had twice the rest
    report(f"{meeting}: 15 meetings, answers {sorted(seen)}")


def test_a_web_process_that_is_killed_amid_a_patch_gives_way_to_another(
    two: Server, pusher: Pair, shared: Repository, report: Report
) -> None:
    """Its lease runs out (30 s, here in the rows), then whoever is left goes on from the offset that was kept."""
    for _ in range(2):
        data = new_bytes(3 << 20)
        location = shared.start_upload()
        upload = location.rpartition("/")[2]
        shared.client.patch(location, content=data[: 1 << 20])
        path = location[location.index("/v2/") :]
        length = str(len(data) - (1 << 20))
        with two.unfinished(
            "PATCH", path, pusher, data[1 << 20 : 2 << 20], Content_Length=length
        ) as connection:
            two.eventually(WRITING, upload)
            peer = connection.getsockname()[1]
            os.kill(holder_of(two, peer), signal.SIGKILL)
        deadline = time.monotonic() + 20
        while not two._answers():
            assert time.monotonic() < deadline
        assert shared.client.patch(location, content=b"x").status_code == 416
        two.rows(
            "UPDATE registry_core_upload SET writer_until = now() - interval '1 s' WHERE id = %s", upload
        )
        assert shared.client.get(location).headers["Range"] == f"0-{(1 << 20) - 1}"
        rest = {"Content-Range": f"{1 << 20}-{len(data) - 1}"}
        assert shared.client.patch(location, content=data[1 << 20 :], headers=rest).status_code == 202
        assert shared.client.put(location, params={"digest": digest_of(data)}).status_code == 201
        assert shared.get(f"blobs/{digest_of(data)}").content == data
    ledger.assert_adds_up(two.database, two.storage)
    report("2 kills of the web process that held an upload; both went on from 1 MiB")


def holder_of(server: Server, peer: int) -> int:
    """The worker that has the server's end of the connection from this port."""
    mine = f"{server.port:04X}"
    inodes = {
        line.split()[9]
        for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]
        if line.split()[1].endswith(f":{mine}") and line.split()[2].endswith(f":{peer:04X}")
    }
    for pid in process.descendants(server.pid):
        for fd in pathlib.Path(f"/proc/{pid}/fd").iterdir():
            if str(fd.readlink()) in {f"socket:[{inode}]" for inode in inodes}:
                return pid
    raise AssertionError("nobody has it")


# -- manifests made to hurt

LIMIT = 4 << 20


def bombs() -> dict[str, tuple[bytes, int, str]]:
    """Body, status, and what the message must name."""
    plain = encode(image_document(b"{}", []))
    start = plain[:-1]
    return {
        "deep arrays": (
            start + b', "x": ' + b"[" * 200_000 + b"]" * 200_000 + b"}",
            400,
            "nested deeper than 64",
        ),
        "deep objects": (
            start + b', "x": ' + b'{"a":' * 200_000 + b"1" + b"}" * 200_000 + b"}",
            400,
            "nested deeper than 64",
        ),
        "65 deep": (start + b', "x": ' + b"[" * 64 + b"]" * 64 + b"}", 400, "nested deeper than 64"),
        "never closed": (b"[" * LIMIT, 400, "nested deeper than 64"),
        "wide": (start + b', "x": [' + b"[]," * 1_300_000 + b"[]]}", 400, ""),
        "a huge integer": (start + b', "x": ' + b"9" * 1_000_000 + b"}", 400, "not JSON"),
        "a huge float": (start + b', "x": 1e999999}', 400, "too large"),
        "not a number": (start + b', "x": NaN}', 400, "NaN"),
        "a key twice": (start + b', "schemaVersion": 2}', 400, "twice"),
        "half a surrogate": (start + b', "artifactType": "\\ud800"}', 400, "artifactType"),
        "NUL": (start + b', "artifactType": "a\\u0000b"}', 400, "artifactType"),
        "one byte too many": (plain + b" " * (LIMIT - len(plain) + 1), 413, str(LIMIT)),
        "gzip": (gzip.compress(plain), 400, "not JSON"),
    }


@pytest.mark.parametrize("bomb", sorted(bombs()))
def test_a_manifest_made_to_hurt_is_refused_quickly(two: Server, shared: Repository, bomb: str) -> None:
    body, status, named = bombs()[bomb]
    before = resident(two)
    spent = cpu(two)
    answer = shared.put_manifest(body, "bomb", MANIFEST)
    assert answer.status_code == status, answer.text[:300]
    (error,) = answer.json()["errors"]
    assert named in error["message"]
    # A wide one is as good a document as any: what it lacks is its config.
    code = "MANIFEST_BLOB_UNKNOWN" if bomb == "wide" else "MANIFEST_INVALID"
    assert error["code"] == ("REQUEST_ENTITY_TOO_LARGE" if status == 413 else code)
    assert cpu(two) - spent < 3
    assert resident(two) - before < 400 << 20
    assert shared.get("manifests/bomb").status_code == 404


def resident(server: Server) -> int:
    pids = [server.pid, *process.descendants(server.pid)]
    return sum(int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids) * 4096


def cpu(server: Server) -> float:
    ticks = 0
    for pid in process.descendants(server.pid):
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")
