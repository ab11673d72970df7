"""A writer over an object that is complete already: it changes nothing, and accepts only the bytes that are
there.

Two requests end up here. A client repeats its last one, because the process died between `finish` and the
commit: the same bytes make the same object. And a request that lost its lease long ago goes on, while another
one has finished the upload: whatever it brings, the object stays as it is (design §2.2, written once).
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Protocol

from registry_core.storage.errors import ObjectDamaged


class _Source(Protocol):
    def read(self, key: str, start: int = 0, length: int | None = None) -> Generator[bytes]: ...


class FinishedWriter:
    def __init__(
        self, source: _Source, key: str, size: int, offset: int, state: dict[str, Any] | None
    ) -> None:
        if offset > size:
            raise ObjectDamaged(key, f"it is complete with {size} bytes")
        self.offset = offset
        self._source, self._key, self._size, self._state = source, key, size, state or {}

    def write(self, data: bytes | bytearray | memoryview) -> None:
        there = b"".join(self._source.read(self._key, self.offset, len(data)))
        if there != data:
            raise ObjectDamaged(self._key, "it is complete and has other bytes")
        self.offset += len(data)

    def suspend(self) -> dict[str, Any]:
        return self._state

    def finish(self) -> int:
        if self.offset != self._size:
            raise ObjectDamaged(self._key, f"it is complete with {self._size} bytes")
        return self._size

    def abandon(self) -> None:
        """Not ours to remove."""

    def close(self) -> None:
        """Nothing is open."""
