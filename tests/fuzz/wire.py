"""HTTP/1.1 as the RFC has it, read without forgiveness: whatever a lenient client would overlook is Malformed.

RFC 9112 (messages), RFC 9110 6.4.1 and 8.6 (which answers have a body, which may say its length).
"""

from __future__ import annotations

import contextlib
import re
import selectors
import socket
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

_STATUS_LINE = re.compile(rb"HTTP/(1\.[01]) ([1-5][0-9]{2}) ([\t\x20-\x7e]*)")
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,8})(?:;[\t\x20-\x7e]*)?")
PATIENCE = 10.0


class Malformed(AssertionError):
    """The server broke the rules of HTTP."""


class Hung(AssertionError):
    """Neither an answer nor the end of the connection came."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: tuple[tuple[bytes, bytes], ...]  # names in lower case
    body: bytes
    closes: bool = False

    def header(self, name: bytes) -> bytes | None:
        return next((v for k, v in self.headers if k == name), None)


def read_answer(data: bytes, method: bytes, *, closed: bool) -> tuple[Answer, bytes] | None:
    """The first answer in `data` and what follows it; None while it is incomplete.

    `closed`: nothing more will come, so that an incomplete answer was cut short.
    """
    found = _read(data, method, closed=closed)
    if found is None and closed:
        raise Malformed(f"the connection ended amid an answer to {method!r}: {data[:300]!r}")
    return found


def read_answers(data: bytes, methods: Iterable[bytes]) -> list[Answer]:
    """All that a connection said until it was closed, in order; interim answers (1xx) are left out.

    Methods beyond those given are taken for GET.
    """
    answers, names = [], iter(methods)
    method = next(names, b"GET")
    while data:
        found = read_answer(data, method, closed=True)
        assert found is not None
        answer, data = found
        if answer.status >= 200:
            answers.append(answer)
            method = next(names, b"GET")
    return answers


def _read(data: bytes, method: bytes, *, closed: bool) -> tuple[Answer, bytes] | None:
    head, end, rest = data.partition(b"\r\n\r\n")
    if not end:
        return None
    first, *lines = head.split(b"\r\n")
    match = _STATUS_LINE.fullmatch(first)
    if match is None:
        raise Malformed(f"no status line: {first[:200]!r}")
    status, headers = int(match[2]), [_header(line) for line in lines]
    lengths = [v for k, v in headers if k == b"content-length"]
    codings = [v for k, v in headers if k == b"transfer-encoding"]
    closes = match[1] == b"1.0" or any(k == b"connection" and v.lower() == b"close" for k, v in headers)
    if lengths and codings:
        raise Malformed(f"a length and a transfer coding: {head[:300]!r}")
    if len(lengths) > 1 or not all(re.fullmatch(rb"[0-9]{1,15}", v) for v in lengths):
        raise Malformed(f"no length: {head[:300]!r}")
    if codings not in ([], [b"chunked"]):
        raise Malformed(f"an unknown coding: {head[:300]!r}")
    bare = status < 200 or status == 204
    if bare and (lengths or codings):
        raise Malformed(f"{status} may not say a length (RFC 9110 8.6): {head[:300]!r}")
    found: tuple[bytes, bytes] | None
    if bare or method == b"HEAD" or status == 304:
        found = b"", rest
    elif codings:
        found = _unchunk(rest)
    elif lengths:
        length = int(lengths[0])
        found = (rest[:length], rest[length:]) if len(rest) >= length else None
    else:  # its end is that of the connection
        closes, found = True, (rest, b"") if closed else None
    return None if found is None else (Answer(status, tuple(headers), found[0], closes), found[1])


def _header(line: bytes) -> tuple[bytes, bytes]:
    name, colon, value = line.partition(b":")
    if not colon or not _TOKEN.fullmatch(name) or not _VALUE.fullmatch(value):
        raise Malformed(f"not a header: {line[:200]!r}")
    return name.lower(), value.strip(b" \t")


def _unchunk(data: bytes) -> tuple[bytes, bytes] | None:
    parts: list[bytes] = []
    while True:
        line, end, data = data.partition(b"\r\n")
        if not end:
            return None
        match = _CHUNK.fullmatch(line)
        if match is None:
            raise Malformed(f"not a chunk: {line[:100]!r}")
        size = int(match[1], 16)
        if size == 0:
            return _end_of_chunks(b"".join(parts), data)
        if len(data) < size + 2:
            return None
        if data[size : size + 2] != b"\r\n":
            raise Malformed(f"a chunk of {size} bytes does not end there: {data[size : size + 20]!r}")
        parts.append(data[:size])
        data = data[size + 2 :]


def _end_of_chunks(body: bytes, data: bytes) -> tuple[bytes, bytes] | None:
    while True:
        line, end, data = data.partition(b"\r\n")
        if not end:
            return None
        if not line:
            return body, data
        _header(line)


class Line:
    """A connection that is kept while it may be, for one request after the other."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket: socket.socket | None = None

    def exchange(self, request: bytes, method: bytes) -> Answer | None:
        """The answer; None when the connection ended without a byte of one."""
        was_used = self._socket is not None
        answer = self._exchange(request, method)
        if answer is None and was_used:  # it may have been closed while nobody asked
            answer = self._exchange(request, method)
        return answer

    def _exchange(self, request: bytes, method: bytes) -> Answer | None:
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self._port), timeout=PATIENCE)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(ConnectionError):  # what it had to say may be there to be read
            self._socket.sendall(request)
        data = b""
        while True:
            piece = self._receive(request)
            data += piece
            if not piece:
                self.close()
                if not data:
                    return None
            while data and (found := read_answer(data, method, closed=not piece)) is not None:
                answer, data = found
                if answer.status >= 200:
                    if data:
                        raise Malformed(f"more than one answer: {answer} and {data[:300]!r}")
                    if answer.closes:
                        self.close()
                    return answer

    def _receive(self, request: bytes) -> bytes:
        assert self._socket is not None
        try:
            return self._socket.recv(1 << 20)
        except TimeoutError:
            self.close()
            raise Hung(f"nothing came in {PATIENCE:.0f} s after {request[:2000]!r}") from None
        except ConnectionError:
            return b""

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


@dataclass(slots=True)
class _Talk:
    said: bytes
    socket: socket.socket
    heard: bytearray = field(default_factory=bytearray)
    done: bool = False


def talk(port: int, texts: Sequence[bytes], *, pause: float = 0.25) -> list[bytes]:
    """Each text on a connection of its own, all at once; what came back on each until the server closed it.

    Once all are silent for `pause`, our side of each connection is closed; a server that then keeps one open is Hung.
    """
    talks = [_Talk(text, socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)) for text in texts]
    try:
        for one in talks:
            with contextlib.suppress(ConnectionError):  # refused before it was all sent
                one.socket.sendall(one.said)
        if not _listen(talks, pause):
            for one in talks:
                if not one.done:
                    with contextlib.suppress(OSError):
                        one.socket.shutdown(socket.SHUT_WR)
            _listen(talks, PATIENCE)
        if hung := [one.said for one in talks if not one.done]:
            raise Hung(f"still open {PATIENCE:.0f} s after our end: {min(hung, key=len)[:4000]!r}")
    finally:
        for one in talks:
            one.socket.close()
    return [bytes(one.heard) for one in talks]


def _listen(talks: list[_Talk], pause: float) -> bool:
    """Until all are closed (True) or nothing has come for `pause` seconds."""
    with selectors.DefaultSelector() as selector:
        for one in talks:
            if not one.done:
                selector.register(one.socket, selectors.EVENT_READ, one)
        silent_since = time.monotonic()
        while selector.get_map():
            events = selector.select(pause)
            if not events and time.monotonic() - silent_since >= pause:
                return False
            for key, _ in events:
                silent_since = time.monotonic()
                one = key.data
                try:
                    piece = one.socket.recv(1 << 20)
                except ConnectionError:
                    piece = b""
                one.heard += piece
                if not piece:
                    one.done = True
                    selector.unregister(one.socket)
    return True
