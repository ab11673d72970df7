"""Small blobs in memory: given while their file stands as it was, and in bounded room."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable, Iterator

import pytest

from registry_core.lookups import StoredBlob
from registry_core.oci import small_blobs
from tests.components.availability import require
from tests.content import digest_of

DATA = b"0123456789" * 100


@pytest.fixture(autouse=True)
def nothing_kept() -> Iterator[None]:
    forget()
    yield
    forget()


def forget() -> None:
    for key in list(small_blobs._kept):
        small_blobs._drop(key)
    assert small_blobs._bytes == 0


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    (tmp_path / "probe").write_bytes(b"x")
    with (tmp_path / "probe").open("rb") as probe:
        try:
            os.preadv(probe.fileno(), [bytearray(1)], 0, os.RWF_NOWAIT)
            can_say = True
        except OSError:
            can_say = False
    require("a file system that says what the kernel holds", found=can_say, install="nothing: no tmpfs as TMPDIR")
    return tmp_path / "blob"


def keep(path: pathlib.Path, data: bytes = DATA, *, key: str = "k", digest: str = "") -> bytes | None:
    path.write_bytes(data)
    blob = StoredBlob(digest or digest_of(data), key, len(data), is_missing=False, is_held=True, lease_left=0)
    with path.open("rb") as file:
        small_blobs.keep(blob, str(path), file.fileno(), os.fstat(file.fileno()))
    return small_blobs.find(key)


def test_what_was_read_is_given_again(path: pathlib.Path) -> None:
    assert small_blobs.find("k") is None
    assert keep(path) == DATA
    assert small_blobs.find("k") == DATA


def replace(path: pathlib.Path) -> None:
    path.with_name("new").write_bytes(DATA)
    path.with_name("new").rename(path)


def link(path: pathlib.Path) -> None:
    path.rename(path.with_name("moved"))
    path.symlink_to("moved")


def rot(path: pathlib.Path) -> None:
    """The same length, and the times of before."""
    status = path.stat()
    path.write_bytes(DATA[::-1])
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize(
    "change",
    [
        pathlib.Path.unlink,
        lambda path: os.truncate(path, 10),
        lambda path: path.chmod(0),
        replace,
        link,
        rot,
    ],
    ids=["removed", "cut short", "locked away", "exchanged", "a link", "rotten"],
)
def test_a_file_that_changed_ends_it(path: pathlib.Path, change: Callable[[pathlib.Path], None]) -> None:
    assert keep(path) == DATA
    change(path)
    assert small_blobs.find("k") is None
    assert small_blobs._bytes == 0


def test_what_nobody_asks_for_between_two_calls_is_forgotten(path: pathlib.Path) -> None:
    assert keep(path) == DATA
    assert keep(path.with_name("other"), key="other") == DATA
    small_blobs.forget_unused()
    assert small_blobs.find("k") == DATA
    assert small_blobs.find("other") == DATA
    small_blobs.forget_unused()
    assert small_blobs.find("k") == DATA
    small_blobs.forget_unused()
    assert small_blobs.find("k") == DATA
    assert small_blobs.find("other") is None
    for _ in range(2):
        small_blobs.forget_unused()
    assert small_blobs.find("k") is None


def test_bytes_that_are_not_the_digests_are_not_kept(path: pathlib.Path) -> None:
    assert keep(path, digest=digest_of(b"other")) is None


def test_only_small_ones_are_kept(path: pathlib.Path) -> None:
    assert keep(path, b"x" * small_blobs.LARGEST, key="a") is not None
    assert keep(path, b"x" * (small_blobs.LARGEST + 1), key="b") is None
    assert keep(path, b"", key="c") is None


def test_the_room_is_bounded(path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By bytes; who was not asked for the longest goes first."""
    monkeypatch.setattr(small_blobs, "MAX_BYTES", 3 * (len(DATA) + small_blobs._OVERHEAD))
    files = [path.with_name(f"{i}") for i in range(4)]
    for i, file in enumerate(files[:3]):
        assert keep(file, key=str(i)) == DATA
    assert small_blobs.find("0") == DATA
    assert keep(files[3], key="3") == DATA
    assert [small_blobs.find(str(i)) is not None for i in range(4)] == [True, False, True, True]
    assert small_blobs._bytes == small_blobs.MAX_BYTES
