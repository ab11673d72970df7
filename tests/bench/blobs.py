"""The rows that read blobs, from the registry itself and from nginx in front of it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from tests.bench import generator
from tests.bench.generator import Request
from tests.bench.reads import warm
from tests.bench.registries import Registry
from tests.bench.rows import Bench, Goal, Measure, RowFailed, row
from tests.bench.stored import BLOBS, large, medium, small
from tests.components import process
from tests.components.nginx import Nginx

SIZE = 256 << 20  # of the large one


def _request(registry: Registry, digest: str) -> Request:
    return Request("GET", f"/v2/{BLOBS}/blobs/{digest}", registry.authorization(BLOBS), digest=digest)


def _small(bench: Bench, registry: Registry) -> Measure:
    return warm(bench, registry, (_request(registry, d) for d in small()))


def _medium(bench: Bench, registry: Registry) -> Measure:
    requests = (_request(registry, d) for d in medium())
    return warm(bench, registry, requests, connections=16, check_every=16)


def _large(bench: Bench, registry: Registry) -> Measure:
    """One that is hashed, then those that are measured, whose lengths are checked."""
    requests = [_request(registry, large())]
    file = generator.write(registry.directory / "requests" / "large", registry.host, requests)
    if generator.run(file, registry.entry).check().checked != 1:
        raise RowFailed("the body was not hashed")
    with registry.measured() as used:
        # Hashing 256 MB would take longer than sending them: the one before was hashed, of these none is.
        result = generator.run(
            file, registry.entry, seconds=bench.seconds, connections=2, check_every=1 << 20
        )
    result.check()
    if result.bytes != result.operations * SIZE:
        raise RowFailed(f"{result.bytes} bytes in {result.operations} answers")
    return Measure(result.operations, result.seconds, used.cpu, result.cpu, notes={"p99_ms": result.p99_ms})


@contextlib.contextmanager
def _behind_nginx(registry: Registry) -> Iterator[None]:
    """Its CPU counts as the registry's. It must send the files itself."""
    nginx = Nginx(process.own_directory("nginx"), process.free_port())
    nginx.start(registry.host, registry.storage, keepalive=True, workers="auto")
    registry.front = (nginx.pid, nginx.port)
    try:
        yield
        if not all("file=/stored/" in line for line in nginx.sent()):
            raise RowFailed(f"nginx did not send the file itself: {nginx.sent()[:1]}")
    finally:
        registry.front = None
        nginx.stop()


_ROWS: tuple[tuple[str, str, Callable[[Bench, Registry], Measure], Goal, Goal], ...] = (
    ("4k", "4 KB", _small, Goal(dreg=20, v3=10), Goal()),
    ("1m", "1 MB", _medium, Goal(dreg=3), Goal()),
    ("256m", "256 MB", _large, Goal(dreg=1.2), Goal(dreg=1.7)),
)


def _add(
    name: str, title: str, read: Callable[[Bench, Registry], Measure], alone: Goal, behind: Goal
) -> None:
    row(f"blob_get_{name}", f"blob GET {title}", group="read", goal=alone)(read)

    @row(f"blob_get_{name}_nginx", f"blob GET {title}, ours behind nginx", group="read", goal=behind)
    def behind_nginx(bench: Bench, registry: Registry) -> Measure:
        if registry is not bench.ours:
            return read(bench, registry)
        with _behind_nginx(registry):
            return read(bench, registry)


for _row in _ROWS:
    _add(*_row)
