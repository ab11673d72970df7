"""The edge: `/v2/` goes to the thin application, everything else to Django's WSGI handler in a fixed pool (design 8.1).

Not Django's ASGI handler: it would give each request a thread and a connection of its own.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

import django

django.setup()

from a2wsgi import WSGIMiddleware  # noqa: E402
from django.conf import settings  # noqa: E402
from django.core.handlers.wsgi import WSGIHandler  # noqa: E402

from config import edge, stalled, watchdog  # noqa: E402
from config.options import parse_address  # noqa: E402
from registry_core import epochs, errors, patience  # noqa: E402
from registry_core.oci import background  # noqa: E402
from registry_core.oci.app import app as oci  # noqa: E402
from registry_core.oci.request import PATIENCE_BYTES  # noqa: E402
from registry_core.threads import Pool  # noqa: E402

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

MAX_BODY = 8 << 20
IDLE = 60.0
THREADS = 4
WAITING = 256  # requests that may queue for the threads; beyond it a client is told to come back
# Answered without the database, or to say that it is away.
_ALWAYS = (b"/api/v2.0/health", b"/api/v2.0/ping")


class _RawUri:
    """REQUEST_URI for Django: the path as it was sent tells `a%2Fb` from `a/b`."""

    def __init__(self) -> None:
        self.handler = WSGIHandler()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        scope = environ["asgi.scope"]
        environ["REQUEST_URI"] = scope["raw_path"].decode("latin-1")
        environ["breakwater.base_url"] = scope["breakwater.base_url"]
        return _without_empty(self.handler(environ, start_response))


def _without_empty(response: Any) -> Iterator[bytes]:
    """The chunks of an answer; an empty one would be sent after granian has closed an answer of length 0."""
    try:
        yield from filter(None, response)
    finally:
        response.close()


_django = WSGIMiddleware(_RawUri())  # type: ignore[arg-type]
_django.executor = Pool(THREADS, "django")
_under_way = 0


def application(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
    """The work itself, not a coroutine that awaits it: it stands in the way of every warm answer."""
    if scope["type"] == "lifespan":
        return _lifespan(receive, send)
    edge.prepare(scope)
    path = scope["raw_path"]
    if path.startswith(b"/v2/") or path == b"/v2":
        return oci(scope, receive, send)
    return _rest(scope, receive, send)


async def _lifespan(receive: Receive, send: Send) -> None:
    tasks: background.Tasks | None = None
    beside: list[asyncio.Task[None]] = []
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            patience.install()
            port = parse_address(settings.ADDR)[1]
            beside = [asyncio.create_task(watchdog.beat()), asyncio.create_task(stalled.end_stalled(port))]
            tasks = await background.start("web")
            await send({"type": "lifespan.startup.complete"})
        elif message["type"] == "lifespan.shutdown":
            if tasks is not None:
                await tasks.stop()
            for task in beside:
                task.cancel()
            await send({"type": "lifespan.shutdown.complete"})
            return


async def _rest(scope: Scope, receive: Receive, send: Send) -> None:
    """The body is read here, before a thread is taken: a slow client holds no thread."""
    global _under_way  # noqa: PLW0603  counted on the event loop only
    if not scope["query_string"].isascii():
        await _refuse(scope, send, 400, "BAD_REQUEST", "the query string must be percent-encoded")
        return
    if _under_way >= THREADS + WAITING:
        await _refuse(scope, send, 503, "UNAVAILABLE", "too many requests are waiting; try again")
        return
    _under_way += 1
    try:
        if not scope["raw_path"].startswith(_ALWAYS) and epochs.age() > epochs.STALE:
            await epochs.refresh()  # no thread waits for a database that does not answer here
        body = await _body(receive)
        if body is None:
            await _refuse(scope, send, 413, "REQUEST_ENTITY_TOO_LARGE", f"a body may hold {MAX_BODY} bytes")
            return
        scope["headers"] = [*_without_length(scope["headers"]), (b"content-length", str(len(body)).encode())]
        await _django(scope, _replay(body), send)  # type: ignore[arg-type]
    except errors.Unavailable:
        await _refuse(scope, send, 503, "UNKNOWN", "internal server error")  # as api.errors masks it
    except TimeoutError:
        await _refuse(scope, send, 408, "REQUEST_TIMEOUT", f"no byte of the body came for {IDLE:.0f} seconds")
    except ConnectionError:
        # The client left, or its frame was broken: then it is still there to read why, and silence would become a 500.
        await _refuse(scope, send, 400, "BAD_REQUEST", "the body ended before it was complete, or is no HTTP")
    finally:
        _under_way -= 1


def _without_length(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    return [(k, v) for k, v in headers if k not in (b"content-length", b"transfer-encoding")]


async def _body(receive: Receive) -> bytes | None:
    """The whole body; None when it is too large."""
    parts: list[bytes] = []
    size = 0
    while True:
        async with asyncio.timeout(IDLE):
            message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionError
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > MAX_BODY:
            parts.clear()  # read on for a while: who still sends would not get the answer (RFC 9112 9.6)
        if not message.get("more_body", False) or size > PATIENCE_BYTES:
            return b"".join(parts) if size <= MAX_BODY else None


def _replay(body: bytes) -> Receive:
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        return messages.pop() if messages else {"type": "http.disconnect"}

    return receive


async def _refuse(scope: Scope, send: Send, status: int, code: str, message: str) -> None:
    body = f'{{"errors":[{{"code":"{code}","message":"{message}"}}]}}\n'.encode()
    given = next((v for k, v in scope["headers"] if k == b"x-request-id" and len(v) <= 128), None)
    headers = [
        (b"content-type", b"application/json; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
        (b"x-request-id", given or str(uuid.uuid4()).encode()),
    ]
    if status == 503:
        headers.append((b"retry-after", b"1"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
