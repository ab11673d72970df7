"""The fixed pool in which the asynchronous edge does blocking work: rows and file writes (design 8.1)."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from django.db import close_old_connections

P = ParamSpec("P")
T = TypeVar("T")

SIZE = 4
_pool = ThreadPoolExecutor(SIZE, thread_name_prefix="work")
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
