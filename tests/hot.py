"""Run what is asynchronous from a test, as a web process would: with the pool of hot reads, and ended with it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from django.db import connections

from rbac import sessions
from rbac.authn import basic, local, lockout
from registry_core import configuration, epochs, hot_reads, keys

T = TypeVar("T")


def run(work: Callable[[], Awaitable[T]]) -> T:
    async def whole() -> T:
        try:
            return await work()
        finally:
            await hot_reads.close()

    return asyncio.run(whole())


async def elsewhere(change: Callable[[], object]) -> None:
    """A change that another process makes while this one works: in a thread and a connection of its own."""

    def make() -> None:
        try:
            change()
        finally:
            connections.close_all()

    await asyncio.to_thread(make)


def forget_everything() -> None:
    sessions._sessions.clear()
    sessions.nobody.rights.clear()
    local._good.clear()
    lockout._table()[:] = bytes(len(lockout._table()))
    configuration._kept = None
    epochs._known = epochs._Known()
    keys._public, keys._signing, keys._read_at = {}, None, float("-inf")
    keys._true_until, keys._true_since = 0.0, 0
    # A lock belongs to the loop in which somebody first waited for it; a process has one loop, a test its own.
    keys._reading, epochs._reading, basic._hashing = (
        asyncio.Lock(),
        asyncio.Lock(),
        asyncio.Semaphore(local.AT_ONCE),
    )
