"""Manifests beside a crowd: slow readers, slow readers of ranges, slow uploaders; real connections that stay open.

A row counts only when every one of the crowd was served and was still there at its end. The crowd comes from several
addresses of the loopback, as a crowd does.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import resource
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection as Pipe

from tests.bench import generator
from tests.bench.pushers import Client, new_name, place_of
from tests.bench.reads import manifest_request
from tests.bench.registries import PROJECT, Registry
from tests.bench.rows import Bench, Goal, Measure, RowFailed, row
from tests.bench.stored import BLOBS, large, tagged

MIB = 1 << 20
READERS, RANGES, UPLOADERS = 1500, 500, 40
ADDRESSES = 16
PROCESSES = 2
TRICKLE = 4096  # bytes each second
PACE = 1.0
RECEIVE_BUFFER = 4096  # the kernel must not take what the reader leaves
GATHERED = 60.0  # seconds in which all of the crowd must be served
SECONDS = 3.0
HOT = 100  # manifests that are read beside the crowd


@dataclass
class _Member:
    """One connection: `head` until its first line has come, then a count of bytes that were taken or sent."""

    socket: socket.socket
    head: bytes = b""
    status: int = 0
    bytes: int = 0
    is_open: bool = True


@dataclass(frozen=True)
class _Report:
    served: int
    still_open: int
    bytes: int
    refused: str


def _connected(port: int, number: int) -> socket.socket:
    one = socket.socket()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    one.bind((f"127.0.0.{2 + number % ADDRESSES}", 0))
    one.settimeout(GATHERED)
    one.connect(("127.0.0.1", port))
    return one


def _readers(registry: Registry, count: int, *, ranges: bool) -> Iterator[_Member]:
    lines = f"Range: bytes=1-{256 * MIB - 1}\r\n" if ranges else ""
    head = (
        f"GET /v2/{BLOBS}/blobs/{large()} HTTP/1.1\r\nHost: {registry.host}\r\n"
        f"Authorization: {registry.authorization(BLOBS)}\r\n{lines}\r\n"
    ).encode()
    for number in range(count):
        one = _connected(registry.port, number)
        one.sendall(head)
        one.setblocking(False)
        yield _Member(one)


def _uploaders(registry: Registry, repository: str, token: str, count: int) -> Iterator[_Member]:
    for number in range(count):
        client = Client(registry.url, token)
        place = place_of(client.expect(202, "POST", f"/v2/{repository}/blobs/uploads/"))
        client.close()
        one = _connected(registry.port, number)
        one.sendall(
            f"PATCH {place} HTTP/1.1\r\nHost: {registry.host}\r\nAuthorization: Bearer {token}\r\n"
            f"Content-Type: application/octet-stream\r\nContent-Length: {64 * MIB}\r\n\r\n".encode()
        )
        one.setblocking(False)
        yield _Member(one, status=202)


def _read(member: _Member) -> None:
    """A little; the first bytes are the status line."""
    try:
        data = member.socket.recv(TRICKLE)
    except BlockingIOError:
        return
    except OSError:
        data = b""
    if not data:
        member.is_open = False
    elif member.status == 0:
        member.head += data
        if b"\r\n\r\n" in member.head:
            member.status = int(member.head.split()[1])
    else:
        member.bytes += len(data)


def _send(member: _Member) -> None:
    try:
        member.bytes += member.socket.send(bytes(TRICKLE))
    except BlockingIOError:
        pass
    except OSError:
        member.is_open = False
    with contextlib.suppress(BlockingIOError, OSError):
        member.head += member.socket.recv(TRICKLE)  # an answer before the end is a refusal
        member.status, member.is_open = 0, False


def _live(members: Callable[[], Iterator[_Member]], step: Callable[[_Member], None], parent: Pipe) -> None:
    """A process of the crowd: gathers, says that it has, trickles until it is told to end, says what came of it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    crowd: list[_Member] = []
    failure = ""
    try:
        crowd.extend(members())
    except Exception as e:  # noqa: BLE001  what went wrong is what the row says
        failure = f"{type(e).__name__}: {e}"
    deadline = time.monotonic() + GATHERED
    while any(m.status == 0 and m.is_open for m in crowd) and time.monotonic() < deadline:
        for member in crowd:
            step(member)
        time.sleep(0.05)
    parent.send("gathered")
    while not parent.poll(PACE):
        for member in crowd:
            if member.is_open:
                step(member)
    served = [m for m in crowd if m.status in (200, 202, 206)]
    refused = failure or next((m.head[:120].decode("latin-1") for m in crowd if m not in served), "")
    parent.send(_Report(len(served), sum(m.is_open for m in served), sum(m.bytes for m in served), refused))


@contextlib.contextmanager
def _crowd(
    count: int, members: Callable[[int], Iterator[_Member]], step: Callable[[_Member], None]
) -> Iterator[list[_Report]]:
    """While it lasts, so many connections trickle. The reports are there when it is over."""
    context = multiprocessing.get_context("fork")
    processes = []
    for number in range(PROCESSES):
        share = count // PROCESSES + (number < count % PROCESSES)
        mine, theirs = context.Pipe()
        process = context.Process(target=_live, args=(lambda s=share: members(s), step, theirs), daemon=True)
        process.start()
        theirs.close()
        processes.append((process, mine))
    for _, pipe in processes:
        pipe.recv()
    reports: list[_Report] = []
    try:
        yield reports
    finally:
        for process, pipe in processes:
            pipe.send("end")
            reports.append(pipe.recv())
            process.join()


Step = Callable[[_Member], None]
# How many, what makes its members, what each does now and then.
Kind = tuple[int, Callable[[int], Iterator[_Member]], Step]


def _slow_readers(registry: Registry) -> Kind:
    return READERS, lambda share: _readers(registry, share, ranges=False), _read


def _slow_ranges(registry: Registry) -> Kind:
    return RANGES, lambda share: _readers(registry, share, ranges=True), _read


def _slow_uploaders(registry: Registry) -> Kind:
    repository = f"{PROJECT}/{new_name('slow')}"
    token = registry.token(repository)  # here, since forked processes would share the connection that asks
    return UPLOADERS, lambda share: _uploaders(registry, repository, token, share), _send


def _beside(registry: Registry, kind: Kind) -> Measure:
    """Reads of manifests beside a crowd, and the memory of the tree then."""
    requests = (manifest_request(registry, one, "GET", by_tag=True) for one in tagged()[:HOT])
    registry.token(BLOBS)
    file = generator.write(registry.directory / "requests" / "crowd", registry.host, requests)
    count, members, step = kind
    with _crowd(count, members, step) as reports:
        measure = generator.measure(registry, file, seconds=SECONDS, connections=32)
        memory = registry.memory()
    served, still = sum(r.served for r in reports), sum(r.still_open for r in reports)
    moved = sum(r.bytes for r in reports)
    if not (served == still == count and moved > 0):
        refused = next((r.refused for r in reports if r.refused), "")
        raise RowFailed(f"of {count}, {served} were served, {still} stayed; {refused!r}")
    notes = {
        "rate": measure.rate, "cpu_ms": measure.cpu_each * 1000, "served": served, "crowd_mb": moved / MIB,
        "memory_mb": memory / MIB,
    }  # fmt: skip
    return Measure(value=measure.notes["p99_ms"], notes=notes)


_asked: set[tuple[str, str]] = (
    set()
)  # peers are asked once: one of them takes a minute, and no goal needs them
_beside_ranges: dict[str, Measure] = {}  # by registry: the last one


def _add(name: str, title: str, kind: Callable[[Registry], Kind]) -> None:
    @row(name, f"manifest GET p99 beside {title}", group="crowd", unit="ms", goal=Goal(most=50))
    def measured(bench: Bench, registry: Registry) -> Measure | None:
        if registry is not bench.ours and (name, registry.name) in _asked:
            return None
        _asked.add((name, registry.name))
        measure = _beside(registry, kind(registry))
        if kind is _slow_ranges:
            _beside_ranges[registry.name] = measure
        return measure


_add("crowd_readers", "1,500 slow readers", _slow_readers)
_add("crowd_uploaders", "40 slow uploaders", _slow_uploaders)
_add("crowd_ranges", "500 slow ranges", _slow_ranges)


@row(
    "crowd_ranges_memory", "memory beside 500 slow ranges", group="crowd", unit="MB", goal=Goal(most=1024),
    rounds=1,
)  # fmt: skip
def crowd_ranges_memory(bench: Bench, registry: Registry) -> Measure | None:
    """Of the row before, where it was measured."""
    measure = _beside_ranges.get(registry.name)
    if measure is None and registry is bench.ours:
        measure = _beside(registry, _slow_ranges(registry))
    return measure and Measure(value=measure.notes["memory_mb"], notes=measure.notes)
