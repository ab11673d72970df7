"""Growth: what an operation costs among 100, 10,000 and 1,000,000 tags, in one repository or spread over many.

Three registries of ours stand side by side, loaded by bulk.py, and every round measures them in turn. A row's value is
server CPU of the dearer of the two large ones against the small one. The credential is known. But for the warm row,
another host is made out to be alive, so that a read by tag is a query each time.
"""

from __future__ import annotations

import collections
import concurrent.futures
import http.client
import itertools
import json
import pathlib
import random
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from tests.bench import bulk, generator
from tests.bench.generator import ACCEPT, Request, Run
from tests.bench.progress import say
from tests.bench.registries import PROJECT, Breakwater, Registry, basic
from tests.bench.rows import Bench, Goal, Measure, RowFailed, row
from tests.components import process
from tests.components.postgres import query
from tests.content import INDEX, MANIFEST, descriptor, digest_of, encode, image_document, new_bytes

SIZES = (100, 10_000, 1_000_000)
LARGEST = 1.3
THREADS = 4
DELETED = 50
REFERRERS = 100
_seed = itertools.count(1)
_ANOTHER = (
    "INSERT INTO registry_core_heartbeat (process, host, role, seen_at, flushed_at) VALUES "
    "(gen_random_uuid(), gen_random_uuid(), 'web', now() + interval '1 day', now() + interval '1 day')"
)
_NO_OTHER = "DELETE FROM registry_core_heartbeat WHERE seen_at > now() + interval '1 hour'"


@dataclass
class Grown:
    """A registry with `size` tags; `repository` is the one that is worked in."""

    registry: Breakwater
    size: int
    spread: bool
    database: str = ""
    first: bytes = b""
    is_alone: bool = True
    _local: threading.local = field(default_factory=threading.local)

    @property
    def repository(self) -> str:
        return f"{PROJECT}/{'s00000001' if self.spread else 'one'}"

    def named(self, number: int) -> tuple[str, str]:
        """Repository and tag of a copy."""
        place = f"s{(number - 1) // bulk.PER_REPOSITORY + 1:08}" if self.spread else "one"
        return f"{PROJECT}/{place}", f"t{number:08}"

    def request(
        self, method: str, path: str, body: bytes | None = None, expected: int = 200, **headers: str
    ) -> bytes:
        """One exchange on the thread's own connection; another status fails the row."""
        if not hasattr(self._local, "connection"):
            self._local.connection = self.registry.connect()
        connection: http.client.HTTPConnection = self._local.connection
        sent = {"Authorization": basic(self.registry.robot), "Accept": f"{MANIFEST}, {INDEX}", **headers}
        connection.request(method, path, body, sent)
        answer = connection.getresponse()
        content = answer.read()
        if answer.status != expected:
            raise RowFailed(f"{method} {path}: {answer.status} {content[:300]!r}")
        return content

    def sending(
        self, paths: Iterable[str], authorization: str = "", connections: int = 4
    ) -> Callable[[], Run]:
        """What sends a GET for each of them."""
        authorization = authorization or basic(self.registry.robot)
        requests = [Request("GET", f"/v2/{path}", authorization, accept=ACCEPT) for path in paths]
        file = generator.write(self.registry.directory / "requests" / "growth", self.registry.host, requests)
        return lambda: generator.run(file, self.registry.port, connections=connections).check()

    def pretend(self, *, alone: bool) -> None:
        """That no other host lives, or that one does."""
        if alone != self.is_alone:
            self.rows(_NO_OTHER if alone else _ANOTHER)
            time.sleep(1.5)  # until every process has seen it
        self.is_alone = alone

    def all(self, work: Callable[[Any], object], items: Iterable[Any]) -> None:
        with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
            collections.deque(pool.map(work, items), maxlen=0)

    def push_blob(self, data: bytes, repository: str = "") -> None:
        path = f"/v2/{repository or self.repository}/blobs/uploads/?digest={digest_of(data)}"
        self.request("POST", path, data, 201, **{"Content-Type": "application/octet-stream"})

    def push_manifest(self, payload: bytes, reference: str, repository: str = "") -> None:
        path = f"/v2/{repository or self.repository}/manifests/{reference}"
        self.request("PUT", path, payload, 201, **{"Content-Type": MANIFEST})

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        return query(self.database, sql, *values)


_grown: dict[bool, list[Grown]] = {}


def grown(*, spread: bool) -> list[Grown]:
    """Those of the last shape are stopped before others start."""
    if spread not in _grown:
        stop_all()
        _grown[spread] = [_start(size, spread=spread) for size in SIZES]
    return _grown[spread]


def stop_all() -> None:
    for ones in _grown.values():
        for one in ones:
            one.registry.server.remove()
    _grown.clear()


def _start(size: int, *, spread: bool) -> Grown:
    home = process.run_directory() / f"growth-{'spread' if spread else 'one'}-{size}"
    say(f"loading {size:,} tags into {'many repositories' if spread else 'one repository'}")
    one = Grown(Breakwater(home, BREAKWATER_GC_GRACE="0"), size, spread=spread)
    one.registry.start()
    one.database = one.registry.server.given_to_children()["DATABASE_URL"]
    layers, config = [new_bytes(4096) for _ in range(3)], b'{"architecture": "amd64", "os": "linux"}'
    document = image_document(config, layers, annotations={"number": bulk.NUMBER})
    one.first = encode(document)
    for blob in (config, *layers):
        one.push_blob(blob, f"{PROJECT}/one")
    one.push_manifest(one.first, f"t{bulk.NUMBER}", f"{PROJECT}/one")
    bulk.copy_image(one.database, PROJECT, "one", size - 1 if not spread else size, spread=spread)
    one._local = threading.local()  # the server has closed what was idle for so long
    for blob in (config, *layers):  # readable where it is pushed to
        one.push_blob(blob)
    subject = descriptor(MANIFEST, one.first)
    one.all(
        lambda i: one.push_manifest(
            payload := _image(one, f"referrer {i}", subject=subject), digest_of(payload)
        ),
        range(REFERRERS),
    )
    return one


def _image(one: Grown, number: str, **changes: Any) -> bytes:
    return encode(json.loads(one.first) | {"annotations": {"number": number}} | changes)


@dataclass(frozen=True)
class Operation:
    """`work` prepares, and gives what is measured: so many times the operation."""

    name: str
    title: str
    times: int
    work: Callable[[Grown], Callable[[], object]]
    alone: bool = False
    together: bool = False  # in all at once: most of its time it waits

    def measure(self, registry: Registry, *, spread: bool) -> Measure | None:
        if not isinstance(registry, Breakwater):
            return None
        ones = grown(spread=spread)
        with concurrent.futures.ThreadPoolExecutor(len(ones) if self.together else 1) as pool:
            cpu = list(pool.map(self._cpu, ones))
        notes = {f"cpu_us_{size}": round(each * 1e6, 1) for size, each in zip(SIZES, cpu, strict=True)}
        return Measure(value=max(cpu[1:]) / cpu[0], notes=notes)

    def _cpu(self, one: Grown) -> float:
        """Of the server, in seconds, for one."""
        one.pretend(alone=self.alone)
        measured = self.work(one)
        with one.registry.measured() as used:
            measured()
        return used.cpu / self.times


# -- what is done


def get_by_tag(one: Grown) -> Callable[[], object]:
    chosen = random.Random(next(_seed))
    names = [one.named(chosen.randint(1, one.size - 1)) for _ in range(GETS)]
    return one.sending(f"{repository}/manifests/{tag}" for repository, tag in names)


def get_warm(one: Grown) -> Callable[[], object]:
    """Few, of one repository, and asked for shortly before by so many connections that each process knows all of them.

    Before the rows that push, since what was changed lately is looked up again every 2 s.
    """
    among = bulk.PER_REPOSITORY if one.spread else one.size
    chosen = random.Random(next(_seed)).sample(range(1, among), KNOWN)
    paths = [f"{repository}/manifests/{tag}" for repository, tag in map(one.named, chosen)]
    one.sending(paths * 40, connections=32)()
    return one.sending(paths * (WARM_GETS // KNOWN))


def put(one: Grown) -> Callable[[], object]:
    run = next(_seed)
    new = [(f"new-{run}-{i}", _image(one, f"{run} {i}")) for i in range(PUTS)]
    return lambda: one.all(lambda n: one.push_manifest(n[1], n[0]), new)


def list_tags(one: Grown) -> Callable[[], object]:
    return one.sending([f"{one.repository}/tags/list?n=50"] * PAGES)


def list_tags_in_the_middle(one: Grown) -> Callable[[], object]:
    middle = (bulk.PER_REPOSITORY if one.spread else one.size) // 2 - 1
    return one.sending([f"{one.repository}/tags/list?n=50&last={one.named(middle)[1]}"] * PAGES)


def list_referrers(one: Grown) -> Callable[[], object]:
    return one.sending([f"{one.repository}/referrers/{digest_of(one.first)}"] * PAGES)


def list_catalog(one: Grown) -> Callable[[], object]:
    """As long a page as the smallest can fill."""
    return one.sending(["_catalog?n=2"] * PAGES, one.registry.catalog_authorization())


def delete(one: Grown) -> Callable[[], object]:
    """Images of which nobody else has a byte; over when all their files are gone."""
    images = [(encode({"unique": new_bytes(8).hex()}), new_bytes(4096)) for _ in range(DELETED)]
    manifests = [encode(image_document(config, [layer])) for config, layer in images]
    digests = [digest_of(payload) for payload in manifests]
    blobs = [digest_of(blob) for image in images for blob in image]
    one.all(one.push_blob, [blob for image in images for blob in image])
    one.all(lambda payload: one.push_manifest(payload, f"doomed-{digest_of(payload)[7:19]}"), manifests)
    files = [
        one.registry.storage / key
        for (key,) in one.rows("SELECT key FROM registry_core_blob WHERE digest = ANY(%s)", blobs)
    ]
    if len(files) != 2 * DELETED or not all(file.exists() for file in files):
        raise RowFailed(f"{len(files)} files of {2 * DELETED} blobs")

    def gone() -> None:
        one.all(lambda d: one.request("DELETE", f"/v2/{one.repository}/manifests/{d}", expected=202), digests)
        _wait_until_gone(files)

    return gone


def _wait_until_gone(files: list[pathlib.Path]) -> None:
    deadline = time.monotonic() + 60
    while any(file.exists() for file in files):
        if time.monotonic() > deadline:
            raise RowFailed(f"{sum(file.exists() for file in files)} files are still there")
        time.sleep(0.1)


# Enough that a clock of 10 ms a process measures them.
GETS, WARM_GETS, PUTS, PAGES = 2000, 10_000, 200, 2000
KNOWN = 50  # what the warm ones are of
_OPERATIONS = (
    Operation("get", "manifest GET by tag", GETS, get_by_tag),
    Operation("tags", "tags/list, first page", PAGES, list_tags),
    Operation("tags_middle", "tags/list, page in the middle", PAGES, list_tags_in_the_middle),
    Operation("referrers", "referrers, 100", PAGES, list_referrers),
    Operation("catalog", "catalog, first page", PAGES, list_catalog),
    Operation("get_warm", "manifest GET by tag, warm", WARM_GETS, get_warm, alone=True),
    Operation("put", "manifest PUT, new tag", PUTS, put),
    Operation("delete", "delete and free an artifact", DELETED, delete, together=True),
)


def _add(operation: Operation, *, spread: bool) -> None:
    shape, where = ("many", "many repositories") if spread else ("one", "one repository")

    @row(
        f"growth_{shape}_{operation.name}", f"{operation.title}: 100 → 1,000,000 tags in {where}",
        group="growth", goal=Goal(most=LARGEST), unit="×",
    )  # fmt: skip
    def measured(_: Bench, registry: Registry) -> Measure | None:
        return operation.measure(registry, spread=spread)


for _spread in (False, True):
    for _operation in _OPERATIONS:
        _add(_operation, spread=_spread)
