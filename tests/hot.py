"""Run what is asynchronous from a test, as a web process would: with the pool of hot reads, and ended with it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from registry_core import hot_reads

T = TypeVar("T")


def run(work: Callable[[], Awaitable[T]]) -> T:
    async def whole() -> T:
        try:
            return await work()
        finally:
            await hot_reads.close()

    return asyncio.run(whole())
