"""One HTTP exchange on the thin side: bytes in, bytes out (design 8.1)."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import urllib.parse
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from registry_core import errors
from registry_core.hooks import Caller

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Header = tuple[bytes, bytes]

VERSION: Header = (b"docker-distribution-api-version", b"registry/2.0")
JSON: Header = (b"content-type", b"application/json; charset=utf-8")

IDLE = 60.0  # seconds without a byte of the body
SLOWEST = 1024  # bytes a second, over IDLE seconds
CHUNK = 1 << 20
PIECE = 64 << 10
# What a refused client may still send before the connection ends.
PATIENCE_BYTES = 64 << 20
PATIENCE_SECONDS = 10.0
PAUSE = 0.5
PARAMETERS = 64


class ClientGone(Exception):
    """The client closed the connection before its body was complete."""


class Request:
    """Headers are looked up by lower-case name; values are latin-1 text as HTTP has it."""

    __slots__ = ("_body_ended", "_query", "address", "base_url", "headers", "id", "method", "operation", "path",
                 "receive", "scope", "send", "started", "status")  # fmt: skip

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope, self.receive, self.send = scope, receive, send
        self.method: str = scope["method"]
        self.path: str = scope["raw_path"].partition(b"?")[0].decode("latin-1")
        self.headers: dict[bytes, bytes] = scope["breakwater.headers"]
        self._query: dict[str, list[str]] | None = None
        self.address: str = scope["client"][0] if scope.get("client") else ""
        self.base_url: str = scope["breakwater.base_url"]
        self.id = _request_id(self.headers.get(b"x-request-id"))
        self.operation = "v2_others"
        self.started = self._body_ended = False
        self.status = 0

    def header(self, name: str) -> str:
        return self.headers.get(name.encode(), b"").decode("latin-1")

    @property
    def query(self) -> dict[str, list[str]]:
        if self._query is None:
            text = self.scope["query_string"].decode("latin-1")
            try:
                self._query = urllib.parse.parse_qs(text, keep_blank_values=True, max_num_fields=PARAMETERS)
            except ValueError as e:
                raise errors.BadRequest(f"at most {PARAMETERS} parameters", {"limit": PARAMETERS}) from e
        return self._query

    def parameter(self, name: str) -> str | None:
        values = self.query.get(name)
        return values[0] if values else None

    def already_has(self, digest: str) -> bool:
        """If-None-Match names it (RFC 9110 13.1.2), with or without the quotes that some clients leave out."""
        text = self.header("if-none-match").strip()
        tags = (tag.strip().removeprefix("W/").strip('"') for tag in text.split(","))
        return text == "*" or (bool(text) and digest in tags)

    def caller(self, mount_from: str = "") -> Caller:
        return Caller(
            self.header("authorization"), self.address, self.base_url, self.method, self.path,
            self.header("user-agent"), mount_from,
        )  # fmt: skip

    # -- answering

    def start(self, status: int, headers: Iterable[Header]) -> Awaitable[None]:
        self.started, self.status = True, status
        every = [VERSION, (b"x-request-id", self.id), *headers]
        return self.send({"type": "http.response.start", "status": status, "headers": every})

    async def answer(self, status: int, headers: Iterable[Header] = (), body: bytes = b"") -> None:
        """A whole answer. With HEAD the body is left out; its length is up to `headers`."""
        await self.start(status, headers)
        await self.send({"type": "http.response.body", "body": b"" if self.method == "HEAD" else body})

    async def answer_empty(self, status: int, headers: dict[str, str]) -> None:
        """An answer without a body."""
        length = [] if status in (204, 304) else [(b"content-length", b"0")]
        await self.answer(status, [*encoded(headers), *length])

    async def answer_json(
        self, status: int, document: Any, headers: Iterable[Header] = (), content_type: Header = JSON
    ) -> None:
        body = json.dumps(document, separators=(",", ":")).encode() + b"\n"
        await self.answer(status, [content_type, (b"content-length", str(len(body)).encode()), *headers], body)

    async def refuse(self, error: errors.RegistryError) -> None:
        """The error, and then some patience: a connection that is closed while the client still sends is reset, and the
        reset takes the answer with it (RFC 9112 9.6)."""
        if not self._may_still_send():
            await self.answer_json(error.status, {"errors": error.as_entries()}, encoded(error.headers))
            return
        body = json.dumps({"errors": error.as_entries()}, separators=(",", ":")).encode() + b"\n"
        length = (b"content-length", str(len(body)).encode())
        # HTTP/2 ends the stream instead, and knows no such header.
        ending = [(b"connection", b"close")] if self.scope.get("http_version", "1.1").startswith("1") else []
        await self.start(error.status, [JSON, length, *ending, *encoded(error.headers)])
        # The last byte is held back: with it the server would call the exchange over and read no more.
        await self.send({"type": "http.response.body", "body": body[:-1], "more_body": True})
        await self._drain()
        await self.send({"type": "http.response.body", "body": body[-1:], "more_body": False})

    def _may_still_send(self) -> bool:
        """Not one who waits for `100 Continue`, and not with HEAD, which has no body to hold back."""
        announced = self.header("content-length") not in ("", "0") or self.header("transfer-encoding") != ""
        return announced and not self._body_ended and not self.header("expect") and self.method != "HEAD"

    async def _drain(self) -> None:
        """Throw away what still comes, until the client pauses: then it reads, or is gone."""
        rest, loop = PATIENCE_BYTES, asyncio.get_running_loop()
        end = loop.time() + PATIENCE_SECONDS
        with contextlib.suppress(TimeoutError):
            while rest > 0 and loop.time() < end:
                async with asyncio.timeout(PAUSE):
                    message = await self.receive()
                if message["type"] == "http.disconnect" or not message.get("more_body", False):
                    return
                rest -= len(message.get("body", b""))

    # -- reading the body

    async def chunks(self) -> AsyncIterator[list[bytes]]:
        """The body in chunks of CHUNK bytes or a little more, the last one shorter, each in pieces as they came.

        ClientGone, or RequestTimeout when too slow.
        """
        loop = asyncio.get_running_loop()
        held: list[bytes] = []
        size, window, arrived = 0, loop.time(), 0
        while True:
            try:
                async with asyncio.timeout(IDLE):
                    message = await self.receive()
            except TimeoutError as e:
                raise _too_slow() from e
            if message["type"] == "http.disconnect":
                self._body_ended = True
                if held:
                    yield _few(held)
                raise ClientGone
            if piece := message.get("body", b""):
                held.append(piece)
                size += len(piece)
                arrived += len(piece)
            more = message.get("more_body", False)
            self._body_ended = not more
            if size and (size >= CHUNK or not more):
                yield _few(held)
                held, size = [], 0
            if not more:
                return
            if (now := loop.time()) - window > IDLE:
                if arrived < SLOWEST * IDLE:
                    raise _too_slow()
                window, arrived = now, 0

    async def body(self, limit: int) -> bytes:
        """The whole body; ManifestTooLarge beyond `limit` bytes."""
        too_large = errors.ManifestTooLarge(f"a manifest may hold {limit} bytes", {"limit": limit})
        length = self.header("content-length")
        if length.isascii() and length.isdigit() and int(length) > limit:
            raise too_large
        parts: list[bytes] = []
        size = 0
        async for pieces in self.chunks():
            parts += pieces
            size += sum(map(len, pieces))
            if size > limit:
                raise too_large
        return b"".join(parts)


def _few(pieces: list[bytes]) -> list[bytes]:
    """Large ones as they are, since to copy them costs a seventh of hashing them; small ones as one."""
    return pieces if len(pieces) * PIECE <= CHUNK else [b"".join(pieces)]


def _too_slow() -> errors.RequestTimeout:
    return errors.RequestTimeout(
        detail={"idle_seconds": IDLE, "bytes_per_second": SLOWEST, "fix": "resume from the offset that GET names"}
    )


def encoded(headers: dict[str, str]) -> list[Header]:
    return [(k.encode("latin-1"), v.encode("latin-1", "replace")) for k, v in headers.items()]


def _request_id(given: bytes | None) -> bytes:
    """The client's, if it is one line of printable text; a new one otherwise."""
    if given and len(given) <= 128 and given.isascii() and given.decode().isprintable():
        return given
    return _ID_OF_PROCESS + b"%012x" % next(_numbers)


# A UUID's first 20 digits, drawn once a process; the rest counts. Drawing them all for each request is a system call.
_ID_OF_PROCESS = str(uuid.uuid4()).encode()[:24]
_numbers = itertools.count(int.from_bytes(os.urandom(5)))
