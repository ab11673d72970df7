"""Objects in this process, for tests of everything above storage."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any
from weakref import WeakValueDictionary

from registry_core.storage.errors import KeyMissing, ObjectDamaged, StorageUnavailable
from registry_core.storage.finished import FinishedWriter
from registry_core.storage.paths import check_key

_PIECE = 256 * 1024


class MemoryDriver:
    name = "memory"
    is_remote = False
    minimum_chunk: int | None = None

    def __init__(self) -> None:
        # One dictionary operation each: atomic, so threads need no lock. A finished object is bytes.
        self.objects: dict[str, bytearray | bytes] = {}
        self._writers: WeakValueDictionary[str, MemoryWriter] = WeakValueDictionary()

    def open_writer(
        self, key: str, offset: int = 0, state: dict[str, Any] | None = None
    ) -> MemoryWriter | FinishedWriter:
        check_key(key)
        content = self.objects.setdefault(key, bytearray()) if offset == 0 else self.objects.get(key)
        if content is None or len(content) < offset:
            raise ObjectDamaged(key, f"{offset} bytes were kept and {len(content or b'')} are there")
        if isinstance(content, bytes):
            return FinishedWriter(self, key, len(content), offset, state)
        # As with files: one at a time, whoever believes to hold the lease.
        other = self._writers.get(key)
        if other is not None and not other.is_closed:
            raise StorageUnavailable("Another request still writes to this upload.")
        del content[offset:]
        self._writers[key] = writer = MemoryWriter(self, key, content)
        return writer

    def size(self, key: str) -> int:
        return len(self._get(key))

    def read(self, key: str, start: int = 0, length: int | None = None) -> Generator[bytes]:
        content = self._get(key)
        end = len(content) if length is None else min(start + length, len(content))
        return (bytes(content[at : min(at + _PIECE, end)]) for at in range(start, end, _PIECE))

    def _get(self, key: str) -> bytearray | bytes:
        check_key(key)
        try:
            return self.objects[key]
        except KeyError:
            raise KeyMissing(key) from None

    def local_path(self, key: str) -> str | None:
        check_key(key)
        return None

    def presigned_url(self, key: str, *, seconds: int, content_type: str) -> str | None:
        check_key(key)
        return None

    def delete(self, keys: Sequence[str], state: Mapping[str, dict[str, Any]] = {}) -> set[str]:
        for key in keys:
            check_key(key)
            self.objects.pop(key, None)
        return set(keys)

    def keys(self) -> Iterator[tuple[str, int]]:
        return iter(sorted((key, len(content)) for key, content in list(self.objects.items())))

    def check(self) -> None:
        return None


class MemoryWriter:
    def __init__(self, driver: MemoryDriver, key: str, content: bytearray) -> None:
        self._driver, self._key, self._content = driver, key, content
        self.is_closed = False
        self._finished = False

    @property
    def offset(self) -> int:
        return len(self._content)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._content += data

    def suspend(self) -> dict[str, Any]:
        self.close()
        return {}

    def finish(self) -> int:
        self._driver.objects[self._key] = bytes(self._content)
        self._finished = True
        self.close()
        return len(self._content)

    def abandon(self) -> None:
        if self._finished or not self.is_closed:
            self._driver.delete([self._key])
        self.close()

    def close(self) -> None:
        self.is_closed = True
