"""A listener on the wire: hands bytes on, and notes each message of a client that asks the server for an answer.

PostgreSQL: Query, Sync, Flush and FunctionCall ask (PostgreSQL protocol, "Message Formats"); Parse and Bind before them
say what for. Redis: every command asks. What the client sends before that, to sign in, is no round trip of a request
and is not noted.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

Note = Callable[[str, str], None]
NOT_SENT, NOT_ANSWERED = "not sent", "not answered"


@dataclass(frozen=True)
class Asked:
    """`who`: the application that the connection named, `what`: the statement or command."""

    who: str
    what: str


class Wire:
    """In front of a server on this machine, on a port of its own. `asked` grows.

    `meddle` is told of each message before the server is, and may say NOT_SENT (the server never hears of it) or
    NOT_ANSWERED (it does, and its answer is lost); the connection breaks then.
    """

    def __init__(self, target: int, listener: Callable[[Note], _Listener]) -> None:
        self.asked: list[Asked] = []
        self.meddle: Callable[[Asked], str] = lambda _: ""
        self._target, self._listener = target, listener
        self._sockets: list[socket.socket] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        for one in (self._server, *self._sockets):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._server.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
                self._sockets += [client, server]
                link = _Link(self)
                listener = self._listener(link.note)
                for source, sink, hear in ((client, server, listener.hear), (server, client, link.answer)):
                    source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    threading.Thread(target=_carry, args=(source, sink, hear), daemon=True).start()


class _Link:
    """One connection. What is not to be handed on ends it, as an error of its sockets would."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._mute = False

    def note(self, who: str, what: str) -> None:
        asked = Asked(who, what)
        self._wire.asked.append(asked)
        what_now = self._wire.meddle(asked)
        self._mute |= what_now == NOT_ANSWERED
        if what_now == NOT_SENT:
            raise ConnectionError

    def answer(self, data: bytes) -> None:
        if self._mute:
            raise ConnectionError


def _carry(source: socket.socket, sink: socket.socket, hear: Callable[[bytes], None]) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            hear(data)
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


class _Listener:
    """What a client says on one connection."""

    def __init__(self, note: Note) -> None:
        self._note = note
        self._held = b""

    def hear(self, data: bytes) -> None:
        self._held += data
        for message in self._messages():
            self._understand(message)

    def _messages(self) -> Iterator[bytes]:
        raise NotImplementedError

    def _understand(self, message: bytes) -> None:
        raise NotImplementedError


class PostgresListener(_Listener):
    _ASKING = b"QSHF"

    def __init__(self, note: Note) -> None:
        super().__init__(note)
        self._signed_in = False
        self._who = self._what = ""
        self._statements: dict[bytes, str] = {}

    def _messages(self) -> Iterator[bytes]:
        """The first ones have no type: a request for encryption (8 bytes), then the startup message."""
        while True:
            head = 1 if self._signed_in else 0
            if len(self._held) < head + 4:
                return
            (length,) = struct.unpack_from("!I", self._held, head)
            if len(self._held) < head + length:
                return
            message, self._held = self._held[: head + length], self._held[head + length :]
            if self._signed_in:
                yield message
            elif length > 8:
                self._signed_in = True
                words = message[8:].split(b"\0")
                named = dict(zip(words[::2], words[1::2], strict=False))
                self._who = named.get(b"application_name", b"").decode()

    def _understand(self, message: bytes) -> None:
        kind, body = message[:1], message[5:]
        if kind == b"P":
            name, sql, *_ = body.split(b"\0")
            self._what = self._statements[name] = sql.decode()
        elif kind == b"B":
            self._what = self._statements.get(body.split(b"\0")[1], "?")
        elif kind == b"Q":
            self._what = body.rstrip(b"\0").decode()
        if kind in self._ASKING:
            self._note(self._who, self._what)


class RedisListener(_Listener):
    def _messages(self) -> Iterator[bytes]:
        """Commands are arrays of bulk strings: *2 $3 GET $1 k, each part on a line of its own."""
        while self._held.startswith(b"*") and b"\r\n" in self._held:
            lines = self._held.split(b"\r\n")
            count = int(lines[0][1:])
            if len(lines) < 2 * count + 2:
                return
            yield b" ".join(lines[2 : 2 * count + 1 : 2])
            self._held = b"\r\n".join(lines[2 * count + 1 :])

    def _understand(self, message: bytes) -> None:
        self._note("redis", message.decode(errors="replace")[:200])
