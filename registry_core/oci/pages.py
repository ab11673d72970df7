"""Pages of lists, ready to be sent: kept under the version of what they list, as lookups are (design 8.6)."""

from __future__ import annotations

import json
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

from registry_core import lookups, presence, versions
from registry_core.oci.request import JSON, Header, Request

MAX_BYTES = 16 << 20  # of all pages of a process
MAX_PAGE_BYTES = 1 << 20
_OVERHEAD = 1024  # bytes of a page's entry beside its body and its key

Key = tuple[int, str, bytes]  # namespace id, path and query as they were asked for


@dataclass(frozen=True, slots=True)
class Page:
    headers: tuple[Header, ...]
    body: bytes

    @classmethod
    def of(cls, document: Any, headers: Iterable[Header] = (), content_type: Header = JSON) -> Page:
        body = json.dumps(document, separators=(",", ":")).encode() + b"\n"
        return cls((content_type, (b"content-length", str(len(body)).encode()), *headers), body)


class _Kept:
    """Least recently used out first, bounded by bytes."""

    def __init__(self) -> None:
        self._pages: OrderedDict[Key, tuple[int, float, Page]] = OrderedDict()
        self._bytes = 0

    def find(self, key: Key, version: int) -> Page | None:
        found = self._pages.get(key)
        if found is None:
            return None
        if found[0] != version or found[1] < time.monotonic():
            self._drop(key)
            return None
        self._pages.move_to_end(key)
        return found[2]

    def keep(self, key: Key, version: int, page: Page) -> None:
        if len(page.body) > MAX_PAGE_BYTES:
            return
        self._drop(key)
        seconds = lookups.KEPT if versions.is_settled(version) else lookups.KEPT_UNSETTLED
        self._pages[key] = (version, time.monotonic() + seconds, page)
        self._bytes += _size(key, page)
        while self._bytes > MAX_BYTES:
            self._drop(next(iter(self._pages)))

    def forget_expired(self) -> None:
        now = time.monotonic()
        for key in [key for key, (_, until, _) in self._pages.items() if until < now]:
            self._drop(key)

    def _drop(self, key: Key) -> None:
        if (found := self._pages.pop(key, None)) is not None:
            self._bytes -= _size(key, found[2])


def _size(key: Key, page: Page) -> int:
    return len(page.body) + len(key[1]) + len(key[2]) + _OVERHEAD


_kept = _Kept()


def forget_expired() -> None:
    """Free what nobody asked for lately."""
    _kept.forget_expired()


async def answer(request: Request, namespace_id: int, slot: int, make: Callable[[], Awaitable[Page]]) -> None:
    """200 with the page that this path and query stand for; `slot` is that of all that `make` reads.

    The caller was authorised before, and sees what everybody sees who was.
    """
    key = (namespace_id, request.path, request.scope["query_string"])
    version = versions.read(slot)
    # What other hosts push and delete does not ring here.
    page = _kept.find(key, version) if presence.is_alone() else None
    if page is None:
        page = await make()
        _kept.keep(key, version, page)
    await request.answer(200, page.headers, page.body)
