"""How long a thread waits for PostgreSQL: as long as it answers others (design 8.1, the fixed pools).

libpq waits for ever when a server hangs, and a process has few threads. A web process asks for changes of rights every
second anyway: once that question, too, has gone unanswered for SILENT seconds, threads that wait give up. A statement
that merely takes long is left alone.
"""

from __future__ import annotations

import select
import time

from psycopg2 import OperationalError, extensions

from registry_core import epochs

SILENT = 6.0  # longer than a hot read takes to fail
CONNECT = 5.0  # for a new connection: libpq's own limit does not hold when somebody else waits for it
# After one that failed the next ones fail at once: whoever cleans up behind a failure must not wait once more.
_AFTERWARDS = 1.0
_OPEN = (extensions.STATUS_READY, extensions.STATUS_BEGIN, extensions.STATUS_PREPARED)
_LOOK_MS = 500
_FIRST_LOOK_MS = 50


_failed_at = float("-inf")  # when the last new connection was given up


def install() -> None:
    """For every connection of this process from now on. Only where epochs are read all the time."""
    extensions.set_wait_callback(_wait)


def _wait(connection: extensions.connection) -> None:
    """What psycopg2 calls when the socket has nothing for it; what is raised here closes the connection."""
    poller, patience, began = select.poll(), _FIRST_LOOK_MS, time.monotonic()
    is_new = connection.status not in _OPEN
    while (state := connection.poll()) != extensions.POLL_OK:
        wanted = select.POLLIN if state == extensions.POLL_READ else select.POLLOUT
        poller.register(connection.fileno(), wanted)
        if poller.poll(patience):
            continue
        patience = _LOOK_MS
        if is_new and _is_hopeless(began):
            raise OperationalError(f"no connection to the database within {CONNECT:.0f} seconds")
        if (silence := epochs.age()) > SILENT:
            raise OperationalError(f"no answer from the database for {silence:.0f} seconds")


def _is_hopeless(began: float) -> bool:
    global _failed_at  # noqa: PLW0603  of all threads
    now = time.monotonic()
    if now - began > CONNECT:
        _failed_at = now
    return now - _failed_at < _AFTERWARDS
