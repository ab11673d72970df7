"""config.asgi with an ear: how often a request asks for a thread. Served by `granian tests.counted:application`.

A request is known by its X-Request-Id; GET /counted/<id> says how many threads it has asked for so far. What the
process does beside requests runs in no request's context and counts for none.
"""

from __future__ import annotations

import collections
import threading
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar
from typing import Any

from config.asgi import application as served

Message = MutableMapping[str, Any]

_request: ContextVar[str] = ContextVar("request", default="")
_hops: collections.Counter[str] = collections.Counter()
_submit, _start = ThreadPoolExecutor.submit, threading.Thread.start


def _count() -> None:
    if _request.get():
        _hops[_request.get()] += 1


def submit(
    self: ThreadPoolExecutor, function: Callable[..., Any], /, *args: Any, **kwargs: Any
) -> Future[Any]:
    _count()
    return _submit(self, function, *args, **kwargs)


def start(self: threading.Thread) -> None:
    _count()
    _start(self)


ThreadPoolExecutor.submit = submit  # type: ignore[method-assign,assignment]
threading.Thread.start = start  # type: ignore[method-assign]


async def application(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    if scope["type"] == "http":
        if scope["path"].startswith("/counted/"):
            body = str(_hops[scope["path"].rpartition("/")[2]]).encode()
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": body})
            return
        _request.set(dict(scope["headers"]).get(b"x-request-id", b"").decode())
    await served(scope, receive, send)
