"""Reads of the hot path: prepared statements on a small asyncpg pool. The only importer of asyncpg (design 8.5)."""

from __future__ import annotations

import asyncio
from typing import Any, Literal, overload

import asyncpg
from django.conf import settings

from registry_core import errors

SIZE = 4
TIMEOUT = 5.0  # seconds a caller waits before it hears "try again"
_LOST = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # the server ended the connection just as a statement began
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    ConnectionError,
)
# A limit that it does not know is a tenth of all rows to PostgreSQL: the larger the repository, the dearer the plan for
# any arguments looks, and it would make another for each page (measured: 1.3 to 1.5 times the CPU at 1,000,000 tags).
# A transaction pooler refuses to open with a setting that it does not know, and plans are its own affair anyway.
_PLANNED_ONCE = {"plan_cache_mode": "force_generic_plan"}
_pools: dict[asyncio.AbstractEventLoop, asyncpg.Pool] = {}
_opening = asyncio.Lock()


def _options() -> dict[str, Any]:
    d = settings.DATABASES["default"]
    return {
        "host": d["HOST"] or None,
        "port": int(d["PORT"]) if d["PORT"] else None,
        "user": d["USER"] or None,
        "password": d["PASSWORD"] or None,
        "database": d["NAME"],
        "ssl": d["OPTIONS"].get("sslmode"),
        # Transaction pooling hands a statement to a connection that has not prepared it.
        "statement_cache_size": 0 if settings.PGBOUNCER else 200,
        "server_settings": {"application_name": "breakwater-hot"} | ({} if settings.PGBOUNCER else _PLANNED_ONCE),
    }


async def _nothing_to_reset(connection: asyncpg.Connection) -> None:
    """Single reads leave nothing behind; the default would ask the server to forget it, once more a round trip."""


async def _pool() -> asyncpg.Pool:
    loop = asyncio.get_running_loop()
    if (pool := _pools.get(loop)) is None:
        async with _opening:
            if (pool := _pools.get(loop)) is None:
                pool = await asyncpg.create_pool(
                    min_size=1, max_size=SIZE, max_inactive_connection_lifetime=0, timeout=TIMEOUT,
                    reset=_nothing_to_reset, **_options(),
                )  # fmt: skip
                _pools[loop] = pool
    return pool


async def close() -> None:
    pool = _pools.pop(asyncio.get_running_loop(), None)
    if pool is not None:
        pool.terminate()


@overload
async def _run(method: Literal["fetchrow"], sql: str, args: tuple[Any, ...]) -> asyncpg.Record | None: ...
@overload
async def _run(method: Literal["fetch"], sql: str, args: tuple[Any, ...]) -> list[asyncpg.Record]: ...
async def _run(method: str, sql: str, args: tuple[Any, ...]) -> Any:
    """One statement; a lost connection is tried once more, since a read can be repeated."""
    for attempt in (1, 2):
        try:
            async with asyncio.timeout(TIMEOUT):
                return await _ask(await _pool(), method, sql, args)
        except _LOST as e:
            if attempt == 2:
                raise _unavailable(e) from e
        except asyncpg.DiskFullError as e:
            raise errors.InsufficientStorage("database") from e
        except (TimeoutError, OSError, asyncpg.InsufficientResourcesError, asyncpg.PostgresSystemError) as e:
            raise _unavailable(e) from e
    raise AssertionError


async def _ask(pool: asyncpg.Pool, method: str, sql: str, args: tuple[Any, ...]) -> Any:
    connection = await pool.acquire()
    try:
        return await getattr(connection, method)(sql, *args)
    except (asyncio.CancelledError, asyncpg.InternalClientError):
        # asyncpg would ask the server to stop, and wait without end for one that hangs to agree.
        connection.terminate()
        raise
    finally:
        await pool.release(connection)


def _unavailable(cause: BaseException) -> errors.Unavailable:
    return errors.Unavailable(
        "the database does not answer; try again", {"component": "database", "cause": type(cause).__name__}
    )


async def fetchrow(sql: str, *args: Any) -> asyncpg.Record | None:
    """The first row or None. `$1` placeholders; errors.Unavailable when PostgreSQL does not answer."""
    return await _run("fetchrow", sql, args)


async def fetch(sql: str, *args: Any) -> list[asyncpg.Record]:
    return await _run("fetch", sql, args)


async def fetchval(sql: str, *args: Any) -> Any:
    row = await fetchrow(sql, *args)
    return None if row is None else row[0]
