"""One upload to S3 (design §3, "S3 uploads").

Bytes gather in a spool. A full spool becomes a part of a multipart upload, sent by a pool thread while the
next one fills. At the end of a request what is left over is stored as an object of its own, the *rest*, and
read back when the upload goes on:

    so far less than one part     the rest is the object itself, under its key: if nothing follows it is
    complete parts have been sent          the rest is <key>.tail or <key>.tail2, in turn, or a part if it is
    large enough

Nothing that the recorded state names is overwritten with anything else or removed before the object is
complete. A request that died between its last call here and its commit therefore costs nothing.
"""

from __future__ import annotations

import contextlib
import errno
import tempfile
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Executor, Future, wait
from dataclasses import dataclass
from typing import Any

from registry_core.storage.errors import KeyMissing, ObjectDamaged, StorageError, StorageUnavailable
from registry_core.storage.paths import TAILS
from registry_core.storage.s3_bucket import Bucket

MIB = 1024 * 1024
SMALLEST_PART = 5 * MIB  # S3 accepts less for the last part only
PART = 8 * MIB
MOST_PARTS = 10_000
_IN_FLIGHT = 2
_IN_MEMORY = MIB  # of a spool; the rest of it is an unnamed temporary file


def part_size(number: int) -> int:
    """8 MiB, growing from the hundredth part on: parts 5,001 to 10,000 alone hold 5.7 TiB."""
    return PART * max(1, number // 50)


def may_be_part(size: int, number: int) -> bool:
    """May the end of a request become a part, though smaller than a full one? In the second half of the
    numbers only full ones may: otherwise many small requests would use them up before 5 TiB are reached."""
    return size >= (SMALLEST_PART if number <= MOST_PARTS // 2 else part_size(number))


@dataclass(frozen=True, slots=True)
class Rest:
    name: str
    size: int


@dataclass(frozen=True, slots=True)
class Part:
    etag: str
    size: int


class S3Writer:
    def __init__(self, bucket: Bucket, pool: Executor, key: str, offset: int, state: dict[str, Any]) -> None:
        self._bucket, self._pool, self._key = bucket, pool, key
        self._upload: str | None = state.get("upload")
        self._untidy = self._upload is not None
        self._parts = [Part(etag, size) for etag, size in state.get("parts", ())]
        self._parts_size = sum(part.size for part in self._parts)
        self._rest = Rest(**state["rest"]) if state.get("rest") else None
        self._flying: deque[tuple[int, Future[str]]] = deque()
        self._spooled = 0
        self._cut(offset)
        self._there = self._find(self._rest) if self._rest else 0
        # Where a failure falls back to: the stored rest is good as long as no part contains it.
        self._resumed = (len(self._parts), self._rest)
        self._spool = _spool()

    @property
    def offset(self) -> int:
        flying = sum(size for size, _ in self._flying)
        rest = self._rest.size if self._rest else 0
        return self._parts_size + flying + self._spooled + rest

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._read_rest()
        self._append(memoryview(data).cast("B"))

    def suspend(self) -> dict[str, Any]:
        if self._spooled and self._has_parts and may_be_part(self._spooled, self._next_number):
            self._send()
        self._land_all()
        if self._spooled:
            self._rest = self._store_rest()
        self._spool.close()
        return {
            "upload": self._upload,
            "parts": [[part.etag, part.size] for part in self._parts],
            "rest": {"name": self._rest.name, "size": self._rest.size} if self._rest else None,
        }

    def finish(self) -> int:
        size = self.offset
        if self._upload is not None and self._has_parts:
            self._finish_parts(self._upload, size)
        elif self._rest is None or self._there != size:
            self._read_rest()
            self._put(self._key)
        if self._untidy:
            self._tidy()
        self._spool.close()
        return size

    def abandon(self) -> None:
        # A part that arrives after the end of its upload may stay in the store: none may be under way.
        self._fall_back()
        self._spool.close()
        with contextlib.suppress(StorageError):
            if self._upload is not None:
                self._bucket.abort_upload(self._key, self._upload)
            if self._untidy:
                self._tidy()
            self._bucket.delete([self._key])

    def _cut(self, offset: int) -> None:
        """Forget what the state holds beyond the offset."""
        while self._parts and self._parts_size - self._parts[-1].size >= offset:
            self._parts_size -= self._parts.pop().size
            self._rest = None
        beyond = self._parts_size
        if beyond > offset:
            raise ObjectDamaged(self._key, f"{offset} is inside a part, and S3 cannot shorten one")
        kept = self._rest.size if self._rest else 0
        if beyond + kept < offset:
            raise ObjectDamaged(self._key, f"{offset} bytes were kept and its state has {beyond + kept}")
        self._rest = Rest(self._rest.name, offset - beyond) if self._rest and offset > beyond else None

    def _find(self, rest: Rest) -> int:
        """The size of the object that begins with the rest."""
        with contextlib.suppress(KeyMissing):
            there = self._bucket.size(rest.name)
            if there >= rest.size:
                return there
        # An earlier request completed the object and was not recorded: then the object begins with what was
        # kept.
        whole = self._parts_size + rest.size
        with contextlib.suppress(KeyMissing):
            there = self._bucket.size(self._key)
            if there >= whole:
                self._parts, self._parts_size, self._upload = [], 0, None
                self._rest = Rest(self._key, whole)
                return there
        raise ObjectDamaged(self._key, f"{whole} bytes were kept and their end is gone")

    def _read_rest(self) -> None:
        if self._rest is None:
            return
        rest, self._rest = self._rest, None
        try:
            for piece in self._bucket.get(rest.name, length=rest.size):
                self._append(memoryview(piece))
        except (StorageUnavailable, KeyMissing):
            self._fall_back()
            raise

    def _append(self, view: memoryview) -> None:
        while view:
            piece = view[: part_size(self._next_number) - self._spooled]
            try:
                self._spool.write(piece)
            except OSError as error:
                self._fall_back()
                raise StorageUnavailable(
                    f"The spool of an upload cannot be written: {error.strerror}.",
                    full=error.errno in (errno.ENOSPC, errno.EDQUOT),
                ) from error
            self._spooled += len(piece)
            view = view[len(piece) :]
            if self._spooled >= part_size(self._next_number):
                self._send()

    def _send(self) -> None:
        """Hand the spool to a pool thread, which closes it."""
        number = self._next_number
        if number > MOST_PARTS:
            self._fall_back()
            raise StorageUnavailable("An object in S3 has at most 10,000 parts and 5 TiB.")
        with self._falling_back():
            if self._upload is None:
                self._upload = self._bucket.create_upload(self._key)
                self._untidy = True
        while len(self._flying) >= _IN_FLIGHT:
            self._land()
        self._spool.seek(0)
        future = self._pool.submit(_send_part, self._bucket, self._key, self._upload, number, self._spool)
        self._flying.append((self._spooled, future))
        self._spool, self._spooled = _spool(), 0

    def _land(self) -> None:
        """Wait for the oldest part under way. When it fails those after it are of no use."""
        size, future = self._flying[0]
        with self._falling_back():
            etag = future.result()
        self._flying.popleft()
        self._keep(etag, size)

    def _land_all(self) -> None:
        while self._flying:
            self._land()

    def _store_rest(self) -> Rest:
        if not self._parts:
            self._put(self._key)
            return Rest(self._key, self._forget_spool())
        used = self._resumed[1]
        name = next(self._key + tail for tail in TAILS if used is None or used.name != self._key + tail)
        self._put(name)
        return Rest(name, self._forget_spool())

    def _put(self, name: str) -> None:
        with self._falling_back():
            self._spool.seek(0)
            self._bucket.put(name, self._spool)

    def _finish_parts(self, upload: str, size: int) -> None:
        self._read_rest()
        if self._spooled:
            self._send()
        self._land_all()
        self._bucket.complete_upload(self._key, upload, [part.etag for part in self._parts], size)

    def _tidy(self) -> None:
        """Tails, and uploads that a request began and did not live to record. Best effort: scrub finds what
        stays."""
        with contextlib.suppress(StorageError):
            for _, upload in list(self._bucket.uploads(self._key)):
                self._bucket.abort_upload(self._key, upload)
            self._bucket.delete([self._key + tail for tail in TAILS])

    @contextlib.contextmanager
    def _falling_back(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self._fall_back()
            raise

    def _fall_back(self) -> None:
        """After a failure: keep the parts that were taken, in a row from the first, and the rest that is
        stored."""
        wait([future for _, future in self._flying])
        for size, future in self._flying:
            if future.exception() is not None:
                break
            self._keep(future.result(), size)
        self._flying.clear()
        self._forget_spool()
        # What a failed call stored after all is not what was found at the beginning.
        self._there = -1
        count, rest = self._resumed
        self._rest = rest if len(self._parts) == count else None

    def _keep(self, etag: str, size: int) -> None:
        self._parts.append(Part(etag, size))
        self._parts_size += size

    def _forget_spool(self) -> int:
        size, self._spooled = self._spooled, 0
        self._spool.close()
        self._spool = _spool()
        return size

    @property
    def _has_parts(self) -> bool:
        return bool(self._parts or self._flying)

    @property
    def _next_number(self) -> int:
        return len(self._parts) + len(self._flying) + 1


def _spool() -> tempfile.SpooledTemporaryFile[bytes]:
    return tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)


def _send_part(
    bucket: Bucket, key: str, upload: str, number: int, spool: tempfile.SpooledTemporaryFile[bytes]
) -> str:
    with spool:
        return bucket.upload_part(key, upload, number, spool)
