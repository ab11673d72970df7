"""One upload to S3 (design §3, "S3 uploads").

Bytes gather in a spool. A full spool becomes a part of a multipart upload, sent by a pool thread while the
next one fills. What is left at the end of a request is the *rest*: large enough, it becomes a part; otherwise
it is stored as <key>.tail and read back when the upload goes on. A blob below one part is one PutObject at
the end.

Requests may die at any point, and one that lost its lease may still be at work beside its successor.
Therefore

- tails go to <key>.tail and <key>.tail2 in turn: what the recorded state names is never overwritten; - the
object itself is written once, by a call that fails when there is one (If-None-Match), and never removed by a
  writer that did not write it.
"""

from __future__ import annotations

import contextlib
import errno
import secrets
import tempfile
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Executor, Future, wait
from dataclasses import asdict, dataclass, replace
from typing import Any

from registry_core.storage.errors import KeyMissing, ObjectDamaged, StorageError, StorageUnavailable
from registry_core.storage.paths import TAILS
from registry_core.storage.s3_bucket import Bucket

MIB = 1024 * 1024
SMALLEST_PART = 5 * MIB  # S3 accepts less for the last part only
PART = 8 * MIB
MOST_PARTS = 10_000
_IN_FLIGHT = 2
_IN_MEMORY = MIB  # of a spool; more of it goes to an unnamed temporary file


def part_size(number: int) -> int:
    """8 MiB, growing from the hundredth part on: parts 5,001 to 10,000 alone hold 5.7 TiB."""
    return PART * max(1, number // 50)


def may_be_part(size: int, number: int) -> bool:
    """May the rest of a request become a part? In the second half of the numbers only a full one may: many
    small requests would otherwise use them up before 5 TiB are reached."""
    return size >= (SMALLEST_PART if number <= MOST_PARTS // 2 else part_size(number))


@dataclass(frozen=True, slots=True)
class Part:
    etag: str
    size: int


@dataclass(frozen=True, slots=True)
class Tail:
    name: str
    size: int
    etag: str  # a tail of the same name that another request stored is not this one


class S3Writer:
    """`state` is what `suspend` returned; ObjectDamaged when what it names is not there, or is another's by
    now."""

    def __init__(self, bucket: Bucket, pool: Executor, key: str, offset: int, state: dict[str, Any]) -> None:
        self._bucket, self._pool, self._key = bucket, pool, key
        self._spool, self._spooled = _spool(), 0
        self._upload: str | None = state.get("upload")
        self._mark: str | None = None
        self._parts = [Part(etag, size) for etag, size in state.get("parts", ())]
        self._parts_size = sum(part.size for part in self._parts)
        self._tail = Tail(**state["tail"]) if state.get("tail") else None
        self._cut(offset)
        # Where a failure falls back to: the tail is good as long as no part contains it.
        self._resumed = (len(self._parts), self._tail)
        self._flying: deque[tuple[int, Future[str]]] = deque()
        self._failed = self._finished = False
        if self._tail:
            self._read_tail(self._tail)

    @property
    def offset(self) -> int:
        return self._parts_size + sum(size for size, _ in self._flying) + self._spooled

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._check_usable()
        view = memoryview(data).cast("B")
        while view:
            full = part_size(self._next_number)
            piece = view[: full - self._spooled]
            self._gather(piece)
            view = view[len(piece) :]
            if self._spooled == full:
                self._send()

    def suspend(self) -> dict[str, Any]:
        if not self._failed:
            with self._falling_back():
                if self._has_parts and may_be_part(self._spooled, self._next_number):
                    self._send()
                self._land_all()
                self._tail = self._store_tail() if self._spooled else None
        self.close()
        return {
            "upload": self._upload,
            "parts": [[part.etag, part.size] for part in self._parts],
            "tail": asdict(self._tail) if self._tail else None,
        }

    def finish(self) -> int:
        self._check_usable()
        size = self.offset
        with self._falling_back():
            if self._upload is not None and self._has_parts:
                self._complete(self._upload, size)
            else:
                self._put_once()
        self._finished = True
        self._tidy()
        self.close()
        return size

    def abandon(self) -> None:
        # A part that arrives after the end of its upload may stay in the store: none may be under way.
        wait([future for _, future in self._flying])
        with contextlib.suppress(StorageError):
            if self._upload is not None:
                self._bucket.abort_upload(self._key, self._upload)
            if self._finished:
                self._bucket.delete([self._key])
        self._tidy()
        self.close()

    def close(self) -> None:
        with contextlib.suppress(OSError):  # a full disk has no room for the rest of it
            self._spool.close()

    # A request that is cancelled between two calls, and one whose state names what is gone.
    __del__ = close

    def _cut(self, offset: int) -> None:
        """Forget what the state holds beyond the offset."""
        while self._parts and self._parts_size - self._parts[-1].size >= offset:
            self._parts_size -= self._parts.pop().size
            self._tail = None
        left = offset - self._parts_size
        if left < 0:
            raise ObjectDamaged(self._key, f"{offset} is inside a part, and S3 cannot shorten one")
        if left > (self._tail.size if self._tail else 0):
            raise ObjectDamaged(self._key, f"{offset} bytes were kept and its state has fewer")
        self._tail = replace(self._tail, size=left) if self._tail and left else None

    def _read_tail(self, tail: Tail) -> None:
        try:
            for piece in self._bucket.get(tail.name, length=tail.size, etag=tail.etag):
                self._gather(piece)
            if self._spooled < tail.size:
                raise ObjectDamaged(self._key, f"its tail has {self._spooled} of {tail.size} bytes")
        except KeyMissing:
            raise ObjectDamaged(self._key, "its tail is not the one that was kept") from None

    def _gather(self, piece: bytes | memoryview) -> None:
        with self._falling_back():
            try:
                self._spool.write(piece)
                self._spool.flush()  # what fails later, at a seek or a close, would have no name
            except OSError as error:
                raise StorageUnavailable(
                    f"The spool of uploads in {tempfile.gettempdir()} cannot be written: {error.strerror}.",
                    full=error.errno in (errno.ENOSPC, errno.EDQUOT),
                    component="spool for uploads",
                ) from error
        self._spooled += len(piece)

    def _send(self) -> None:
        """Hand the spool to a pool thread, which closes it."""
        with self._falling_back():
            number = self._next_number
            if number > MOST_PARTS:
                raise StorageUnavailable("An object in S3 has at most 10,000 parts and 5 TiB.")
            if self._upload is None:
                self._mark = secrets.token_hex(8)
                self._upload = self._bucket.create_upload(self._key, self._mark)
            while len(self._flying) >= _IN_FLIGHT:
                self._land()
        self._spool.seek(0)
        future = self._pool.submit(_send_part, self._bucket, self._key, self._upload, number, self._spool)
        self._flying.append((self._spooled, future))
        self._spool, self._spooled = _spool(), 0

    def _land(self) -> None:
        """Wait for the oldest part under way. When it fails those after it are of no use."""
        size, future = self._flying[0]
        self._keep(future.result(), size)
        self._flying.popleft()

    def _land_all(self) -> None:
        while self._flying:
            self._land()

    def _keep(self, etag: str, size: int) -> None:
        self._parts.append(Part(etag, size))
        self._parts_size += size

    def _store_tail(self) -> Tail:
        used = self._resumed[1]
        if used and (len(self._parts), self._spooled) == (self._resumed[0], used.size):
            return used  # nothing was added
        name = next(self._key + suffix for suffix in TAILS if used is None or used.name != self._key + suffix)
        self._spool.seek(0)
        return Tail(name, self._spooled, self._bucket.put(name, self._spool))

    def _complete(self, upload: str, size: int) -> None:
        if self._spooled:
            self._send()
        self._land_all()
        etags = [part.etag for part in self._parts]
        self._bucket.complete_upload(self._key, upload, etags, size, self._mark)

    def _put_once(self) -> None:
        """An object that is there already comes of an earlier try: fine when it is the same."""
        self._spool.seek(0)
        if self._bucket.put_once(self._key, self._spool):
            return
        self._spool.seek(0)
        for piece in self._bucket.get(self._key):
            if self._spool.read(len(piece)) != piece:
                raise ObjectDamaged(self._key, "another request has completed it")
        if self._spool.read(1):
            raise ObjectDamaged(self._key, "another request has completed it")

    def _tidy(self) -> None:
        """Tails, and uploads that a request began and did not live to record. Best effort: `scrub` finds the
        rest."""
        with contextlib.suppress(StorageError):
            if self._upload is not None:
                for _, upload in list(self._bucket.uploads(self._key)):
                    self._bucket.abort_upload(self._key, upload)
            if self._upload is not None or self._resumed[1] is not None:
                self._bucket.delete([self._key + suffix for suffix in TAILS])

    def _check_usable(self) -> None:
        if self._failed:
            raise StorageUnavailable("This request has failed; the next one goes on from what is kept.")

    @contextlib.contextmanager
    def _falling_back(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self._fall_back()
            raise

    def _fall_back(self) -> None:
        """Keep the parts that were taken, in a row from the first, and the tail that is stored. Then
        `suspend` has nothing to send."""
        wait([future for _, future in self._flying])
        for size, future in self._flying:
            if future.exception() is not None:
                break
            self._keep(future.result(), size)
        self._flying.clear()
        count, tail = self._resumed
        self._tail = tail if len(self._parts) == count else None
        self._spooled = self._tail.size if self._tail else 0
        self._failed = True

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
