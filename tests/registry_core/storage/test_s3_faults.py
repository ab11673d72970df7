"""S3 that fails: single calls that break off or are refused, and the whole server killed and brought back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from registry_core.storage.driver import (
    Driver,
    ObjectDamaged,
    StorageError,
    StorageUnavailable,
    Writer,
    open_driver,
)
from registry_core.storage.paths import new_key
from tests.components import process
from tests.components.seaweedfs import SeaweedFS, seaweedfs
from tests.registry_core.storage.s3_proxy import CUT_AFTER, CUT_BEFORE, Answer, Call, S3Proxy, error
from tests.storage_suite import MIB, NOISE, OTHER_NOISE, PART, assert_holds, listed, patch, store, write

__all__ = ["seaweedfs"]


@pytest.fixture(autouse=True)
def credentials(seaweedfs: SeaweedFS, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in seaweedfs.credentials.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def proxy(seaweedfs: SeaweedFS) -> Iterator[S3Proxy]:
    proxy = S3Proxy(seaweedfs.port)
    yield proxy
    proxy.stop()


@pytest.fixture
def driver(seaweedfs: SeaweedFS, proxy: S3Proxy) -> Driver:
    return open_driver(seaweedfs.url(new_key(), endpoint=proxy.endpoint))


def when(
    operation: str, answer: Answer, *, number: str = "", times: int = 1000
) -> Callable[[Call], Answer | None]:
    """The first `times` calls of an operation (of one part) are answered so."""
    left = [times]

    def fault(call: Call) -> Answer | None:
        if call.operation != operation or (number and call.query["partNumber"] != number) or not left[0]:
            return None
        left[0] -= 1
        return answer

    return fault


def passes(_: Call) -> Answer | None:
    return None


def send(writer: Writer, data: bytes) -> None:
    """A whole request: only its end waits for the last parts."""
    write(writer, data)
    writer.suspend()


PUT_PART = "PUT partNumber uploadId"
COMPLETE = "POST uploadId"
ABORT = "DELETE uploadId"
DELETE = "POST delete"


# -- what an upload costs


def test_a_small_blob_in_one_request_is_one_call(driver: Driver, proxy: S3Proxy) -> None:
    store(driver, NOISE[: PART - 1])
    assert proxy.operations() == ["PUT"]


def test_a_small_blob_in_post_patch_put_is_four_calls(driver: Driver, proxy: S3Proxy) -> None:
    key = new_key()
    state = patch(driver, key, NOISE[:MIB])
    driver.open_writer(key, MIB, state).finish()
    assert [(call.operation, call.name.endswith(".tail")) for call in proxy.calls] == [
        ("PUT", True),
        ("GET", True),
        ("PUT", False),
        (DELETE, False),
    ]


def test_the_end_of_a_request_is_a_part_when_it_is_large_enough(driver: Driver, proxy: S3Proxy) -> None:
    state = patch(driver, new_key(), NOISE[: PART + 5 * MIB])
    assert proxy.operations() == ["POST uploads", PUT_PART, PUT_PART]
    assert [size for _, size in state["parts"]] == [PART, 5 * MIB]
    state = patch(driver, new_key(), NOISE[: PART + 5 * MIB - 1])
    assert proxy.operations()[3:] == ["POST uploads", PUT_PART, "PUT"]
    assert state["tail"]["size"] == 5 * MIB - 1


def test_an_empty_request_stores_nothing_again(driver: Driver, proxy: S3Proxy) -> None:
    key = new_key()
    state = patch(driver, key, NOISE[:MIB])
    assert patch(driver, key, b"", MIB, state) == state
    assert proxy.operations() == ["PUT", "GET"]


def test_at_most_two_parts_are_under_way_while_bytes_arrive(driver: Driver, proxy: S3Proxy) -> None:
    proxy.gate.clear()
    key = new_key()
    writer = driver.open_writer(key)
    write(writer, NOISE[: 2 * PART + MIB])  # does not wait for the parts
    rest = threading.Thread(target=write, args=[writer, NOISE[2 * PART + MIB :]])
    rest.start()
    rest.join(0.5)
    assert rest.is_alive()  # a third part would have to be kept somewhere
    proxy.gate.set()
    rest.join(60)
    assert writer.finish() == len(NOISE)
    assert proxy.most_at_once == 2
    assert_holds(driver, key, NOISE)


def test_more_than_a_thousand_names_are_several_calls(driver: Driver, proxy: S3Proxy) -> None:
    keys = [new_key() for _ in range(1001)]
    assert driver.delete(keys) == set(keys)
    assert proxy.operations().count(DELETE) == 4  # with the two tails that each might have


# -- completing


@pytest.mark.parametrize(
    "answer", [CUT_AFTER, error(500, "InternalError")], ids=["connection cut", "an error though it was done"]
)
def test_a_completion_that_got_through_is_a_success(driver: Driver, proxy: S3Proxy, answer: Answer) -> None:
    proxy.fault = when(COMPLETE, Answer(answer.status, answer.body, forward=True))
    key = store(driver, NOISE[: 2 * PART])
    assert_holds(driver, key, NOISE[: 2 * PART])
    assert list(driver.keys()) == [(key, 2 * PART)]


@pytest.mark.parametrize(
    "answer",
    [CUT_BEFORE, error(503, "SlowDown"), error(200, "InternalError")],
    ids=["connection cut", "refused", "an error in a 200"],
)
def test_a_completion_that_did_not_is_a_failure(driver: Driver, proxy: S3Proxy, answer: Answer) -> None:
    proxy.fault = when(COMPLETE, answer)
    key = new_key()
    writer = driver.open_writer(key)
    write(writer, NOISE[: 2 * PART])
    with pytest.raises(StorageUnavailable):
        writer.finish()
    assert writer.offset == 2 * PART
    state = writer.suspend()
    proxy.fault = passes
    assert driver.open_writer(key, 2 * PART, state).finish() == 2 * PART
    assert_holds(driver, key, NOISE[: 2 * PART])


def test_the_object_of_another_upload_is_not_taken_for_ours(driver: Driver, proxy: S3Proxy) -> None:
    """Of the same size, found after a completion without an answer."""
    key = store(driver, OTHER_NOISE[: 2 * PART])
    proxy.fault = when(COMPLETE, CUT_BEFORE)
    writer = driver.open_writer(key)
    write(writer, NOISE[: 2 * PART])
    with pytest.raises(StorageUnavailable):
        writer.finish()
    writer.abandon()
    assert_holds(driver, key, OTHER_NOISE[: 2 * PART])
    assert list(driver.keys()) == [(key, 2 * PART)]


def test_where_etags_are_no_checksums_a_mark_tells(driver: Driver, proxy: S3Proxy) -> None:
    """With SSE-KMS. An upload that other requests may know of is not believed then."""

    def fault(call: Call) -> Answer | None:
        return when(COMPLETE, CUT_AFTER)(call) or when("HEAD", Answer(etag='"opaque"'))(call)

    proxy.fault = fault
    key = store(driver, NOISE[: 2 * PART])
    assert_holds(driver, key, NOISE[: 2 * PART])
    key = new_key()
    state = patch(driver, key, NOISE[: 2 * PART])
    with pytest.raises(StorageUnavailable):
        driver.open_writer(key, 2 * PART, state).finish()


def test_two_requests_of_one_upload_do_not_swap_their_bytes(driver: Driver) -> None:
    """The one without the lease completes first, with as many other bytes: the other one must not call them its own."""
    key = new_key()
    state = patch(driver, key, NOISE[: PART + MIB])
    late, writer = (driver.open_writer(key, PART + MIB, state) for _ in range(2))
    write(late, OTHER_NOISE[: 7 * MIB])
    write(writer, NOISE[PART + MIB : 2 * PART])
    assert late.finish() == 2 * PART
    with pytest.raises(StorageError):
        writer.finish()
    assert writer.offset <= 2 * PART
    writer.close()


def test_a_store_without_conditional_writes_works(driver: Driver, proxy: S3Proxy) -> None:
    def refuse_conditions(call: Call) -> Answer | None:
        return error(501, "NotImplemented") if "if-none-match" in call.headers else None

    proxy.fault = refuse_conditions
    for size in (10, PART + 10):
        assert_holds(driver, store(driver, NOISE[:size]), NOISE[:size])


# -- parts, tails and small objects that are refused


@pytest.mark.parametrize("answer", [CUT_BEFORE, error(503, "SlowDown")])
def test_parts_before_the_failed_one_are_kept(driver: Driver, proxy: S3Proxy, answer: Answer) -> None:
    proxy.fault = when(PUT_PART, answer, number="2")
    key = new_key()
    writer = driver.open_writer(key)
    with pytest.raises(StorageUnavailable) as caught:
        send(writer, NOISE)
    assert not caught.value.full
    assert writer.offset == PART
    calls = len(proxy.calls)
    state = writer.suspend()
    assert len(proxy.calls) == calls
    proxy.fault = passes
    writer = driver.open_writer(key, PART, state)
    write(writer, NOISE[PART : 3 * PART])
    assert writer.finish() == 3 * PART
    assert_holds(driver, key, NOISE[: 3 * PART])


@pytest.mark.parametrize("operation", ["PUT", "POST uploads", PUT_PART])
def test_what_earlier_requests_kept_stays_kept(driver: Driver, proxy: S3Proxy, operation: str) -> None:
    key = new_key()
    state = patch(driver, key, NOISE[:MIB])
    proxy.fault = when(operation, CUT_BEFORE)
    writer = driver.open_writer(key, MIB, state)
    with pytest.raises(StorageUnavailable):
        send(writer, NOISE[MIB : MIB + (10 if operation == "PUT" else PART)])
    assert writer.offset == MIB
    kept = writer.suspend()
    proxy.fault = passes
    for old in (kept, state):
        assert driver.open_writer(key, MIB, old).finish() == MIB
        assert_holds(driver, key, NOISE[:MIB])


def test_a_tail_that_has_become_part_of_a_part_is_not_counted_twice(driver: Driver, proxy: S3Proxy) -> None:
    key = new_key()
    state = patch(driver, key, NOISE[:MIB])
    proxy.fault = when(PUT_PART, CUT_BEFORE, number="2")
    writer = driver.open_writer(key, MIB, state)
    with pytest.raises(StorageUnavailable):
        send(writer, NOISE[MIB : 3 * PART])
    assert writer.offset == PART
    state = writer.suspend()
    proxy.fault = passes
    writer = driver.open_writer(key, PART, state)
    write(writer, NOISE[PART : PART + 10])
    assert writer.finish() == PART + 10
    assert_holds(driver, key, NOISE[: PART + 10])


def test_abandoning_waits_for_parts_under_way(driver: Driver, proxy: S3Proxy) -> None:
    """One that arrives after the end of its upload may stay in the store, unseen and paid for."""
    proxy.gate.clear()
    writer = driver.open_writer(new_key())
    write(writer, NOISE[: 2 * PART])
    end = threading.Thread(target=writer.abandon)
    end.start()
    end.join(0.5)
    assert ABORT not in proxy.operations()
    proxy.gate.set()
    end.join(60)
    assert ABORT in proxy.operations()
    assert list(driver.keys()) == []


def test_a_writer_that_failed_takes_nothing_more(driver: Driver, proxy: S3Proxy) -> None:
    proxy.fault = when("PUT", CUT_BEFORE)
    writer = driver.open_writer(new_key())
    write(writer, NOISE[:10])
    for _ in range(2):
        with pytest.raises(StorageUnavailable):
            writer.finish()
    with pytest.raises(StorageUnavailable):
        writer.write(b"more")
    writer.close()


def test_a_full_store_says_so(driver: Driver, proxy: S3Proxy) -> None:
    proxy.fault = when("PUT", error(507, "InsufficientStorage"))
    with pytest.raises(StorageUnavailable) as caught:
        store(driver, b"x")
    assert caught.value.full


def test_a_tail_of_another_request_is_not_ours(driver: Driver) -> None:
    """Two requests go on from one state; the one without the lease stores its tail last."""
    key = new_key()
    late = driver.open_writer(key)
    late.write(OTHER_NOISE[:1000])
    state = patch(driver, key, NOISE[:1000])
    late.suspend()
    with pytest.raises(ObjectDamaged):
        driver.open_writer(key, 1000, state)


def test_a_tail_shorter_than_recorded_is_damage(driver: Driver) -> None:
    key = new_key()
    state = patch(driver, key, NOISE[:1000])
    state["tail"]["size"] = 1001
    with pytest.raises(ObjectDamaged):
        driver.open_writer(key, 1001, state)


def test_parts_that_the_store_has_ended_are_damage(
    driver: Driver, proxy: S3Proxy, seaweedfs: SeaweedFS
) -> None:
    """A life-cycle rule of the bucket ends uploads that are open for long."""
    key = new_key()
    state = patch(driver, key, NOISE[: PART + MIB])
    assert driver.delete([f"{key}.parts"]) == {f"{key}.parts"}
    with pytest.raises(ObjectDamaged):
        driver.open_writer(key, PART + MIB, state).finish()


def test_what_a_dead_request_left_goes_with_the_finish(driver: Driver) -> None:
    key = new_key()
    patch(driver, key, OTHER_NOISE[: 2 * PART + MIB])  # its state was never recorded
    assert len(listed(driver)) == 2
    assert store(driver, NOISE[: PART + 1], key)
    assert list(driver.keys()) == [(key, PART + 1)]


# -- deleting


def test_only_what_the_answer_confirms_is_gone(driver: Driver, proxy: S3Proxy) -> None:
    keys = sorted(store(driver, b"x") for _ in range(3))

    def deny_second(call: Call) -> Answer | None:
        if call.operation != DELETE:
            return None
        prefix = proxied_prefix(proxy)
        names = [prefix + key for key in keys]
        deleted = "".join(
            f"<Deleted><Key>{name}{tail}</Key></Deleted>"
            for name in names
            for tail in ("", ".tail", ".tail2")
        )
        deleted = deleted.replace(f"<Deleted><Key>{names[1]}</Key></Deleted>", "")
        denied = f"<Error><Key>{names[1]}</Key><Code>AccessDenied</Code><Message>no</Message></Error>"
        return Answer(200, f"<?xml version='1.0'?><DeleteResult>{deleted}{denied}</DeleteResult>")

    proxy.fault = deny_second
    assert driver.delete(keys) == {keys[0], keys[2]}


def proxied_prefix(proxy: S3Proxy) -> str:
    """The driver's prefix in the bucket, from a call that it made."""
    return next(call.query["prefix"] for call in proxy.calls if "prefix" in call.query)


def test_a_failed_call_leaves_its_keys_out(driver: Driver, proxy: S3Proxy) -> None:
    keys = [new_key() for _ in range(700)]  # 2,100 names
    proxy.fault = when(DELETE, error(403, "AccessDenied"), times=1)
    confirmed = driver.delete(keys)
    assert confirmed
    assert confirmed < set(keys)
    assert driver.delete(keys) == set(keys)


def test_when_no_call_gets_through_it_is_an_error(driver: Driver, proxy: S3Proxy) -> None:
    proxy.fault = when(DELETE, error(403, "AccessDenied"))
    with pytest.raises(StorageUnavailable, match="AccessDenied"):
        driver.delete([new_key()])


def test_a_key_whose_parts_stay_is_not_gone(driver: Driver, proxy: S3Proxy) -> None:
    key, other = new_key(), store(driver, b"x")
    state = patch(driver, key, NOISE[: PART + 1])
    proxy.fault = when(ABORT, error(403, "AccessDenied"))
    assert driver.delete([key, other], {key: state}) == {other}
    assert driver.delete([key]) == set()
    proxy.fault = passes
    assert driver.delete([key]) == {key}
    assert list(driver.keys()) == []


# -- reading


def test_a_body_that_breaks_off_is_an_error(driver: Driver, proxy: S3Proxy) -> None:
    key = store(driver, NOISE[:MIB])
    proxy.fault = when("GET", Answer(sent=MIB // 2))
    received: list[bytes] = []
    with pytest.raises(StorageUnavailable):
        received.extend(driver.read(key))
    assert b"".join(received) == NOISE[: sum(map(len, received))]
    assert sum(map(len, received)) <= MIB // 2


# -- the server is killed and comes back


def test_a_killed_server_is_an_error_and_not_a_hang(tmp_path_factory: pytest.TempPathFactory) -> None:
    server = SeaweedFS(process.run_directory() / "seaweedfs-killed", process.free_port())
    server.start()
    try:
        driver = open_driver(server.url("killed"))
        finished = store(driver, NOISE[: 2 * PART])
        key = new_key()
        state = patch(driver, key, NOISE[: PART + MIB])
        writer = driver.open_writer(key, PART + MIB, state)
        write(writer, NOISE[PART + MIB : PART + 2 * MIB])
        reader = driver.read(finished)
        next(reader)
        server.kill()
        assert_fails_soon(lambda: write(writer, NOISE))
        assert writer.offset == PART + MIB
        assert writer.suspend() == state
        assert_fails_soon(lambda: list(reader))
        assert_fails_soon(driver.check)
        assert_fails_soon(lambda: driver.size(finished))
        assert_fails_soon(lambda: driver.delete([finished]))
        server.start()
        assert_holds(driver, finished, NOISE[: 2 * PART])
        writer = driver.open_writer(key, PART + MIB, state)
        write(writer, NOISE[PART + MIB : 2 * PART])
        assert writer.finish() == 2 * PART
        assert_holds(driver, key, NOISE[: 2 * PART])
    finally:
        server.kill()


def assert_fails_soon(call: Callable[[], object]) -> None:
    begun = time.monotonic()
    with pytest.raises(StorageUnavailable):
        call()
    assert time.monotonic() - begun < 30
