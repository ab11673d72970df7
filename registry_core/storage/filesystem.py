"""Objects as files below one directory, written under their final name from the first byte (design §2.2,
§2.5)."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import io
import os
import stat
import time
import urllib.parse
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any

from registry_core.storage.errors import KeyMissing, NotDurable, ObjectDamaged, StorageUnavailable
from registry_core.storage.finished import FinishedWriter
from registry_core.storage.paths import check_key, is_key

_BUFFER = 1024 * 1024
_DIRECT = 64 * 1024  # to copy as much costs more than a call of the kernel
_PIECE = 64 * 1024
# The group may read: a web server that sends the files itself is made a member of it.
_FILE_MODE, _DIRECTORY_MODE = 0o640, 0o750
# Nobody writes to it again, not even root: `open_writer` looks at the mode.
_FINISHED_MODE = 0o440
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
# Begins with a dot: no key does. It stays, so that checks that were killed leave nothing behind.
_PROBE = ".check"


class FilesystemDriver:
    name = "filesystem"
    is_remote = False
    minimum_chunk: int | None = None

    def __init__(self, root: str) -> None:
        self.root = os.path.abspath(root)
        self._synced: dict[str, int] = {}

    @classmethod
    def from_url(cls, url: str) -> FilesystemDriver:
        parts = urllib.parse.urlsplit(url)
        path = urllib.parse.unquote(parts.path)
        if parts.netloc or parts.query or parts.fragment or not path.strip("/") or "\0" in path:
            raise ValueError("A storage URL for files is file:///absolute/path and nothing more.")
        return cls(path)

    def open_writer(
        self, key: str, offset: int = 0, state: dict[str, Any] | None = None
    ) -> FilesystemWriter | FinishedWriter:
        path = self._path(key)
        with _reported("open a file for writing"):
            if (size := _finished_size(path)) is not None:
                return FinishedWriter(self, key, size, offset, state)
            descriptor = self._open(path) if offset == 0 else _open_kept(path, key, offset)
            writer = FilesystemWriter(self, key, path, descriptor, offset)
            try:
                _begin(descriptor, key, offset)
            except BaseException:
                writer.close()
                raise
        return writer

    def _open(self, path: str) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC
        try:
            return os.open(path, flags, _FILE_MODE)
        except FileNotFoundError:
            self._make_root()
            _make_directory(os.path.dirname(path))
            return os.open(path, flags, _FILE_MODE)

    def size(self, key: str) -> int:
        with self._found(key) as path:
            status = os.lstat(path)
            if not stat.S_ISREG(status.st_mode):
                raise KeyMissing(key)
            return status.st_size

    def read(self, key: str, start: int = 0, length: int | None = None) -> Generator[bytes]:
        with self._found(key) as path:
            pieces = _pieces(path, start, length)
            next(pieces)  # opens the file: a missing one is reported here, and the generator closes it
        return pieces

    def local_path(self, key: str) -> str | None:
        return self._path(key)

    def presigned_url(self, key: str, *, seconds: int, content_type: str) -> str | None:
        check_key(key)
        return None

    def delete(self, keys: Sequence[str], state: Mapping[str, dict[str, Any]] = {}) -> set[str]:
        """Directories stay: one that is removed here may be the one in which another process opens a file. A
        power failure may bring a file back, without a row then: `scrub` reports it."""
        self._check_root()
        return {key for key in keys if _remove(self._path(key))}

    def keys(self) -> Iterator[tuple[str, int]]:
        self._check_root()
        return _walk(self.root, "")

    def check(self) -> None:
        try:
            self._make_root()
            probe = os.open(
                f"{self.root}/{_PROBE}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, _FILE_MODE
            )
            try:
                os.write(probe, b"a file that can be written\n")
            finally:
                os.close(probe)
        except OSError as error:
            raise StorageUnavailable(
                f"The storage directory {self.root} cannot be written: {error.strerror}.",
                full=error.errno in _FULL,
            ) from error

    def sync_entries(self, path: str) -> None:
        """Make the way to a new file durable: its directory, then those directories above that were made with
        it.

        Whoever makes a directory moves the mtime of its parent. A parent is therefore synced unless it has
        not moved since this process last did: whether this upload made the directory, an earlier request of
        it, or a process that was killed before it could sync.
        """
        directory = os.path.dirname(path)
        _sync_directory(directory)
        while directory != self.root:
            directory = os.path.dirname(directory)
            moved = os.stat(directory).st_mtime_ns
            if self._synced.get(directory) == moved:
                continue
            _sync_directory(directory)
            # Timestamps are coarse: while one is young, another entry could come under the same.
            if time.time_ns() - moved > 1_000_000_000:
                self._synced[directory] = moved

    def _path(self, key: str) -> str:
        check_key(key)  # no "..", no empty segment, no leading slash: the path stays below the root
        return f"{self.root}/{key}"

    @contextlib.contextmanager
    def _found(self, key: str) -> Iterator[str]:
        path = self._path(key)
        with _reported("read a file"):
            try:
                yield path
            except (FileNotFoundError, NotADirectoryError):
                self._check_root()
                raise KeyMissing(key) from None

    def _check_root(self) -> None:
        """A root that is not there must not make every object of it look absent, or confirmed to be gone."""
        if not os.path.isdir(self.root):
            raise StorageUnavailable(f"The storage directory {self.root} does not exist.")

    def _make_root(self) -> None:
        missing = []
        directory = self.root
        while not os.path.isdir(directory):
            missing.append(directory)
            directory = os.path.dirname(directory)
        for directory in reversed(missing):
            _make_directory(directory)
            _sync_directory(os.path.dirname(directory))


class FilesystemWriter:
    def __init__(self, driver: FilesystemDriver, key: str, path: str, descriptor: int, offset: int) -> None:
        self._driver, self._key, self._path, self._descriptor = driver, key, path, descriptor
        self._kept = self._opened = offset
        self._finished = self._suspended = False
        self._buffer = bytearray()

    @property
    def offset(self) -> int:
        return self._kept + len(self._buffer)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if len(data) >= _DIRECT:
            self._flush()
            self._put(memoryview(data).cast("B"))
            return
        self._buffer += data
        if len(self._buffer) >= _BUFFER:
            self._flush()

    def suspend(self) -> dict[str, Any]:
        self._flush()
        self._suspended = True
        self.close()
        return {}

    def finish(self) -> int:
        self._flush()
        with _reported("sync a file"):
            status = os.fstat(self._descriptor)
            if status.st_size != self._kept or not status.st_nlink:
                raise ObjectDamaged(self._key, f"its file no longer has the {self._kept} bytes written")
            try:
                os.fsync(self._descriptor)
                self._driver.sync_entries(self._path)
            except OSError as error:
                # The kernel may have dropped what it could not write, and calls the next fsync a success.
                with contextlib.suppress(OSError):
                    os.ftruncate(self._descriptor, 0)
                self._kept = 0
                raise NotDurable(
                    f"The storage could not sync a file: {error.strerror}.", full=error.errno in _FULL
                ) from error
            # Last: who finds this mode relies on the syncs. A file system without modes does without it.
            with contextlib.suppress(PermissionError):
                os.fchmod(self._descriptor, _FINISHED_MODE)
        self._finished = True
        self.close()
        return self._kept

    def abandon(self) -> None:
        # Only while it is locked, or finished by us: otherwise somebody else may have finished it.
        if self._descriptor >= 0 or self._finished:
            _remove(self._path)
        self.close()

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor < 0:
            return
        if not (self._suspended or self._finished):
            # Nobody can use these bytes, and on a full disk others need their room now.
            self._buffer.clear()
            if self._kept > self._opened:
                self._kept = self._opened
                with contextlib.suppress(OSError):
                    os.ftruncate(descriptor, self._opened)
        os.close(descriptor)

    # A request that is cancelled between two calls must not cost a descriptor, nor keep the lock.
    __del__ = close

    def _flush(self) -> None:
        buffer, self._buffer = self._buffer, bytearray()
        if buffer:
            self._put(memoryview(buffer))

    def _put(self, view: memoryview) -> None:
        with _reported("write a file"):
            while view:
                written = os.pwrite(self._descriptor, view, self._kept)
                self._kept += written
                view = view[written:]


@contextlib.contextmanager
def _reported(doing: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageUnavailable(
            f"The storage could not {doing}: {error.strerror}.", full=error.errno in _FULL
        ) from error


def _finished_size(path: str) -> int | None:
    """The size of a file that `finish` has closed for good; None of one that is unfinished, or not there."""
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return None if status.st_mode & stat.S_IWUSR else status.st_size


def _open_kept(path: str, key: str, offset: int) -> int:
    try:
        return os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise ObjectDamaged(key, f"{offset} bytes were kept and its file is gone") from None


def _begin(descriptor: int, key: str, offset: int) -> None:
    """Become the only writer, and cut the file at the offset. A second writer comes when the first one has
    lost its lease and does not know yet. The lock ends with the descriptor."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise StorageUnavailable("Another request still writes to this upload.") from error
    status = os.fstat(descriptor)
    if not status.st_nlink or not status.st_mode & stat.S_IWUSR:
        raise StorageUnavailable("Another request has just ended this upload.")
    if status.st_size < offset:
        raise ObjectDamaged(key, f"{offset} bytes were kept and its file has {status.st_size}")
    if status.st_size > offset:
        os.ftruncate(descriptor, offset)


def _make_directory(path: str) -> None:
    try:
        os.mkdir(path, _DIRECTORY_MODE)
    except FileExistsError:
        return
    except FileNotFoundError:
        _make_directory(os.path.dirname(path))
        _make_directory(path)


def _sync_directory(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: str) -> bool:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _pieces(path: str, start: int, length: int | None) -> Generator[bytes]:
    with open(path, "rb", buffering=0, opener=_open_regular) as file:
        yield b""
        yield from _rest_of(file, start, length)


def _open_regular(path: str, flags: int) -> int:
    """A link, a pipe or a directory is none of our objects: nobody waits for it or follows it."""
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise FileNotFoundError(error.errno, "a link", path) from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FileNotFoundError(errno.ENOENT, "no regular file", path)
    return descriptor


def _rest_of(file: io.FileIO, start: int, length: int | None) -> Generator[bytes]:
    with _reported("read a file"):
        file.seek(start)
        left = length
        while left is None or left > 0:
            piece = file.read(_PIECE if left is None else min(_PIECE, left))
            if not piece:
                return
            left = None if left is None else left - len(piece)
            yield piece


def _walk(directory: str, prefix: str) -> Iterator[tuple[str, int]]:
    """Files that can be keys, sorted by key. What cannot (lost+found, .nfs0001) is not ours."""
    with _reported("list a directory"):
        try:
            with os.scandir(directory) as found:
                entries = {e.name + "/" * e.is_dir(follow_symlinks=False): e for e in found if is_key(e.name)}
        except FileNotFoundError:
            return
    for name in sorted(entries):
        if name.endswith("/"):
            yield from _walk(f"{directory}/{name[:-1]}", prefix + name)
            continue
        with contextlib.suppress(FileNotFoundError):  # deleted since
            yield prefix + name, entries[name].stat(follow_symlinks=False).st_size
