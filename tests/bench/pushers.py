"""A generator of writes: clients that are processes, each with a connection of its own, all beginning at one moment.

What is pushed, and its digests, are made before that moment; large bodies leave by sendfile from memory. So the
generator takes little of the CPU that it shares with what it measures, and says how much.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import resource
import secrets
import socket
import struct
import time
import urllib.parse
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection as Pipe
from typing import Protocol

TIMEOUT = 120.0
TAIL = 64  # bytes that make a blob its own


class Refused(Exception):
    """An answer that the row does not expect."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


class Content(Protocol):
    """What a blob is made of, able to send a part of itself behind the head of a request."""

    size: int
    digest: str

    def send(self, to: socket.socket, head: bytes, start: int, stop: int) -> None: ...


class Small:
    def __init__(self, data: bytes) -> None:
        self.data, self.size = data, len(data)
        self.digest = f"sha256:{hashlib.sha256(data).hexdigest()}"

    def send(self, to: socket.socket, head: bytes, start: int, stop: int) -> None:
        to.sendall(head + self.data[start:stop])


class Mass:
    """Bytes in memory that many large blobs begin with."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.descriptor = os.memfd_create("mass")
        self.hash = hashlib.sha256()
        block = os.urandom(min(size, 1 << 20))
        for start in range(0, size, len(block)):
            piece = block[: size - start]
            os.write(self.descriptor, piece)
            self.hash.update(piece)

    def __del__(self) -> None:
        os.close(self.descriptor)


class Large:
    """A blob of `mass.size` and TAIL bytes; no other has its digest."""

    def __init__(self, mass: Mass) -> None:
        self.mass, self.size = mass, mass.size + TAIL
        self.tail = os.urandom(TAIL)
        whole = mass.hash.copy()
        whole.update(self.tail)
        self.digest = f"sha256:{whole.hexdigest()}"

    def send(self, to: socket.socket, head: bytes, start: int, stop: int) -> None:
        to.sendall(head)
        end = min(stop, self.mass.size)
        while start < end:
            start += os.sendfile(to.fileno(), self.mass.descriptor, start, end - start)
        if stop > self.mass.size:
            to.sendall(self.tail[start - self.mass.size : stop - self.mass.size])


class Client:
    """One connection that stays open. Written out: an HTTP library would cost more than the registry does."""

    def __init__(self, url: str, token: str, source: str = "") -> None:
        address = urllib.parse.urlsplit(url)
        self._host = address.netloc
        self._address = (address.hostname or "", address.port or 80)
        self._token, self._source = token, source
        self._socket: socket.socket | None = None
        self._rest = b""

    def request(
        self,
        method: str,
        path: str,
        content: Content | None = None,
        *,
        part: tuple[int, int] | None = None,
        headers: str = "",
    ) -> Answer:
        """`part` of the content is sent, from and to; `headers` are whole lines."""
        start, stop = part or (0, content.size if content else 0)
        if method not in ("HEAD", "GET"):
            headers += f"Content-Length: {stop - start}\r\n"
        head = f"{method} {path} HTTP/1.1\r\nHost: {self._host}\r\nAuthorization: Bearer {self._token}\r\n{headers}\r\n"
        to = self._connected()
        if content is None:
            to.sendall(head.encode())
        else:
            content.send(to, head.encode(), start, stop)
        return self._answer(to, has_body=method != "HEAD")

    def _connected(self) -> socket.socket:
        if self._socket is None:
            origin = (self._source, 0) if self._source else None
            self._socket = socket.create_connection(self._address, TIMEOUT, source_address=origin)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # Time-outs of the kernel: Python's own would make the descriptor one that sendfile may not wait for.
            self._socket.settimeout(None)
            for which in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
                self._socket.setsockopt(socket.SOL_SOCKET, which, struct.pack("ll", int(TIMEOUT), 0))
            self._rest = b""
        return self._socket

    def _answer(self, of: socket.socket, *, has_body: bool) -> Answer:
        data = self._rest
        while (end := data.find(b"\r\n\r\n")) < 0:
            data += _received(of)
        first, *lines = data[:end].decode("latin-1").split("\r\n")
        headers = {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in lines)}
        status, body = int(first.split()[1]), data[end + 4 :]
        if has_body and status not in (204, 304):
            if "content-length" not in headers:
                raise Refused(f"an answer without its length: {first}")
            body, self._rest = _whole(of, body, int(headers["content-length"]))
        if headers.get("connection", "").lower() == "close":
            self.close()
        return Answer(status, headers, body)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def expect(
        self, status: int, method: str, path: str, content: Content | None = None,
        *, part: tuple[int, int] | None = None, headers: str = "",
    ) -> Answer:  # fmt: skip
        answer = self.request(method, path, content, part=part, headers=headers)
        if answer.status != status:
            place = path.partition("?")[0]
            raise Refused(f"{answer.status} to {method} {place}, not {status}: {answer.body[:200]!r}")
        return answer


def _whole(of: socket.socket, start: bytes, length: int) -> tuple[bytes, bytes]:
    """A body that begins with `start`, and what came after it. Joined once: it may have 256 MB."""
    parts, missing = [start], length - len(start)
    while missing > 0:
        parts.append(_received(of))
        missing -= len(parts[-1])
    whole = b"".join(parts)
    return whole[:length], whole[length:]


def _received(of: socket.socket) -> bytes:
    data = of.recv(1 << 18)
    if not data:
        raise Refused("the connection was closed before the answer was complete")
    return data


# -- what clients do


def push_blob(client: Client, repository: str, content: Content, chunk: int = 0) -> None:
    """POST, PATCH (one, or as many as there are chunks), PUT: what docker does."""
    answer = client.expect(202, "POST", f"/v2/{repository}/blobs/uploads/")
    for start in range(0, content.size, chunk or content.size):
        stop = min(start + (chunk or content.size), content.size)
        lines = "Content-Type: application/octet-stream\r\n"
        if chunk:
            lines += f"Content-Range: {start}-{stop - 1}\r\n"
        answer = client.expect(202, "PATCH", place_of(answer), content, part=(start, stop), headers=lines)
    client.expect(201, "PUT", with_digest(place_of(answer), content.digest))


def place_of(answer: Answer) -> str:
    """Path and query of its Location."""
    parts = urllib.parse.urlsplit(answer.headers["location"])
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


def with_digest(place: str, digest: str) -> str:
    return f"{place}{'&' if '?' in place else '?'}digest={digest}"


# -- all at once

Job = Callable[[Client], None]


@dataclass
class Load:
    """What the clients did. `cpu` is what they themselves took."""

    operations: int = 0
    seconds: float = 0.0
    cpu: float = 0.0
    latencies: list[float] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)

    def percentile(self, percent: float) -> float:
        ordered = sorted(self.latencies) or [0.0]
        return ordered[min(int(len(ordered) * percent / 100), len(ordered) - 1)]

    @property
    def rate(self) -> float:
        return self.operations / self.seconds


@dataclass
class _Report:
    began: float
    ended: float
    cpu: float
    latencies: list[float]
    refused: list[str]


def run(url: str, token: str, clients: Sequence[Sequence[Job]]) -> Load:
    """Each of the `clients` does its jobs one after the other, in a process and on a connection of its own."""
    context = multiprocessing.get_context("fork")  # jobs are closures over what was prepared
    start = context.Barrier(len(clients))
    running = []
    for jobs in clients:
        mine, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_work, args=(url, token, jobs, start, theirs), daemon=True)
        process.start()
        theirs.close()
        running.append((process, mine))
    load = Load()
    reports: list[_Report] = []
    for process, pipe in running:
        try:
            reports.append(pipe.recv())
        except EOFError:
            raise RuntimeError("a client of the generator died") from None
        process.join()
    for report in reports:
        load.latencies += report.latencies
        load.refused.update(report.refused)
        load.cpu += report.cpu
    load.operations = len(load.latencies)
    load.seconds = max(r.ended for r in reports) - min(r.began for r in reports)
    return load


def _work(
    url: str, token: str, jobs: Sequence[Job], start: multiprocessing.synchronize.Barrier, to: Pipe
) -> None:
    client = Client(url, token)
    latencies: list[float] = []
    refused: list[str] = []
    start.wait(TIMEOUT)
    before, began = _cpu(), time.monotonic()
    for job in jobs:
        at = time.monotonic()
        try:
            job(client)
        except (Refused, OSError) as e:
            refused.append(str(e) or type(e).__name__)
            client.close()
        else:
            latencies.append(time.monotonic() - at)
    to.send(_Report(began, time.monotonic(), _cpu() - before, latencies, refused))
    to.close()


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def new_name(kind: str) -> str:
    return f"{kind}-{secrets.token_hex(4)}"
