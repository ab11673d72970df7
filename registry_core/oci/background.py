"""What a web process does beside answering: read changes of rights every second, say that it lives, write pulls."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import logging
import time

from registry_core import (
    epochs,
    errors,
    hooks,
    hot_reads,
    lookups,
    metrics,
    presence,
    pulls,
    refusals,
    threads,
    versions,
)
from registry_core.oci import app, pages, small_blobs
from registry_core.references import parse_repository
from registry_core.storage.driver import StorageError
from registry_core.storage.paths import new_key
from registry_core.store import driver
from registry_core.threads import in_store, in_thread

log = logging.getLogger("breakwater.web")

TRIM = 20.0  # seconds
UNUSED = 120.0  # seconds after which what nobody needed goes: connections, small blobs, routes
COLLECT_AFTER = (10_000, 20, 50)  # objects; then generations (Python's own: 700, 10, 10)
# Little, but what is left of it between large things that went keeps their memory from going back.
_REMEMBERED = (app.forget_routes, versions.slot.cache_clear, parse_repository.cache_clear)


class Tasks:
    def __init__(self, role: str) -> None:
        self._role = role
        self._flushed_at = self._trimmed_at = self._marked_at = time.monotonic()
        self._flushing: asyncio.Future[bool] | None = None
        self._loop = asyncio.ensure_future(self._every_second())

    async def _every_second(self) -> None:
        while True:
            await asyncio.sleep(epochs.PERIOD)
            metrics.flush()
            try:
                await self._round()
            except errors.RegistryError as e:
                log.warning("the database does not answer", extra={"fields": {"cause": e.message}})
            except Exception:
                log.exception("background work failed")

    async def _round(self) -> None:
        """Pulls are written beside it: threads that are busy must not make this process look dead or ill informed."""
        await epochs.refresh()
        if self._flushing is None and time.monotonic() - self._flushed_at >= pulls.PERIOD:
            self._flushing = asyncio.ensure_future(self._flush())
        flushed = False
        if self._flushing is not None and self._flushing.done():
            done, self._flushing = self._flushing, None
            flushed = done.result()
        await presence.beat(self._role, flushed=flushed)
        if time.monotonic() - self._trimmed_at >= TRIM:
            self._trimmed_at = time.monotonic()
            await self._forget()

    async def _forget(self) -> None:
        lookups.forget_expired()
        pages.forget_expired()
        if time.monotonic() - self._marked_at >= UNUSED:
            self._marked_at = time.monotonic()
            small_blobs.forget_unused()
            for forget in (*_REMEMBERED, *hooks.forget_unused):
                forget()
        threads.close_unused_connections(UNUSED)
        await hot_reads.close_unused(UNUSED)
        await in_store(_give_memory_back)

    async def _flush(self) -> bool:
        taken = pulls.take()
        try:
            written = taken.is_empty() or await in_thread(pulls.write, taken)
        except Exception:
            pulls.give_back(taken)
            raise
        if not written:
            pulls.give_back(taken)
            return False
        if refusals.is_due():
            await in_thread(refusals.write)
        self._flushed_at = time.monotonic()
        return True

    async def stop(self) -> None:
        """What was pulled until now is written, if the database still answers."""
        self._loop.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._loop
        if self._flushing is not None:
            with contextlib.suppress(Exception):
                await self._flushing
        metrics.flush()
        await self._flush()
        with contextlib.suppress(errors.RegistryError):
            await in_thread(refusals.write, everything=True)
            await presence.leave()
        await hot_reads.close()


def _give_memory_back() -> None:
    """Pieces that waited for slow readers leave holes in the heap, which the C library keeps otherwise."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc has it, musl needs none
    if trim is not None:
        trim(0)


def _open_store() -> None:
    """What a driver loads on first use (an SDK, credentials) is loaded before a request waits for it."""
    with contextlib.suppress(StorageError):
        driver().presigned_url(new_key(), seconds=1, content_type="application/octet-stream")


async def start(role: str) -> Tasks:
    """Ready to serve: rights are known, and every other host has had the time to learn of this one (design 8.6)."""
    versions.ring_all()
    others = None
    while others is None:
        try:
            await epochs.refresh()
            others = await presence.beat(role, flushed=True)
        except errors.Unavailable as e:
            log.warning("waiting for the database", extra={"fields": {"cause": e.message}})
            await asyncio.sleep(1)
    await in_thread(_open_store)
    if others:
        await asyncio.sleep(presence.SETTLE)
        await epochs.refresh()
    _leave_to_collect()
    return Tasks(role)


def _leave_to_collect() -> None:
    """What was loaded until now stays until the end, and what requests keep (answers, sessions) is free of cycles:
    looking through all of it again and again took a tenth of each answer."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)
