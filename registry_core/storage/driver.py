"""What every storage driver can do, and the one place that turns BREAKWATER_STORAGE into a driver.

A driver is called from pool threads and is safe to share between them; a writer belongs to one thread at a
time. tests/storage_suite.py is this contract as a test that every driver passes.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any, Protocol

from registry_core.storage.errors import (
    KeyMissing,
    NotDurable,
    ObjectDamaged,
    StorageError,
    StorageUnavailable,
)

__all__ = [
    "Driver",
    "KeyMissing",
    "NotDurable",
    "ObjectDamaged",
    "StorageError",
    "StorageUnavailable",
    "Writer",
    "WriterState",
    "open_driver",
]

# JSON. It is kept in Upload.state between two requests; {} is a fresh upload.
WriterState = dict[str, Any]


class Writer(Protocol):
    """Appends to one object. It ends with one of suspend, finish, abandon and close.

    An object is written once: no writer changes one that another has finished. It gets ObjectDamaged instead,
    unless it brings exactly the bytes that are there (a client that repeats its last request).

    Any call may raise StorageUnavailable or ObjectDamaged. The writer then stays open and `offset` says what
    is still kept, which may be less than before the call: `suspend` afterwards sends nothing and returns the
    state that resumes there, `abandon` forgets the object.
    """

    @property
    def offset(self) -> int:
        """Bytes kept so far, those of earlier requests included. It never falls below the offset that was
        opened, except after a failed fsync, when nothing written can be trusted."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Take all of `data`; the caller may reuse its buffer afterwards."""

    def suspend(self) -> WriterState:
        """End of a PATCH: everything written so far can be resumed with the answer. Survives the end of the
        process; that it survives a power failure is promised by `finish` alone (a shorter file is
        ObjectDamaged)."""

    def finish(self) -> int:
        """The object is complete and durable; its size."""

    def close(self) -> None:
        """Let go of what is open, also after a failure. What was written since the last recorded state is
        dropped, now or by the next writer. Nothing after suspend, finish and abandon, which close."""

    def abandon(self) -> None:
        """Remove what can be removed now. Never raises: what is left is deleted by key later. Also allowed
        after `finish` (the digest was another one)."""


class Driver(Protocol):
    name: str  # filesystem, s3 or memory
    is_remote: bool  # another machine has the bytes: a call may take its time
    minimum_chunk: int | None  # OCI-Chunk-Min-Length; smaller chunks work, and cost more

    def open_writer(self, key: str, offset: int = 0, state: WriterState | None = None) -> Writer:
        """A writer at `offset`; what an interrupted request left beyond it is dropped. `offset` and `state`
        are those of the last `suspend` that was recorded (0 and {} before the first), also when a later one
        was not."""

    def size(self, key: str) -> int:
        """Raises KeyMissing."""

    def read(self, key: str, start: int = 0, length: int | None = None) -> Generator[bytes]:
        """Pieces of 64 KiB to 1 MiB from `start`; nothing past the end. KeyMissing is raised here, not at the
        first piece. Close it unless it is exhausted."""

    def local_path(self, key: str) -> str | None:
        """The file that the web server may send itself, whether or not it exists; None when objects are not
        files."""

    def presigned_url(self, key: str, *, seconds: int, content_type: str) -> str | None:
        """A URL that serves the object to whoever has it, for so long and under this type; None: serve it
        yourself."""

    def delete(self, keys: Sequence[str], state: Mapping[str, WriterState] = {}) -> set[str]:
        """The keys that are now confirmed to be gone; an absent one counts. All that an unfinished upload has
        stored goes with its key; its last state in `state`, by key, spares a store the search for its parts.
        Raises StorageUnavailable when nothing could be asked for; a key that is not in the answer is asked
        for again later."""

    def keys(self) -> Iterator[tuple[str, int]]:
        """Name and size of everything in the store, sorted by name. What belongs to an unfinished upload may
        have a name that is no key of a row: `paths.owner` says whose it is, and `delete` takes it as it is.
        Beside a finished object it is what a request left that died before its commit."""

    def check(self) -> None:
        """Raises StorageUnavailable with a sentence when the store cannot be used."""


def open_driver(url: str) -> Driver:
    """`file:///path`, `s3://bucket/prefix?endpoint=…&region=…&redirect=true|false` or `memory://`.

    Asks nothing of the storage: that is `check`. Raises ValueError with a sentence for the person who set the
    URL.
    """
    # Each kind on first use: boto3 costs 25 MB and a registry on files never needs it.
    match urllib.parse.urlsplit(url).scheme:
        case "file":
            from registry_core.storage.filesystem import FilesystemDriver

            return FilesystemDriver.from_url(url)
        case "s3":
            from registry_core.storage.s3 import S3Driver

            return S3Driver.from_url(url)
        case "memory":
            from registry_core.storage.memory import MemoryDriver

            return MemoryDriver()
    raise ValueError("The storage URL begins with file:///, s3:// or memory://.")
