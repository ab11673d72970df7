"""Connections that nobody needs end: each holds megabytes in PostgreSQL, most of all one that served pushes."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import psycopg2
import pytest
from django.conf import settings
from django.db import connection

from registry_core import hot_reads, pulls, refusals, threads
from registry_core.oci import background
from tests import hot

SIZE = 3
PATIENCE = 10.0  # seconds


def open_connections(ours: set[int]) -> int:
    """How many of these backends PostgreSQL still has."""
    d = settings.DATABASES["default"]
    watcher = psycopg2.connect(
        host=d["HOST"] or None, port=d["PORT"] or None, user=d["USER"], password=d["PASSWORD"], dbname=d["NAME"]
    )
    try:
        with watcher.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE pid = ANY(%s)", [list(ours)])
            return int(cursor.fetchone()[0])  # type: ignore[index]
    finally:
        watcher.close()


def come_to(number: int, ours: set[int]) -> int:
    deadline = time.monotonic() + PATIENCE
    while (found := open_connections(ours)) != number and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def backend(meet: threading.Barrier) -> int:
    """All threads at once, so that each of them opens its own."""
    meet.wait(PATIENCE)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])


def in_all_threads(pool: threads.Pool) -> set[int]:
    meet = threading.Barrier(SIZE)
    return {future.result(PATIENCE) for future in [pool.submit(backend, meet) for _ in range(SIZE)]}


@pytest.mark.django_db(transaction=True)
def test_the_threads_of_a_pool_let_go_of_connections_that_nobody_needs() -> None:
    pool = threads.Pool(SIZE, "tested")
    try:
        ours = in_all_threads(pool)
        assert open_connections(ours) == len(ours) == SIZE
        threads.close_unused_connections(60)
        assert in_all_threads(pool) == ours
        threads.close_unused_connections(0)
        assert come_to(0, ours) == 0
        assert len(in_all_threads(pool)) == SIZE
    finally:
        threads.close_unused_connections(0)
        pool.shutdown()
        threads._pools.remove(pool)


@pytest.mark.django_db(transaction=True)
def test_a_thread_at_work_keeps_its_connection_and_the_others_do_not_wait_for_it() -> None:
    pool = threads.Pool(SIZE, "tested")
    go_on = threading.Event()

    def work() -> int:
        go_on.wait(PATIENCE)
        return backend(threading.Barrier(1))

    try:
        ours = in_all_threads(pool)
        busy = pool.submit(work)
        threads.close_unused_connections(0)
        assert come_to(1, ours) == 1
        go_on.set()
        assert {busy.result(PATIENCE)} < ours
    finally:
        go_on.set()
        pool.shutdown()
        threads._pools.remove(pool)


@pytest.mark.django_db(transaction=True)
def test_what_a_process_does_on_its_own_while_nobody_asks_it_uses_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its connections would never count as unused."""
    monkeypatch.setattr(pulls, "PERIOD", 0.0)
    monkeypatch.setattr(refusals, "_kept", {})  # whom other tests refused, in minutes that are over
    pulls.take()
    submitted = []
    submit = threads._pool.submit

    def counted(*args: Any, **kwargs: Any) -> Any:
        submitted.append(args)
        return submit(*args, **kwargs)

    monkeypatch.setattr(threads._pool, "submit", counted)

    async def rounds() -> None:
        tasks = background.Tasks("web")
        tasks._loop.cancel()
        for _ in range(3):
            await tasks._round()
            await asyncio.sleep(0)
        assert submitted == []
        assert tasks._flushed_at > 0
        await tasks.stop()

    hot.run(rounds)


@pytest.mark.django_db(transaction=True)
def test_reads_let_go_of_connections_that_nobody_needs() -> None:
    async def read() -> tuple[set[int], int, set[int], int]:
        asked = [hot_reads.fetchrow("SELECT pg_backend_pid(), pg_sleep(0.1)") for _ in range(hot_reads.SIZE)]
        ours = {row[0] for row in await asyncio.gather(*asked) if row is not None}
        await hot_reads.close_unused(60)
        kept = open_connections(ours)
        await asyncio.sleep(0.2)
        one = {await hot_reads.fetchval("SELECT pg_backend_pid()")}
        await hot_reads.close_unused(0.15)
        left = come_to(1, ours)
        again = await hot_reads.fetchval("SELECT pg_backend_pid()")
        await hot_reads.close()
        assert {again} == one
        return ours, kept, one, left

    ours, kept, one, left = asyncio.run(read())
    assert len(ours) == kept == hot_reads.SIZE
    assert left == 1
    assert one < ours
