"""Reads of the hot path: prepared statements on few asyncpg connections. The only importer of asyncpg (design 8.5)."""

from __future__ import annotations

import asyncio
import contextlib
import time
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
_known: dict[asyncio.AbstractEventLoop, _Connections] = {}


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


class _Connections:
    """SIZE at most of one event loop, opened when they are first needed; the one used last, which has prepared most,
    is the next. asyncpg's own pool makes a task for each return: half of what a small read costs here."""

    def __init__(self) -> None:
        self.room = asyncio.Semaphore(SIZE)
        self._free: list[tuple[asyncpg.Connection, float]] = []  # and when it came back
        self._open: set[asyncpg.Connection] = set()

    async def take(self) -> asyncpg.Connection:
        """One that is open, as far as this side knows. To be called in a place of `room`."""
        while self._free:
            connection, _ = self._free.pop()
            if not connection.is_closed():
                return connection
            self._open.discard(connection)
        connection = await asyncpg.connect(timeout=TIMEOUT, **_options())
        self._open.add(connection)
        return connection

    def give_back(self, connection: asyncpg.Connection) -> None:
        """Single reads leave nothing behind that would have to be reset."""
        if connection.is_closed():
            self._open.discard(connection)
        else:
            self._free.append((connection, time.monotonic()))

    def take_unused(self, seconds: float) -> list[asyncpg.Connection]:
        """Those that nobody needed for so long: they are the caller's to end."""
        since = time.monotonic() - seconds
        unused = [connection for connection, returned in self._free if returned < since]
        self._free = [kept for kept in self._free if kept[1] >= since]
        self._open.difference_update(unused)
        return unused

    def terminate(self) -> None:
        for connection in self._open:
            connection.terminate()


def _connections() -> _Connections:
    loop = asyncio.get_running_loop()
    if (found := _known.get(loop)) is None:
        found = _known[loop] = _Connections()
    return found


async def close() -> None:
    if (connections := _known.pop(asyncio.get_running_loop(), None)) is not None:
        connections.terminate()


async def close_unused(seconds: float) -> None:
    """Those of this event loop that nobody needed for so long; the one used last serves on if one is enough."""
    for connection in _connections().take_unused(seconds):
        with contextlib.suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            await connection.close(timeout=TIMEOUT)


@overload
async def _run(method: Literal["fetchrow"], sql: str, args: tuple[Any, ...]) -> asyncpg.Record | None: ...
@overload
async def _run(method: Literal["fetch"], sql: str, args: tuple[Any, ...]) -> list[asyncpg.Record]: ...
async def _run(method: str, sql: str, args: tuple[Any, ...]) -> Any:
    """One statement; a lost connection is tried once more, since a read can be repeated."""
    for attempt in (1, 2):
        try:
            async with asyncio.timeout(TIMEOUT):
                return await _ask(_connections(), method, sql, args)
        except _LOST as e:
            if attempt == 2:
                raise _unavailable(e) from e
        except asyncpg.DiskFullError as e:
            raise errors.InsufficientStorage("database") from e
        except (TimeoutError, OSError, asyncpg.InsufficientResourcesError, asyncpg.PostgresSystemError) as e:
            raise _unavailable(e) from e
    raise AssertionError


async def _ask(connections: _Connections, method: str, sql: str, args: tuple[Any, ...]) -> Any:
    async with connections.room:
        connection = await connections.take()
        try:
            return await getattr(connection, method)(sql, *args)
        except (asyncio.CancelledError, asyncpg.InternalClientError):
            # asyncpg would ask the server to stop, and wait without end for one that hangs to agree.
            connection.terminate()
            raise
        finally:
            connections.give_back(connection)


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
