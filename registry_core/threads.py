"""The fixed pool in which the asynchronous edge does blocking work: rows and file writes (design 8.1)."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

from django.db import close_old_connections, connections

P = ParamSpec("P")
T = TypeVar("T")

SIZE = 4
_MEET = 1.0  # seconds that a thread waits for the others of its pool


class Pool(ThreadPoolExecutor):
    """Threads that use the database, and let go of their connections when nobody needs them.

    A connection that served pushes holds about 10 MB in PostgreSQL until it ends.
    """

    def __init__(self, size: int, name: str) -> None:
        super().__init__(size, thread_name_prefix=name)
        self._size = size
        self._used_at = time.monotonic()
        self._may_hold = False
        _pools.append(self)

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        self._used_at = time.monotonic()
        self._may_hold = True
        return super().submit(fn, *args, **kwargs)

    def close_unused(self, seconds: float) -> None:
        """Only a thread can close its own connection: all are free, so each of them takes one of these calls."""
        if not self._may_hold or time.monotonic() - self._used_at < seconds:
            return
        self._may_hold = False
        met = threading.Barrier(self._size, timeout=_MEET)
        for _ in range(self._size):
            super().submit(_close_connections, met)


_pools: list[Pool] = []


def _close_connections(met: threading.Barrier) -> None:
    with contextlib.suppress(threading.BrokenBarrierError):  # some have work again
        met.wait()
    connections.close_all()


def close_unused_connections(seconds: float) -> None:
    """Those of pools that nobody used for so long. To be called where work is submitted: on the event loop's thread."""
    for pool in _pools:
        pool.close_unused(seconds)


_pool = Pool(SIZE, "work")
# Reads, and all that is asked of a remote store, which may take its time. They never touch the database: they would
# cost connections, and who needs those must not wait for a store.
_store = ThreadPoolExecutor(4 * SIZE, thread_name_prefix="store")


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run in the pool; the thread keeps its database connection for the next call unless it broke."""

    def work() -> T:
        try:
            return function(*args, **kwargs)
        finally:
            close_old_connections()

    return await asyncio.get_running_loop().run_in_executor(_pool, work)


async def in_store(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run where a storage that does not answer holds up nobody else. Not for anything that needs the database."""
    return await asyncio.get_running_loop().run_in_executor(
        _store, functools.partial(function, *args, **kwargs)
    )
