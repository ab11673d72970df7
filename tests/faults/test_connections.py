"""Many at once cost neither connections nor memory for good: 500 pushers, thousands of reads, slow readers that go.

The registry is `manage.py up` with two web processes and its own PostgreSQL.
"""

from __future__ import annotations

import contextlib
import functools
import json
import multiprocessing
import pathlib
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpx
import psycopg2
import pytest

from config.processes import raise_open_files_limit
from tests.bench.pushers import Client, Refused, Small, push_blob
from tests.bench.pushers import run as run_clients
from tests.components import process
from tests.components.breakwater import Breakwater, Credentials
from tests.content import MANIFEST, digest_of, encode, image_document

pytestmark = pytest.mark.slow

PUSHERS, PROCESSES = 500, 4
# 2 web processes × (4 + 4 + 4), and what worker and scheduler hold (design 8.1).
MOST_CONNECTIONS = 31
READS, SLOW_READERS = 4000, 1500
LAYER = 8 << 20
MAY_GROW = 1.2
SETTLED = 180  # seconds in which memory comes back; what nobody needs is kept for two minutes
MIB = 1 << 20


@dataclass
class Memory:
    """Bytes of the tree (PSS). `shared` is PostgreSQL's buffer pool: it fills up to its size, and stays."""

    own: int
    shared: int

    @classmethod
    def of(cls, pid: int) -> Memory:
        own = shared = 0
        for one in [pid, *process.descendants(pid)]:
            with contextlib.suppress(OSError):
                rollup = pathlib.Path(f"/proc/{one}/smaps_rollup").read_text()
                fields = {
                    name: rest.split() for name, _, rest in (s.partition(":") for s in rollup.splitlines())
                }
                shmem = int(fields["Pss_Shmem"][0]) << 10
                shared += shmem
                own += (int(fields["Pss"][0]) << 10) - shmem
        return cls(own, shared)

    def __str__(self) -> str:
        return f"{self.own / MIB:.0f} MB (and {self.shared / MIB:.0f} MB shared buffers)"


@dataclass
class Place:
    registry: Breakwater
    idle: Memory
    project: str
    robot: Credentials

    def open_pools(self) -> None:
        """Threads and connections of fixed number, which come with the first work and stay, are no growth."""
        repository = f"{self.project}/first"
        pushes = [
            functools.partial(push_image, repository=repository, tag=f"t{n}", image=image_of(n))
            for n in range(64)
        ]
        load = run_clients(self.registry.url, self.token(repository), [[push] for push in pushes])
        assert not load.refused

    def token(self, *repositories: str) -> str:
        scopes = [("scope", f"repository:{name}:pull,push") for name in repositories]
        answer = httpx.get(
            f"{self.registry.url}/service/token",
            params=[("service", "harbor-registry"), *scopes],
            auth=self.robot.pair,
        )
        return str(answer.raise_for_status().json()["token"])


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    registry = Breakwater(BREAKWATER_WORKERS="2")
    try:
        registry.start()
        project = registry.create_project()
        robot = registry.create_robot(project)
        place = Place(registry, Memory(0, 0), project, robot)
        place.open_pools()
        time.sleep(3)  # what starts late has started
        place.idle = Memory.of(registry.pid)
        yield place
        assert registry.failures() == []
    finally:
        registry.remove()


def image_of(number: int) -> tuple[list[Small], Small]:
    """Config and layer, and the manifest over them."""
    blobs = [
        Small(encode({"number": number, "salt": secrets.token_hex(8)})),
        Small(secrets.token_bytes(4096)),
    ]
    return blobs, Small(encode(image_document(blobs[0].data, [blobs[1].data])))


def push_image(client: Client, repository: str, tag: str, image: tuple[list[Small], Small]) -> None:
    blobs, manifest = image
    for blob in blobs:
        push_blob(client, repository, blob)
    client.expect(
        201, "PUT", f"/v2/{repository}/manifests/{tag}", manifest, headers=f"Content-Type: {MANIFEST}\r\n"
    )


def crowd(
    _: Client, url: str, token: str, pushes: Sequence[Callable[[Client], None]], start: threading.Barrier
) -> None:
    """A thread and a connection for each push. One address may have 256 transfers open: there are several."""

    def one(number: int) -> None:
        client = Client(url, token, source=f"127.0.0.{2 + number % 8}")
        start.wait(60)
        pushes[number](client)
        client.close()

    with ThreadPoolExecutor(len(pushes)) as pool:
        list(pool.map(one, range(len(pushes))))


@contextlib.contextmanager
def watched_connections(registry: Breakwater) -> Iterator[list[int]]:
    """How many connections PostgreSQL had, besides this one, sampled all the while."""
    embedded = json.loads((registry.home / "embedded.json").read_text())
    connection = psycopg2.connect(
        host="127.0.0.1", port=embedded["postgres_port"], user="breakwater", dbname="breakwater",
        password=embedded["postgres_password"],
    )  # fmt: skip
    connection.autocommit = True
    samples: list[int] = []
    done = threading.Event()

    def watch() -> None:
        with connection.cursor() as cursor:
            while not done.wait(0.02):
                cursor.execute(
                    "SELECT count(*) FROM pg_stat_activity WHERE datname IS NOT NULL AND pid <> pg_backend_pid()"
                )
                samples.extend(count for (count,) in cursor.fetchall())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield samples
    finally:
        done.set()
        thread.join()
        connection.close()


def test_500_pushers_at_once_take_no_more_connections_than_the_budget(
    place: Place, report: Callable[[str], None]
) -> None:
    repository = f"{place.project}/crowd"
    token = place.token(repository)
    images = [image_of(number) for number in range(PUSHERS)]
    pushes = [
        functools.partial(push_image, repository=repository, tag=f"t{number}", image=image)
        for number, image in enumerate(images)
    ]
    start = multiprocessing.get_context("fork").Barrier(PUSHERS)
    url = place.registry.url
    groups = [
        [functools.partial(crowd, url=url, token=token, pushes=pushes[number::PROCESSES], start=start)]
        for number in range(PROCESSES)
    ]
    with watched_connections(place.registry) as samples:
        load = run_clients(url, token, groups)
    report(
        f"{PUSHERS} pushers at once in {load.seconds:.1f} s: at most {max(samples)} connections to PostgreSQL, "
        f"by {len(samples)} samples"
    )
    assert not load.refused
    assert sorted(place.registry.tags(repository)) == sorted(f"t{number}" for number in range(PUSHERS))
    assert max(samples) <= MOST_CONNECTIONS
    assert len(samples) > 20


def read_much(place: Place, repository: str, layer: str) -> int:
    """Reads of manifests and the layer; how many were whole."""
    token = place.token(repository)

    def reads(client: Client) -> None:
        for _ in range(READS // 8):
            client.expect(200, "GET", f"/v2/{repository}/manifests/v1", headers=f"Accept: {MANIFEST}\r\n")
        for _ in range(4):
            answer = client.expect(200, "GET", f"/v2/{repository}/blobs/{layer}")
            if digest_of(answer.body) != layer:
                raise Refused("other bytes")

    load = run_clients(place.registry.url, token, [[reads] for _ in range(8)])
    assert not load.refused
    return 8 * (READS // 8 + 4)


def read_slowly_and_go(place: Place, repository: str, layer: str) -> int:
    """Readers, half of them of a range, who take a little and leave; how many were served."""
    token, served = place.token(repository), 0
    raise_open_files_limit()
    with contextlib.ExitStack() as stack:
        readers = []
        for number in range(SLOW_READERS):
            reader = stack.enter_context(socket.socket())
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
            reader.bind((f"127.0.0.{2 + number % 8}", 0))
            reader.connect(("127.0.0.1", int(place.registry.host.rpartition(":")[2])))
            span = "Range: bytes=1-\r\n" if number % 2 else ""
            reader.sendall(
                f"GET /v2/{repository}/blobs/{layer} HTTP/1.1\r\nHost: {place.registry.host}\r\n"
                f"Authorization: Bearer {token}\r\n{span}\r\n".encode()
            )
            readers.append(reader)
        for reader in readers:
            reader.settimeout(30)
            served += reader.recv(1024).startswith((b"HTTP/1.1 200", b"HTTP/1.1 206"))
    return served


def test_memory_comes_back(place: Place, report: Callable[[str], None]) -> None:
    repository = f"{place.project}/memory"
    client = Client(place.registry.url, place.token(repository))
    config, layer = Small(encode({"salt": secrets.token_hex(8)})), Small(secrets.token_bytes(LAYER))
    manifest = Small(encode(image_document(config.data, [layer.data])))
    push_image(client, repository, "v1", ([config, layer], manifest))
    for number in range(200):
        push_image(client, repository, f"more{number}", image_of(number))
    client.close()
    reads = read_much(place, repository, layer.digest)
    served = read_slowly_and_go(place, repository, layer.digest)
    loaded = Memory.of(place.registry.pid)
    deadline = time.monotonic() + SETTLED
    while (
        now := Memory.of(place.registry.pid)
    ).own > MAY_GROW * place.idle.own and time.monotonic() < deadline:
        time.sleep(0.5)  # nobody asks for anything: it comes back of itself
    report(
        f"memory: {place.idle} idle, {loaded} after 200 pushes, {reads} reads and {served} slow readers, then {now}"
    )
    assert served == SLOW_READERS
    assert now.own <= MAY_GROW * place.idle.own
