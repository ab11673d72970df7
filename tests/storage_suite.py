"""The contract of registry_core.storage.driver as tests: every driver passes all of them (style.md, habit 6).

A subclass gives the fixture `driver`: an empty store. States travel as JSON, as they do through the Upload
row.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import random
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry_core.storage import paths
from registry_core.storage.driver import (
    Driver,
    KeyMissing,
    ObjectDamaged,
    StorageError,
    StorageUnavailable,
    Writer,
    WriterState,
)
from registry_core.storage.paths import new_key

MIB = 1024 * 1024
PART = 8 * MIB  # design §3: the part size of an S3 upload
NOISE = random.Random(1).randbytes(4 * PART)
OTHER_NOISE = random.Random(2).randbytes(4 * PART)
# Not one of them can be a key: each would leave the root, name a directory, or be read differently by some
# store.
NO_KEYS = [
    "",
    "/",
    "/etc/passwd",
    "../up",
    "objects/../../up",
    "objects//a",
    "objects/a/",
    "./a",
    "a/./b",
    ".check",
]
NO_KEYS += ["a\0b", "a\nb", "a b", "a%2fb", "a\\b", "ä", "a" * 201]


def sha256(pieces: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


def listed(driver: Driver) -> dict[str, int]:
    return dict(driver.keys())


def write(writer: Writer, data: bytes, piece: int = MIB) -> None:
    for at in range(0, len(data), piece):
        writer.write(data[at : at + piece])


def store(driver: Driver, data: bytes, key: str = "", *, piece: int = MIB) -> str:
    """One request that brings everything."""
    key = key or new_key()
    writer = driver.open_writer(key)
    write(writer, data, piece)
    assert writer.finish() == len(data)
    return key


def patch(
    driver: Driver, key: str, data: bytes, offset: int = 0, state: WriterState | None = None
) -> WriterState:
    """One request of several; the state that its row would keep."""
    writer = driver.open_writer(key, offset, state)
    assert writer.offset == offset
    write(writer, data)
    kept: WriterState = json.loads(json.dumps(writer.suspend()))
    assert writer.offset == offset + len(data)
    return kept


def assert_holds(driver: Driver, key: str, data: bytes) -> None:
    """Digest and size at first: a difference in megabytes is not worth printing."""
    assert driver.size(key) == len(data)
    assert sha256(driver.read(key)) == sha256([data])


class StorageDriverSuite:
    examples = 100  # of each property

    # -- round trips

    @pytest.mark.parametrize("size", [0, 1, 5 * MIB, PART - 1, PART, PART + 1, 3 * PART + 12_345])
    def test_what_was_written_is_read(self, driver: Driver, size: int) -> None:
        key = store(driver, NOISE[:size])
        assert_holds(driver, key, NOISE[:size])
        assert list(driver.keys()) == [(key, size)]

    @pytest.mark.parametrize("piece", [1, 1000, 65_536, MIB - 1, MIB, MIB + 1, 3 * MIB])
    def test_the_size_of_the_pieces_does_not_matter(self, driver: Driver, piece: int) -> None:
        data = NOISE[: min(piece * 2500, PART + 77)]
        assert_holds(driver, store(driver, data, piece=piece), data)

    def test_a_buffer_may_be_used_again(self, driver: Driver) -> None:
        key = new_key()
        writer = driver.open_writer(key)
        for size in (10, 70_000, 2 * MIB):
            buffer = bytearray(NOISE[:size])
            writer.write(buffer)
            buffer[:] = bytes(size)
            buffer.clear()
        writer.write(memoryview(NOISE)[5:15])
        assert writer.finish() == 10 + 70_000 + 2 * MIB + 10
        assert_holds(driver, key, NOISE[:10] + NOISE[:70_000] + NOISE[: 2 * MIB] + NOISE[5:15])

    def test_many_threads_share_a_driver(self, driver: Driver) -> None:
        sizes = [PART + 1, 0, 1, 100_000, MIB, 5 * MIB + 1, 17, 2 * MIB]
        with ThreadPoolExecutor(8) as pool:
            keys = list(pool.map(lambda size: store(driver, NOISE[size : 2 * size]), sizes))
        for key, size in zip(keys, sizes, strict=True):
            assert_holds(driver, key, NOISE[size : 2 * size])

    # -- uploads of several requests

    @pytest.mark.parametrize(
        "sizes",
        [
            [3 * MIB + 7] * 5,  # each below the 5 MiB that S3 asks of a part
            [1] * 12,
            [PART, PART, 1],
            [PART - 1, 2, PART],
            [6 * MIB, 6 * MIB, 6 * MIB],
            [0, 10, 0, PART, 0],
            [2 * PART + 5 * MIB - 1, 1, 5 * MIB],
        ],
    )
    def test_an_upload_of_several_requests(self, driver: Driver, sizes: list[int]) -> None:
        key, offset = new_key(), 0
        state: WriterState = {}
        for size in sizes:
            state = patch(driver, key, NOISE[offset : offset + size], offset, state)
            offset += size
        assert driver.open_writer(key, offset, state).finish() == sum(sizes)
        assert_holds(driver, key, NOISE[:offset])
        assert list(driver.keys()) == [(key, offset)]

    def test_any_chunking_gives_the_same_bytes(self, driver: Driver) -> None:
        sizes = st.one_of(
            st.integers(0, 3000), st.sampled_from([MIB, 5 * MIB, PART]), st.integers(0, 9 * MIB)
        )
        requests = st.lists(st.lists(sizes, max_size=3), min_size=1, max_size=4)

        @settings(max_examples=self.examples, deadline=None, database=None)
        @given(requests)
        def check(chunks: list[list[int]]) -> None:
            source = itertools.cycle([NOISE, OTHER_NOISE])
            key, sent = new_key(), b""
            state: WriterState = {}
            for request in chunks:
                writer = driver.open_writer(key, len(sent), state)
                for size in request:
                    data = next(source)[:size]
                    writer.write(data)
                    sent += data
                    assert writer.offset == len(sent)
                state = json.loads(json.dumps(writer.suspend()))
            assert driver.open_writer(key, len(sent), state).finish() == len(sent)
            assert sha256(driver.read(key)) == sha256([sent])
            assert {name: size for name, size in listed(driver).items() if key in name} == {key: len(sent)}
            assert driver.delete([key]) == {key}

        check()

    @pytest.mark.parametrize("kept", [0, 2 * MIB, PART, 2 * PART + MIB])
    @pytest.mark.parametrize("lost", [1, PART + 6 * MIB])
    def test_a_request_that_was_not_recorded_is_dropped(self, driver: Driver, kept: int, lost: int) -> None:
        """It may have come to its last call before the process died; the client may send other bytes now."""
        key = new_key()
        state = patch(driver, key, NOISE[:kept])
        patch(driver, key, OTHER_NOISE[:lost], kept, state)
        state = patch(driver, key, NOISE[kept : kept + 5], kept, state)
        patch(driver, key, OTHER_NOISE[:lost], kept + 5, state)
        assert driver.open_writer(key, kept + 5, state).finish() == kept + 5
        assert_holds(driver, key, NOISE[: kept + 5])
        # What only the dead request knew of may stay, is listed, and goes without harm to the object.
        left = [name for name in listed(driver) if name != key]
        assert {paths.owner(name) for name in left} <= {key}
        assert driver.delete(left) == set(left)
        assert list(driver.keys()) == [(key, kept + 5)]
        assert_holds(driver, key, NOISE[: kept + 5])

    @pytest.mark.parametrize("size", [0, 1, MIB, PART, 2 * PART + 3])
    def test_finishing_may_be_repeated(self, driver: Driver, size: int) -> None:
        """The process died after `finish` and before its commit: the client sends the closing PUT again."""
        key = new_key()
        state = patch(driver, key, NOISE[:size])
        driver.open_writer(key, size, state).finish()
        assert driver.open_writer(key, size, state).finish() == size
        assert_holds(driver, key, NOISE[:size])

    @pytest.mark.parametrize("kept", [0, MIB])
    def test_a_closing_body_may_be_repeated(self, driver: Driver, kept: int) -> None:
        key = new_key()
        state = patch(driver, key, NOISE[:kept])
        for _ in range(2):
            writer = driver.open_writer(key, kept, state)
            writer.write(NOISE[kept : 2 * MIB])
            assert writer.finish() == 2 * MIB
        assert_holds(driver, key, NOISE[: 2 * MIB])

    # -- written once: a request that lost its lease without knowing goes on after its successor has finished

    @pytest.mark.parametrize("size", [0, 10, PART + 10])
    @pytest.mark.parametrize("late", [0, 10, PART + 10])
    @pytest.mark.parametrize("end", ["suspend", "finish", "abandon", "close"])
    def test_a_finished_object_never_changes(self, driver: Driver, size: int, late: int, end: str) -> None:
        key = store(driver, NOISE[:size])
        with contextlib.suppress(StorageError):
            writer = driver.open_writer(key)
            try:
                write(writer, OTHER_NOISE[:late])
                result = getattr(writer, end)()
                assert end != "finish" or (size, late, result) == (0, 0, 0)
            finally:
                writer.close()
        assert_holds(driver, key, NOISE[:size])

    @pytest.mark.parametrize("kept", [0, 10, PART + 10])
    @pytest.mark.parametrize("late", [10, PART + 10])
    @pytest.mark.parametrize("end", ["suspend", "finish", "abandon", "close"])
    def test_nor_by_a_writer_opened_before(self, driver: Driver, kept: int, late: int, end: str) -> None:
        key = new_key()
        state = patch(driver, key, NOISE[:kept])
        late_writer = driver.open_writer(key, kept, state)
        write(late_writer, OTHER_NOISE[:late])
        try:
            writer = driver.open_writer(key, kept, state)
        except StorageUnavailable:  # a store that lets in one at a time
            late_writer.close()
            writer = driver.open_writer(key, kept, state)
        write(writer, NOISE[kept : kept + 100])
        assert writer.finish() == kept + 100
        with contextlib.suppress(StorageError):
            getattr(late_writer, end)()
        late_writer.close()
        assert_holds(driver, key, NOISE[: kept + 100])

    def test_closing_drops_what_one_request_wrote(self, driver: Driver) -> None:
        key = new_key()
        state = patch(driver, key, NOISE[:1000])
        for size in (10, PART + 10):
            writer = driver.open_writer(key, 1000, state)
            write(writer, OTHER_NOISE[:size])
            writer.close()
            writer.close()
        writer = driver.open_writer(key, 1000, state)
        assert writer.finish() == 1000
        assert_holds(driver, key, NOISE[:1000])

    def test_bytes_beyond_the_offset_are_dropped(self, driver: Driver) -> None:
        key = new_key()
        state = patch(driver, key, NOISE[:1000])
        writer = driver.open_writer(key, 400, state)
        assert writer.offset == 400
        writer.write(b"end")
        assert writer.finish() == 403
        assert_holds(driver, key, NOISE[:400] + b"end")

    def test_an_upload_begins_anew_at_zero(self, driver: Driver) -> None:
        key = new_key()
        state = patch(driver, key, NOISE[: PART + 10])
        writer = driver.open_writer(key, 0, state)
        writer.write(b"short")
        assert writer.finish() == 5
        assert_holds(driver, key, b"short")
        assert list(driver.keys()) == [(key, 5)]

    def test_what_was_never_kept_cannot_be_resumed(self, driver: Driver) -> None:
        with pytest.raises(ObjectDamaged):
            driver.open_writer(new_key(), 10, {})
        key = new_key()
        state = patch(driver, key, NOISE[:100])
        with pytest.raises(ObjectDamaged):
            driver.open_writer(key, 101, state)

    @pytest.mark.parametrize("size", [10, PART + 10])
    def test_what_is_gone_cannot_be_resumed(self, driver: Driver, size: int) -> None:
        key = new_key()
        state = patch(driver, key, NOISE[:size])
        driver.delete([key], {key: state})
        with pytest.raises(ObjectDamaged):
            driver.open_writer(key, size, state)
        assert driver.open_writer(key).finish() == 0

    # -- the end of an upload or object

    @pytest.mark.parametrize("size", [0, 10, PART + 10, 3 * PART])
    def test_abandoning_leaves_nothing(self, driver: Driver, size: int) -> None:
        writer = driver.open_writer(new_key())
        write(writer, NOISE[:size])
        writer.abandon()
        assert list(driver.keys()) == []

    @pytest.mark.parametrize("size", [0, 10, PART + 10])
    def test_abandoning_a_resumed_upload_leaves_nothing(self, driver: Driver, size: int) -> None:
        key = new_key()
        state = patch(driver, key, NOISE[:size])
        writer = driver.open_writer(key, size, state)
        write(writer, NOISE[:size])
        writer.abandon()
        assert list(driver.keys()) == []
        with pytest.raises(KeyMissing):
            driver.size(key)

    def test_abandoning_after_the_finish_removes_the_object(self, driver: Driver) -> None:
        key = new_key()
        writer = driver.open_writer(key)
        write(writer, NOISE[: PART + 1])
        writer.finish()
        writer.abandon()
        assert list(driver.keys()) == []

    def test_delete_confirms_each_key(self, driver: Driver) -> None:
        kept, first, second, absent = (
            store(driver, b"kept"),
            store(driver, b"1"),
            store(driver, b"2"),
            new_key(),
        )
        assert driver.delete([first, second, absent]) == {first, second, absent}
        assert driver.delete([first, second, absent]) == {first, second, absent}
        assert list(driver.keys()) == [(kept, 4)]
        assert driver.delete([]) == set()

    @pytest.mark.parametrize("sizes", [[10], [PART + 10], [PART + MIB, PART + MIB, MIB]])
    @pytest.mark.parametrize("recorded", [True, False])
    def test_delete_ends_an_upload(self, driver: Driver, sizes: list[int], recorded: bool) -> None:
        """Also when its last state was not recorded, or is not given."""
        key, offset = new_key(), 0
        state: WriterState = {}
        for number, size in enumerate(sizes, 1):
            new = patch(driver, key, NOISE[offset : offset + size], offset, state)
            if recorded or number < len(sizes):
                state, offset = new, offset + size
        assert {paths.owner(name) for name in listed(driver)} == {key}
        assert driver.delete([key], {key: state} if recorded else {}) == {key}
        assert list(driver.keys()) == []

    def test_what_is_listed_can_be_deleted(self, driver: Driver) -> None:
        """`scrub` deletes what no row knows, by the names of the list."""
        finished = store(driver, NOISE[: PART + 1])
        patch(driver, new_key(), NOISE[: 2 * PART + MIB])
        patch(driver, new_key(), NOISE[:MIB])
        orphans = [name for name in listed(driver) if paths.owner(name) != finished]
        assert orphans
        assert driver.delete(orphans) == set(orphans)
        assert list(driver.keys()) == [(finished, PART + 1)]

    def test_delete_takes_any_number_of_keys(self, driver: Driver) -> None:
        keys = sorted(new_key() for _ in range(1105))  # S3 takes 1,000 in a call
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda key: store(driver, b"x", key), keys))
        assert list(driver.keys()) == [(key, 1) for key in keys]
        assert driver.delete(keys[:-1]) == set(keys[:-1])
        assert list(driver.keys()) == [(keys[-1], 1)]

    # -- reading

    def test_a_missing_key_is_reported_at_the_call(self, driver: Driver) -> None:
        key = new_key()
        with pytest.raises(KeyMissing):
            driver.size(key)
        with pytest.raises(KeyMissing):
            driver.read(key)
        with pytest.raises(KeyMissing):
            driver.read(key, 5, 0)
        with pytest.raises(KeyMissing):
            driver.read(key, 5, 10)

    @pytest.mark.parametrize(
        ("start", "length", "expected"),
        [
            (0, None, slice(0, None)),
            (0, 1, slice(0, 1)),
            (0, 0, slice(0, 0)),
            (1, None, slice(1, None)),
            (255_999, 700_001, slice(255_999, 956_000)),
            (2 * MIB - 1, 1, slice(2 * MIB - 1, 2 * MIB)),
            (2 * MIB - 1, 100, slice(2 * MIB - 1, 2 * MIB)),
            (2 * MIB, None, slice(0, 0)),
            (2 * MIB, 10, slice(0, 0)),
            (9 * MIB, 10, slice(0, 0)),
            (0, 9 * MIB, slice(0, 2 * MIB)),
        ],
    )
    def test_a_range_is_read(self, driver: Driver, start: int, length: int | None, expected: slice) -> None:
        data = NOISE[: 2 * MIB]
        pieces = list(driver.read(store(driver, data), start, length))
        assert b"".join(pieces) == data[expected]
        assert all(0 < len(piece) <= MIB for piece in pieces)
        assert all(len(piece) >= 65_536 for piece in pieces[:-1])

    def test_a_range_of_nothing_is_nothing(self, driver: Driver) -> None:
        key = store(driver, b"")
        assert list(driver.read(key)) == []
        assert list(driver.read(key, 0, 10)) == []
        assert list(driver.read(key, 3)) == []

    def test_reading_may_be_given_up(self, driver: Driver) -> None:
        key = store(driver, NOISE[: 3 * MIB])
        pieces = driver.read(key)
        assert next(pieces) == NOISE[: len(next(driver.read(key)))]
        pieces.close()
        driver.read(key).close()
        assert_holds(driver, key, NOISE[: 3 * MIB])

    # -- the store as a whole

    def test_the_list_is_sorted_and_exact(self, driver: Driver) -> None:
        written = {store(driver, NOISE[:size]): size for size in (0, 1, 70_000, 2, 3, 4)}
        assert list(driver.keys()) == sorted(written.items())

    def test_the_list_says_whose_the_bytes_of_an_upload_are(self, driver: Driver) -> None:
        key = new_key()
        patch(driver, key, NOISE[: 2 * PART + MIB])
        found = list(driver.keys())
        assert {paths.owner(name) for name, _ in found} == {key}
        assert sum(size for _, size in found) == 2 * PART + MIB

    def test_it_can_be_used(self, driver: Driver) -> None:
        driver.check()
        assert list(driver.keys()) == []

    @pytest.mark.parametrize("name", NO_KEYS)
    def test_it_refuses_what_is_no_key(self, driver: Driver, name: str) -> None:
        for call in (driver.open_writer, driver.size, driver.read, driver.local_path):
            with pytest.raises(ValueError, match="is not a storage key"):
                call(name)
        with pytest.raises(ValueError, match="is not a storage key"):
            driver.presigned_url(name, seconds=1, content_type="text/plain")
        with pytest.raises(ValueError, match="is not a storage key"):
            driver.delete([new_key(), name])
