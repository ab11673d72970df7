"""Bytes of small blobs in memory: to send a few kilobytes from a file costs several times the rest of a warm pull.

They are kept under their key, which is written once (design 2.2), and given while the file that they were read from
stands as it was: one that is gone, cut short, exchanged or locked away is noticed as if it were opened each time.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections import OrderedDict
from dataclasses import dataclass

from registry_core.digests import parse_digest
from registry_core.lookups import StoredBlob

LARGEST = 64 << 10
MAX_BYTES = 16 << 20
_OVERHEAD = 1 << 10  # bytes that one costs beside its own
_MARK = ""  # no key: what stands before it was not asked for since it was put there


@dataclass(frozen=True, slots=True)
class _Kept:
    data: bytes
    path: str
    seen: tuple[int, ...]


_kept: OrderedDict[str, _Kept] = OrderedDict()
_bytes = 0


def _look(status: os.stat_result) -> tuple[int, ...]:
    """Nothing can be done to a file, nor another put in its place, without one of these changing."""
    return status.st_mode, status.st_dev, status.st_ino, status.st_size, status.st_ctime_ns


def find(key: str) -> bytes | None:
    """The whole blob, if its file is the one that was read."""
    if (kept := _kept.get(key)) is None:
        return None
    with contextlib.suppress(OSError):
        if _look(os.stat(kept.path, follow_symlinks=False)) == kept.seen:
            _kept.move_to_end(key)
            return kept.data
    _drop(key)
    return None


def keep(blob: StoredBlob, path: str, descriptor: int, status: os.stat_result) -> None:
    """From its open file, whose size is right. Reads what the kernel has in memory, and so never waits for a disk; a
    file system that cannot say keeps nothing here."""
    global _bytes  # noqa: PLW0603  what this process keeps
    if not 0 < blob.size <= LARGEST or blob.key in _kept:
        return
    data = bytearray(blob.size)
    try:
        if os.preadv(descriptor, [data], 0, os.RWF_NOWAIT) != blob.size:
            return
    except OSError:
        return
    if hashlib.new(parse_digest(blob.digest).algorithm, data).hexdigest() != blob.digest.partition(":")[2]:
        return  # scrub's finding, and the client's
    _kept[blob.key] = _Kept(bytes(data), path, _look(status))
    _bytes += blob.size + _OVERHEAD
    while _bytes > MAX_BYTES:
        _drop(next(iter(_kept)))


def forget_unused() -> None:
    """What nobody asked for since the last call goes."""
    global _bytes  # noqa: PLW0603  as above
    if _MARK in _kept:
        while (key := next(iter(_kept))) != _MARK:
            _drop(key)
        _drop(_MARK)
    _kept[_MARK] = _Kept(b"", "", ())
    _bytes += _OVERHEAD


def _drop(key: str) -> None:
    global _bytes  # noqa: PLW0603  as above
    _bytes -= len(_kept.pop(key).data) + _OVERHEAD
