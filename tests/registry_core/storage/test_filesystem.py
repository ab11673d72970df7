"""Files: the common suite, and what only files can show: the order of fsyncs, full disks, short and foreign
files."""

from __future__ import annotations

import errno
import json
import os
import pathlib
import re
import resource
import stat
import subprocess
import sys
from collections.abc import Iterator

import pytest

from registry_core.storage.driver import Driver, KeyMissing, ObjectDamaged, StorageUnavailable, open_driver
from registry_core.storage.paths import new_key
from tests.components.availability import require, require_program
from tests.storage_suite import MIB, NOISE, StorageDriverSuite, assert_holds, listed, patch, store, write


class TestFilesystemDriver(StorageDriverSuite):
    @pytest.fixture
    def driver(self, tmp_path: pathlib.Path) -> Driver:
        driver = open_driver(f"file://{tmp_path}/storage")
        driver.check()
        return driver

    def test_its_files_may_be_sent_by_the_web_server(self, driver: Driver, tmp_path: pathlib.Path) -> None:
        key = store(driver, b"x")
        assert (driver.name, driver.minimum_chunk) == ("filesystem", None)
        assert driver.local_path(key) == f"{tmp_path}/storage/{key}"
        assert pathlib.Path(driver.local_path(key) or "").read_bytes() == b"x"
        assert driver.presigned_url(key, seconds=60, content_type="text/plain") is None

    def test_only_owner_and_group_read(self, driver: Driver) -> None:
        path = pathlib.Path(driver.local_path(store(driver, b"x")) or "")
        assert stat.S_IMODE(path.stat().st_mode) & 0o137 == 0
        assert stat.S_IMODE(path.parent.stat().st_mode) & 0o027 == 0

    def test_an_object_has_its_name_from_the_first_byte(self, driver: Driver) -> None:
        key = new_key()
        writer = driver.open_writer(key)
        assert list(driver.keys()) == [(key, 0)]
        writer.write(bytes(MIB))
        assert list(driver.keys()) == [(key, MIB)]
        writer.finish()

    def test_only_one_request_writes(self, driver: Driver) -> None:
        """The row's lease says who; this holds when it was lost and nobody noticed."""
        key = new_key()
        first = driver.open_writer(key)
        first.write(NOISE[: 2 * MIB])
        with pytest.raises(StorageUnavailable):
            driver.open_writer(key)
        del first  # as a cancelled request would
        assert driver.size(key) == 0
        driver.open_writer(key).abandon()

    def test_an_upload_removed_meanwhile_is_not_acknowledged(self, driver: Driver) -> None:
        key = new_key()
        writer = driver.open_writer(key)
        writer.write(NOISE[: 2 * MIB])
        driver.delete([key])
        with pytest.raises(ObjectDamaged):
            writer.finish()
        writer.close()

    def test_directories_stay(self, driver: Driver) -> None:
        path = pathlib.Path(driver.local_path(store(driver, b"x")) or "")
        driver.delete(list(listed(driver)))
        assert path.parent.is_dir()

    def test_no_descriptor_stays_open(self, driver: Driver) -> None:
        before = os.listdir("/proc/self/fd")
        key = store(driver, NOISE[: 2 * MIB])
        state = patch(driver, new_key(), b"x")
        driver.open_writer(new_key()).abandon()
        with pytest.raises(ObjectDamaged):
            driver.open_writer(key, 3 * MIB, state)
        for reader in (driver.read(key), driver.read(key)):
            next(reader)
            del reader
        assert os.listdir("/proc/self/fd") == before

    def test_the_list_is_in_the_order_of_the_keys(self, driver: Driver) -> None:
        keys = ["b-c", "b.c", "b/c", "b/d/e", "b0", "bb"]
        for key in reversed(keys):
            store(driver, b"x", key)
        assert list(listed(driver)) == keys == sorted(keys)

    def test_what_is_no_key_is_not_ours(self, driver: Driver, tmp_path: pathlib.Path) -> None:
        root = tmp_path / "storage"
        (root / "lost+found").mkdir()
        (root / "lost+found" / "x").touch()
        (root / ".nfs0001").touch()
        key = store(driver, b"x")
        assert list(driver.keys()) == [(key, 1)]


# -- files that are not as they were left


@pytest.fixture
def driver(tmp_path: pathlib.Path) -> Driver:
    driver = open_driver(f"file://{tmp_path}/storage")
    driver.check()
    return driver


def test_a_file_shorter_than_what_was_kept_is_damaged(driver: Driver) -> None:
    key = new_key()
    state = patch(driver, key, NOISE[:1000])
    os.truncate(driver.local_path(key) or "", 999)
    with pytest.raises(ObjectDamaged):
        driver.open_writer(key, 1000, state)
    assert driver.size(key) == 999


def test_a_file_that_shrinks_under_the_writer_is_damaged(driver: Driver) -> None:
    key = new_key()
    writer = driver.open_writer(key)
    writer.write(NOISE[: 2 * MIB])
    os.truncate(driver.local_path(key) or "", 10)
    with pytest.raises(ObjectDamaged):
        writer.finish()
    writer.abandon()


def test_a_directory_is_no_object(driver: Driver) -> None:
    key = store(driver, b"x")
    with pytest.raises(KeyMissing):
        driver.size(key.rpartition("/")[0])
    with pytest.raises(KeyMissing):
        driver.size(f"{key}/below")
    with pytest.raises(KeyMissing):
        driver.read(key.rpartition("/")[0])
    assert driver.delete([key.rpartition("/")[0], key]) == {key}


def test_nothing_is_missing_or_gone_while_the_root_is_away(tmp_path: pathlib.Path, driver: Driver) -> None:
    """A volume that is not mounted must not make the collector or scrub believe that its objects are gone."""
    key = store(driver, b"x")
    (tmp_path / "storage").rename(tmp_path / "elsewhere")
    for ask in (driver.size, driver.read, lambda key: driver.delete([key]), lambda _: driver.keys()):
        with pytest.raises(StorageUnavailable, match="does not exist"):
            ask(key)
    (tmp_path / "elsewhere").rename(tmp_path / "storage")
    assert_holds(driver, key, b"x")


def test_check_makes_the_directory(tmp_path: pathlib.Path) -> None:
    driver = open_driver(f"file://{tmp_path}/a/b")
    assert not (tmp_path / "a").exists()
    driver.check()
    assert (tmp_path / "a" / "b").is_dir()
    assert list(driver.keys()) == []


def test_check_says_what_is_wrong(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        StorageUnavailable, match=r"The storage directory .*/file/storage cannot be written: Not a"
    ):
        open_driver(f"file://{tmp_path}/file/storage").check()


@pytest.mark.parametrize(
    "url",
    [
        "file://",
        "file:///",
        "file://host/path",
        "file:///a?b=c",
        "file:///a#b",
        "file:///%00",
        "storage",
        "ftp://a/b",
        "",
    ],
)
def test_a_wrong_url_is_one_sentence(url: str) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]+\.$"):
        open_driver(url)


# -- full disks


def test_a_file_that_grows_too_large(driver: Driver) -> None:
    key = new_key()
    writer = driver.open_writer(key)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3 * MIB // 2, before[1]))
    try:
        write(writer, NOISE[:MIB])
        with pytest.raises(StorageUnavailable) as caught:
            write(writer, NOISE[MIB : 3 * MIB])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.full
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == errno.EFBIG
    assert_resumes_at(driver, key, writer.offset, writer.suspend(), expected=3 * MIB // 2)


@pytest.fixture
def tiny_disk(tmp_path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A file system with room for 3 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m,nr_inodes=64", "tmpfs", disk],
        check=False,
        capture_output=True,
    )
    require(
        "a tmpfs of its own",
        found=mounted.returncode == 0,
        install="nothing, and run as root: mount needs it",
    )
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


def test_a_full_disk(tiny_disk: pathlib.Path) -> None:
    driver = open_driver(f"file://{tiny_disk}/storage")
    other = store(driver, NOISE[:MIB])
    key = new_key()
    writer = driver.open_writer(key)
    with pytest.raises(StorageUnavailable) as caught:
        write(writer, NOISE[: 4 * MIB], piece=100_000)
    assert caught.value.full
    kept = writer.offset
    assert MIB < kept <= 2 * MIB
    state = writer.suspend()
    with pytest.raises(StorageUnavailable) as caught:
        store(driver, b"more")
    assert caught.value.full
    assert_holds(driver, other, NOISE[:MIB])
    assert driver.delete([other]) == {other}
    assert_resumes_at(driver, key, kept, state, expected=kept)


def test_a_disk_without_inodes(tiny_disk: pathlib.Path) -> None:
    driver = open_driver(f"file://{tiny_disk}/storage")
    driver.check()
    with pytest.raises(StorageUnavailable) as caught:  # noqa: PT012  (which of them is the first is of no interest)
        for _ in range(64):
            store(driver, b"")
    assert caught.value.full
    driver.check()


def assert_resumes_at(
    driver: Driver, key: str, offset: int, state: dict[str, object], *, expected: int
) -> None:
    assert (offset, driver.size(key)) == (expected, expected)
    writer = driver.open_writer(key, offset, state)
    writer.write(NOISE[offset : offset + 500_000])
    assert writer.finish() == offset + 500_000
    assert_holds(driver, key, NOISE[: offset + 500_000])


# -- durability: the calls themselves are looked at, from outside the process or below the driver

UPLOAD = """
import os, sys
from registry_core.storage.driver import open_driver

driver = open_driver(sys.argv[1])
def upload(key):
    writer = driver.open_writer(key)
    writer.write(b"a" * 70_000)
    state = writer.suspend()
    writer = driver.open_writer(key, 70_000, state)
    writer.write(b"b" * 3_000_000)
    writer.write(b"c")
    assert writer.finish() == 3_070_001
for key in sys.argv[2:]:
    upload(key)
"""
# Below the driver, where no strace may be used: what it asks of the kernel is done and written down.
RECORDER = """
import json, os
def recorded(name, call):
    def record(descriptor, *rest):
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        result = call(descriptor, *rest)
        print(json.dumps([name, path]), flush=True)
        return result
    return record
os.fsync = recorded("fsync", os.fsync)
os.fchmod = recorded("fchmod", os.fchmod)
os.pwrite = recorded("write", os.pwrite)
"""
_CALL = re.compile(r"^(?:\d+ +)?(fsync|fchmod|pwrite64)\(\d+<([^>]+)>.*= \d+$")


def calls_of_an_upload(tracer: str, root: pathlib.Path, *keys: str) -> list[tuple[str, str]]:
    """(call, path) in the order of the calls; several writes of one file in a row are one."""
    script = [f"file://{root}", *keys]
    if tracer == "strace":
        strace = require_program("strace", package="strace")
        run = [strace, "-f", "-y", "-e", "trace=fsync,fchmod,pwrite64", sys.executable, "-c", UPLOAD, *script]
        lines = subprocess.run(run, check=True, capture_output=True, text=True).stderr.splitlines()
        found = [match.groups() for line in lines if (match := _CALL.match(line))]
    else:
        run = [sys.executable, "-c", RECORDER + UPLOAD, *script]
        lines = subprocess.run(run, check=True, capture_output=True, text=True).stdout.splitlines()
        found = [tuple(json.loads(line)) for line in lines]
    calls = [("write" if name == "pwrite64" else name, path) for name, path in found]
    return [
        call
        for before, call in zip([None, *calls], calls, strict=False)
        if call != before or call[0] == "fsync"
    ]


@pytest.mark.parametrize("tracer", ["strace", "recorder"])
def test_a_file_is_synced_then_its_directory_then_what_was_made_for_it(
    tracer: str, tmp_path: pathlib.Path
) -> None:
    key = "objects/ab/cd/one"
    root = str(tmp_path / "storage")
    assert calls_of_an_upload(tracer, tmp_path / "storage", key) == [
        ("fsync", str(tmp_path)),  # the root was made, before anything lay in it
        ("write", f"{root}/{key}"),
        ("fsync", f"{root}/{key}"),
        ("fsync", f"{root}/objects/ab/cd"),
        ("fsync", f"{root}/objects/ab"),
        ("fsync", f"{root}/objects"),
        ("fsync", root),
        ("fchmod", f"{root}/{key}"),  # complete, which says that all of it is durable
    ]


@pytest.mark.parametrize("tracer", ["strace", "recorder"])
def test_later_files_cost_two_syncs(tracer: str, tmp_path: pathlib.Path) -> None:
    """Directories that were made long ago, by whomever, are synced once by a process and not again."""
    directory = tmp_path / "objects" / "ab" / "cd"
    directory.mkdir(parents=True)
    above = [tmp_path / "objects" / "ab", tmp_path / "objects", tmp_path]
    for path in above:
        os.utime(path, (1_700_000_000, 1_700_000_000))
    first, second = "objects/ab/cd/one", "objects/ab/cd/two"
    assert calls_of_an_upload(tracer, tmp_path, first, second) == [
        ("write", f"{tmp_path}/{first}"),
        ("fsync", f"{tmp_path}/{first}"),
        ("fsync", str(directory)),
        *(("fsync", str(path)) for path in above),
        ("fchmod", f"{tmp_path}/{first}"),
        ("write", f"{tmp_path}/{second}"),
        ("fsync", f"{tmp_path}/{second}"),
        ("fsync", str(directory)),
        ("fchmod", f"{tmp_path}/{second}"),
    ]


def test_while_directories_are_young_each_file_syncs_them(tmp_path: pathlib.Path) -> None:
    """Another process could make one within the same tick of the clock that stamps their parents."""
    calls = calls_of_an_upload("recorder", tmp_path, "objects/ab/cd/one", "objects/ab/cd/two")
    second = calls[calls.index(("write", f"{tmp_path}/objects/ab/cd/two")) :]
    assert ("fsync", f"{tmp_path}/objects/ab") in second
    assert ("fsync", f"{tmp_path}/objects") in second


def test_a_directory_that_another_process_made_is_synced_too(tmp_path: pathlib.Path) -> None:
    """It may have been killed before it could: the mtime of the parent tells."""
    directory = tmp_path / "objects" / "ab" / "cd"
    directory.mkdir(parents=True)
    os.utime(tmp_path, (1_700_000_000, 1_700_000_000))
    key = "objects/ab/cd/one"
    assert calls_of_an_upload("recorder", tmp_path, key)[1:] == [
        ("fsync", f"{tmp_path}/{key}"),
        ("fsync", str(directory)),
        ("fsync", str(directory.parent)),
        ("fsync", str(directory.parent.parent)),
        ("fsync", str(tmp_path)),
        ("fchmod", f"{tmp_path}/{key}"),
    ]


FAILING_SYNC = """
import errno, os, sys
from registry_core.storage.driver import ObjectDamaged, StorageUnavailable, open_driver

def fails(descriptor):
    raise OSError(errno.EIO, os.strerror(errno.EIO))

driver = open_driver(sys.argv[1])
writer = driver.open_writer("objects/one")
writer.write(b"a" * 2_000_000)
works, os.fsync = os.fsync, fails
try:
    writer.finish()
except StorageUnavailable as error:
    print(error.full, writer.offset, writer.suspend(), error)
os.fsync = works
try:
    driver.open_writer("objects/one", 2_000_000)
except ObjectDamaged:
    print("damaged")
"""


def test_after_a_failed_fsync_nothing_is_trusted(tmp_path: pathlib.Path) -> None:
    """The next fsync may succeed though the pages are lost: a second try must not acknowledge them."""
    run = subprocess.run(
        [sys.executable, "-c", FAILING_SYNC, f"file://{tmp_path}"], check=True, capture_output=True, text=True
    )
    assert run.stdout.splitlines() == [
        "False 0 {} The storage could not sync a file: Input/output error.",
        "damaged",
    ]
