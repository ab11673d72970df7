"""S3 that refuses, breaks off, stalls or lies, below a registry that clients push to and pull from: a sentence, nothing
half, everybody else served meanwhile, and all well by itself once S3 is."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.components.postgres import Postgres
from tests.components.seaweedfs import BUCKET, SeaweedFS, seaweedfs
from tests.components.valkey import Valkey
from tests.content import digest_of, new_bytes
from tests.faults.test_full_disks import Tally
from tests.registry_core.storage.s3_proxy import CUT_AFTER, CUT_BEFORE, Answer, Call, S3Proxy, error
from tests.reporting import Report
from tests.server import Pair, Repository, Server, assert_refused

__all__ = ["seaweedfs"]

MIB = 1 << 20
PUT, PART, COMPLETE, DELETE = "PUT", "PUT partNumber uploadId", "POST uploadId", "POST delete"
LIE = Answer(200, "<?xml version='1.0'?><Error><Code>InternalError</Code><Message>no</Message></Error>")
# Two parts; one object.
LARGE, SMALL = 10 * MIB, 5000


@pytest.fixture(scope="module")
def proxy(seaweedfs: SeaweedFS) -> Iterator[S3Proxy]:
    proxy = S3Proxy(seaweedfs.port)
    yield proxy
    proxy.stop()


@pytest.fixture(autouse=True)
def sound(proxy: S3Proxy) -> Iterator[None]:
    """S3 is well again after each test."""
    yield
    proxy.fault = lambda _: None


@pytest.fixture(scope="module")
def prefix() -> str:
    return f"refusals-{secrets.token_hex(4)}"


@pytest.fixture(scope="module")
def server(
    postgres: Postgres, valkey: Valkey, seaweedfs: SeaweedFS, proxy: S3Proxy, prefix: str
) -> Iterator[Server]:
    """One web process, so that it is known whose threads S3 holds. Its scrub is clean at the end."""
    url = seaweedfs.url(prefix, redirect=False, endpoint=proxy.endpoint)
    server = Server(
        postgres, valkey.url(62), BREAKWATER_STORAGE=f"{url}&timeout=1", BREAKWATER_WORKERS="1", **seaweedfs.credentials
    )
    server.start()
    try:
        yield server
        server.rows("UPDATE registry_core_deletedobject SET due_at = now()")
        server.collect()
        assert server.scrub(100) == []
    finally:
        server.stop()


@pytest.fixture(scope="module")
def robot(server: Server) -> Pair:
    return server.create_robot(server.create_project("remote"))


@pytest.fixture
def repository(server: Server, robot: Pair) -> Repository:
    return server.repository(f"remote/{secrets.token_hex(6)}", robot)


def on(operation: str, answer: Answer) -> Callable[[Call], Answer | None]:
    return lambda call: answer if call.operation == operation else None


def key_of(server: Server, data: bytes) -> str:
    ((key,),) = server.rows("SELECT key FROM registry_core_blob WHERE digest = %s", digest_of(data))
    return str(key)


def assert_away(answer: httpx.Response) -> None:
    error = assert_refused(answer, 503, "UNAVAILABLE", component="storage")
    assert "storage" in error["message"]
    assert "operator" in error["detail"]["who"]
    assert answer.headers["Retry-After"]
    assert "127.0.0.1" not in answer.text, "an address of the server"


REFUSALS = [
    (PUT, SMALL, error(403, "AccessDenied")),
    (PUT, SMALL, error(503, "SlowDown")),
    (PUT, SMALL, CUT_BEFORE),
    (PART, LARGE, error(403, "AccessDenied")),
    (PART, LARGE, CUT_BEFORE),
    (COMPLETE, LARGE, error(500, "InternalError")),
    (COMPLETE, LARGE, CUT_BEFORE),
    (COMPLETE, LARGE, LIE),
]


@pytest.mark.parametrize(("operation", "size", "answer"), REFUSALS)
def test_a_refusal_is_a_sentence_and_the_same_push_works_later(
    repository: Repository, proxy: S3Proxy, report: Report, operation: str, size: int, answer: Answer
) -> None:
    tally = Tally()
    before = repository.push_image("before")
    data = new_bytes(size)
    digest = digest_of(data)
    proxy.fault = on(operation, answer)
    location = repository.start_upload()
    assert_away(tally.note(repository.client.put(location, params={"digest": digest}, content=data)))
    assert_away(tally.note(repository.post("blobs/uploads/", params={"digest": digest}, content=data)))
    assert repository.head(f"blobs/{digest}").status_code == 404
    repository.assert_holds(before, "before")
    proxy.fault = lambda _: None
    # Where it stood: the session lives, and its bytes are sent again.
    assert tally.note(repository.client.put(location, params={"digest": digest}, content=data)).status_code == 201
    assert repository.get(f"blobs/{digest}").content == data
    report(f"{operation} of {size} bytes answered {answer.status or 'by a cut'}: {tally}")


@pytest.mark.parametrize(("operation", "size"), [(PUT, SMALL), (COMPLETE, LARGE)])
def test_what_got_through_is_acknowledged_though_its_answer_was_lost(
    repository: Repository, proxy: S3Proxy, operation: str, size: int
) -> None:
    """The first answer; the next try finds that the object is there."""
    data = new_bytes(size)
    lost = iter([CUT_AFTER])
    proxy.fault = lambda call: next(lost, None) if call.operation == operation else None
    assert repository.push_blob(data) == digest_of(data)
    assert repository.get(f"blobs/{digest_of(data)}").content == data


PER_KEY = Answer(
    200,
    "<?xml version='1.0'?><DeleteResult><Error><Key>x</Key><Code>AccessDenied</Code></Error></DeleteResult>",
)


@pytest.mark.parametrize("answer", [LIE, PER_KEY, error(403, "AccessDenied"), CUT_BEFORE])
def test_bytes_that_s3_keeps_stay_on_the_ledger(
    server: Server, repository: Repository, proxy: S3Proxy, answer: Answer
) -> None:
    image = repository.push_image("gone")
    keys = [key_of(server, blob) for blob in image.blobs]
    repository.delete(f"manifests/{image.digest}")
    server.rows("UPDATE registry_core_repositoryblob SET leased_until = now()")
    server.rows("UPDATE registry_core_collectorcandidate SET due_at = now()")
    proxy.fault = on(DELETE, answer)
    assert server.collect()["objects"] == 0
    waiting = "SELECT count(*) FROM registry_core_deletedobject WHERE key = ANY(%s)"
    assert server.rows(waiting, keys) == [(3,)]
    proxy.fault = lambda _: None
    server.rows("UPDATE registry_core_deletedobject SET due_at = now()")
    assert server.collect()["objects"] >= 3
    assert server.rows(waiting, keys) == [(0,)]


def test_a_store_that_stalls_holds_up_nobody_else(
    server: Server, repository: Repository, robot: Pair, proxy: S3Proxy, report: Report
) -> None:
    """More uploads than the process has threads for rows hang in S3; what needs no byte goes on."""
    image = repository.push_image("v1")
    go_on = threading.Event()
    stalled: list[Call] = []

    def stall(call: Call) -> Answer | None:
        if call.operation == PUT:
            stalled.append(call)
            go_on.wait(20)
        return None

    proxy.fault = stall
    tally, hung = Tally(), Tally()

    def push(_: int) -> httpx.Response:
        data = new_bytes(SMALL)
        with httpx.Client(base_url=f"{server.url}/v2", auth=robot, timeout=60) as client:
            return Repository(client, repository.name).post(
                "blobs/uploads/", params={"digest": digest_of(data)}, content=data
            )

    with ThreadPoolExecutor(10) as pushers:
        pushes = pushers.map(push, range(10))
        deadline = time.monotonic() + 10
        while len(stalled) < 10:
            assert time.monotonic() < deadline, f"{len(stalled)} of 10 pushes have reached S3"
            time.sleep(0.02)
        asked: list[Callable[[], httpx.Response]] = [
            lambda: repository.get("manifests/v1"),
            lambda: repository.put_manifest(image.payload, f"t{secrets.token_hex(2)}"),
            lambda: repository.head(f"blobs/{digest_of(image.config)}"),
            lambda: repository.get("tags/list"),
        ]
        slowest = 0.0
        for ask in asked * 5:
            began = time.monotonic()
            assert tally.note(ask()).status_code in (200, 201)
            slowest = max(slowest, time.monotonic() - began)
        assert slowest < 1, "somebody waited for S3"
        for answer in pushes:  # each of three tries of a second
            hung.note(answer)
            assert_away(answer)
        go_on.set()
    proxy.fault = lambda _: None
    repository.assert_holds(repository.push_image("after"), "after")
    report(f"S3 stalled under 10 pushes ({hung}); beside them {tally}, the slowest {slowest:.2f} s")


@pytest.mark.parametrize("span", ["", "bytes=100-"])
def test_bytes_that_break_off_are_no_whole_answer(repository: Repository, proxy: S3Proxy, span: str) -> None:
    data = new_bytes(3 * MIB)
    path = f"blobs/{repository.push_blob(data)}"
    proxy.fault = on("GET", Answer(sent=MIB))
    with pytest.raises(httpx.RemoteProtocolError):
        repository.get(path, headers={"Range": span} if span else {})
    proxy.fault = lambda _: None
    assert repository.get(path).content == data


def test_an_object_that_is_lost_or_short_is_our_fault_until_a_push_heals_it(
    server: Server, repository: Repository, seaweedfs: SeaweedFS, prefix: str
) -> None:
    for shorten in (False, True):
        data = new_bytes(SMALL)
        path = f"blobs/{repository.push_blob(data)}"
        name = f"{prefix}/{key_of(server, data)}"
        if shorten:
            seaweedfs.client().put_object(Bucket=BUCKET, Key=name, Body=data[:-1])
        else:
            seaweedfs.client().delete_object(Bucket=BUCKET, Key=name)
        assert_refused(repository.get(path), 500, "UNKNOWN", digest=digest_of(data))
        assert_refused(repository.get(path, headers={"Range": "bytes=0-9"}), 500, "UNKNOWN")
        assert repository.head(path).status_code == 500
        assert [f[0] for f in server.scrub()] == ["short" if shorten else "missing"]
        repository.push_blob(data)
        assert repository.get(path).content == data
        server.rows("UPDATE registry_core_deletedobject SET due_at = now()")
        server.collect()
        assert server.scrub() == []


def test_who_is_sent_to_s3_hears_of_a_lost_object_from_us(
    postgres: Postgres, valkey: Valkey, seaweedfs: SeaweedFS, prefix: str
) -> None:
    server = Server(
        postgres, valkey.url(62), BREAKWATER_STORAGE=seaweedfs.url(f"{prefix}-r"), BREAKWATER_WORKERS="1",
        **seaweedfs.credentials,
    )  # fmt: skip
    server.start()
    try:
        robot = server.create_robot(server.create_project("sent"))
        repository = server.repository("sent/app", robot)
        kept, lost = new_bytes(SMALL), new_bytes(SMALL)
        for data in (kept, lost):
            repository.push_blob(data)
        seaweedfs.client().delete_object(Bucket=BUCKET, Key=f"{prefix}-r/{key_of(server, lost)}")
        assert repository.get(f"blobs/{digest_of(kept)}").status_code == 307
        assert_refused(repository.get(f"blobs/{digest_of(lost)}"), 500, "UNKNOWN", digest=digest_of(lost))
        assert "stored object damaged" in server.log
    finally:
        server.stop()
