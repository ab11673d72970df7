"""Versions of repositories in memory that all processes of one host share (design 8.6).

A slot holds a number that no other raise writes again. A reader takes the number, then asks PostgreSQL, and may keep
the answer while the slot still holds that number; a writer puts a new one after its commit and before its answer. Two
repositories that share a slot only lose a cached answer.

The number says when it was put, too. A writer puts one also before its commit: should it die between commit and ring,
nobody holds an answer for long that was kept since. And whoever starts rings for those who may have died so.
"""

from __future__ import annotations

import functools
import logging
import mmap
import os
import pathlib
import random
import time
import uuid
import zlib
from collections.abc import Callable

from django.conf import settings
from django.db import transaction

log = logging.getLogger("breakwater.versions")

SLOTS = 1 << 16
_BOOT = pathlib.Path("/proc/sys/kernel/random/boot_id")
_HEADER = 16  # the host's identity
EPOCHS = SLOTS  # the slot that rings when somebody's rights changed
REPOSITORIES = SLOTS + 1  # and the one that rings with every repository: what lists them all may have changed
_SIZE = _HEADER + 8 * (SLOTS + 2)
UNSETTLED = 30  # seconds: longer than any change takes from its first statement to its commit
_SECONDS = (1 << 32) - 1
_random = random.SystemRandom()

_map: mmap.mmap | None = None
_slots: memoryview | None = None


def _open() -> memoryview:
    """Map the file; whoever comes first names the host. The name stays as long as the file does.

    Without room for the file this process is a host of its own: it and the others then ask PostgreSQL.
    """
    global _map, _slots  # noqa: PLW0603  one mapping a process
    try:
        _map = _shared()
    except OSError as e:
        log.warning("no shared map of versions", extra={"fields": {"cause": str(e)}})
        _map = mmap.mmap(-1, _SIZE)
        _map[:_HEADER] = uuid.uuid4().bytes
    _slots = memoryview(_map)[_HEADER:].cast("Q")
    return _slots


def _shared() -> mmap.mmap:
    path = pathlib.Path(settings.RUN_DIR) / "versions"
    path.parent.mkdir(parents=True, exist_ok=True)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.lockf(fd, os.F_LOCK, 0)
        if os.fstat(fd).st_size != _SIZE:
            os.ftruncate(fd, _SIZE)
        # A page that has no room on the disk when it is first touched ends the process (SIGBUS).
        os.posix_fallocate(fd, 0, _SIZE)
        if os.pread(fd, _HEADER, 0) == bytes(_HEADER):
            os.pwrite(fd, uuid.uuid4().bytes, 0)
        return mmap.mmap(fd, _SIZE)
    finally:
        os.close(fd)


@functools.lru_cache(maxsize=65536)
def slot(namespace_id: int, path: str) -> int:
    return zlib.crc32(f"{namespace_id}/{path}".encode()) % SLOTS


def read(index: int) -> int:
    return (_slots or _open())[index]


def ring(index: int) -> None:
    """Put a number that was never there: one 8-byte store, so concurrent writers need no lock.

    Its lower half is the time (the kernel's monotonic clock, which all processes of a host share).
    """
    (_slots or _open())[index] = _random.getrandbits(32) << 32 | int(time.monotonic()) & _SECONDS


def ring_all() -> None:
    """What anybody keeps about any repository ends. For a process that starts: one that it stands in for may have died
    before it rang. What is under way stays so: the times do not change."""
    slots = _slots or _open()
    for index, number in enumerate(memoryview(os.urandom(4 * SLOTS)).cast("I")):
        slots[index] = number << 32 | slots[index] & _SECONDS


def is_settled(version: int) -> bool:
    """Nobody began a change within the last UNSETTLED seconds; a time to come is one of before the last boot."""
    return not 0 <= int(time.monotonic()) - (version & _SECONDS) < UNSETTLED


def announce(namespace_id: int, path: str) -> None:
    """A change begins: what a reader finds until its end is kept as unsettled."""
    ring(slot(namespace_id, path))


def raise_after_commit(namespace_id: int, path: str) -> None:
    """What processes of this host keep about the repository ends with the running transaction.

    It rings now as well: what a reader finds until the commit is kept as unsettled.
    """
    index = slot(namespace_id, path)
    ring(index)
    ring(REPOSITORIES)
    transaction.on_commit(lambda: _tell(index))


# What has to be waited for between a commit and its acknowledgement.
before_answer: list[Callable[[], None]] = []


def _tell(index: int) -> None:
    ring(index)
    ring(REPOSITORIES)
    for wait in before_answer:
        wait()


def host_id() -> uuid.UUID:
    """Processes with the same identity share one map: the same file under one kernel, not a copy of it on another
    machine, nor the same network file system."""
    if _map is None:
        _open()
    assert _map is not None
    return uuid.uuid5(uuid.UUID(bytes=_map[:_HEADER]), _BOOT.read_text())
