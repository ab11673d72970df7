"""Two registries, each with its supervisor, over one database and one store: what one has acknowledged the other never
contradicts, whoever of them comes, goes, or stands still meanwhile (design 8.6)."""

from __future__ import annotations

import json
import os
import pathlib
import secrets
import signal
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import httpx
import psycopg2
import pytest

from tests import ledger
from tests.components import process
from tests.components.breakwater import Breakwater, Credentials
from tests.components.postgres import Postgres
from tests.components.valkey import Valkey
from tests.content import INDEX, MANIFEST, descriptor, digest_of, encode, index_document, new_bytes
from tests.reporting import Report
from tests.server import Image, Repository, new_image

ROUNDS = 15


@dataclass
class Shared:
    """What both use, and how a host is made."""

    database: str
    storage: pathlib.Path
    redis: str

    def host(self) -> Breakwater:
        return Breakwater(
            DATABASE_URL=self.database,
            REDIS_URL=self.redis,
            BREAKWATER_STORAGE=f"file://{self.storage}",
            BREAKWATER_SECRET_KEY="k" * 40,
            BREAKWATER_WORKERS="1",
        )

    def execute(self, sql: str) -> None:
        connection = psycopg2.connect(self.database)
        with connection, connection.cursor() as cursor:
            cursor.execute(sql)
        connection.close()


@pytest.fixture(scope="module")
def shared(postgres: Postgres, valkey: Valkey) -> Shared:
    storage = process.own_directory("shared-storage")
    storage.mkdir()
    return Shared(postgres.create_database(f"two_hosts_{secrets.token_hex(4)}"), storage, valkey.url(55))


@pytest.fixture(scope="module")
def hosts(shared: Shared) -> Iterator[tuple[Breakwater, Breakwater]]:
    one, other = shared.host(), shared.host()
    try:
        one.start()
        other.start()
        yield one, other
        assert one.failures() == other.failures() == []
        ledger.assert_adds_up(shared.database, shared.storage)
    finally:
        other.remove()
        one.remove()


@pytest.fixture(scope="module")
def robot(hosts: tuple[Breakwater, Breakwater]) -> Credentials:
    return hosts[0].create_robot(hosts[0].create_project("both"))


Sides = tuple[Repository, Repository]


@pytest.fixture
def sides(hosts: tuple[Breakwater, Breakwater], robot: Credentials) -> Iterator[Sides]:
    """One new repository as seen through either host."""
    name = f"both/{secrets.token_hex(6)}"
    with hosts[0].v2(robot) as one, hosts[1].v2(robot) as other:
        yield Repository(one, name), Repository(other, name)


def answer_of(repository: Repository, path: str, method: str = "GET") -> str:
    """The digest, or the status."""
    answer = repository.request(method, path)
    return answer.headers["Docker-Content-Digest"] if answer.status_code == 200 else str(answer.status_code)


def twins(repository: Repository, count: int) -> list[Image]:
    """Manifests that share their blobs, not pushed yet."""
    image = new_image(1)
    for blob in image.blobs:
        repository.push_blob(blob)
    return [Image(image.payload + b" " * i, image.config, image.layers) for i in range(count)]


def listed(repository: Repository, path: str, key: str) -> list[str]:
    answer = repository.get(path)
    return [x if isinstance(x, str) else x["digest"] for x in answer.json()[key]] if answer.is_success else []


def test_a_tag_that_moves_on_one_host_is_read_on_the_other(sides: Sides, report: Report) -> None:
    checks = 0
    for i, image in enumerate(twins(sides[0], 2 * ROUNDS)):
        here, there = sides if i % 2 else sides[::-1]
        answer_of(there, "manifests/v1"), answer_of(there, f"manifests/{image.digest}")  # known as it was
        here.push_manifest(image.payload, "v1")
        for method in ("GET", "HEAD"):
            assert answer_of(there, "manifests/v1", method) == image.digest
            assert answer_of(there, f"manifests/{image.digest}", method) == image.digest
            checks += 2
        assert listed(there, "tags/list", "tags") == ["v1"]
        checks += 1
    report(f"{2 * ROUNDS} moves of a tag, {checks} reads on the other host")


def test_what_comes_and_goes_on_one_host_comes_and_goes_on_the_other(sides: Sides, report: Report) -> None:
    checks = 0

    def expect(repository: Repository, path: str, wanted: str) -> None:
        nonlocal checks
        for method in ("GET", "HEAD"):
            assert answer_of(repository, path, method) == wanted, f"{method} {path}"
            checks += 1

    for i in range(ROUNDS):
        here, there = sides if i % 2 else sides[::-1]
        image = new_image(1)
        layer, tag = digest_of(image.layers[0]), f"t{i}"
        referrer = new_image(0, subject=descriptor(MANIFEST, image.payload))
        for path in (f"blobs/{layer}", f"manifests/{tag}", f"manifests/{image.digest}"):
            expect(there, path, "404")
        for blob in image.blobs:
            here.push_blob(blob)
        expect(there, f"blobs/{layer}", layer)
        here.push_manifest(image.payload, tag)
        expect(there, f"manifests/{image.digest}", image.digest)
        expect(there, f"manifests/{tag}", image.digest)
        assert listed(there, f"referrers/{image.digest}", "manifests") == []
        here.push_image("", referrer)
        assert listed(there, f"referrers/{image.digest}", "manifests") == [referrer.digest]
        assert tag in listed(there, "tags/list", "tags")
        index = encode(index_document([image.payload]))
        here.push_manifest(index, "all", INDEX)
        expect(there, "manifests/all", digest_of(index))
        assert here.delete(f"manifests/{tag}").status_code == 202
        expect(there, f"manifests/{tag}", "404")
        assert tag not in listed(there, "tags/list", "tags")
        assert here.delete(f"manifests/{digest_of(index)}").status_code == 202
        for path in (
            "manifests/all",
            f"manifests/{digest_of(index)}",
            f"manifests/{image.digest}",
            f"blobs/{layer}",
        ):
            expect(there, path, "404")
        lone = here.push_blob(new_bytes())
        expect(there, f"blobs/{lone}", lone)
        assert here.delete(f"blobs/{lone}").status_code == 202
        expect(there, f"blobs/{lone}", "404")
    report(f"{ROUNDS} rounds of push and delete, {checks} reads on the other host")


# -- who comes, goes, or stands still


def web_of(host: Breakwater) -> list[int]:
    """Web processes, not the supervisor: parent and workers of granian."""
    parent = int(json.loads((host.home / "run/web.pid").read_text())["pid"])
    return [parent, *process.descendants(parent)]


def signal_all(pids: list[int], how: signal.Signals) -> None:
    for pid in pids:
        os.kill(pid, how)


class Poller:
    """Reads a tag all the time, so that its host knows the answer by heart."""

    def __init__(self, repository: Repository, path: str) -> None:
        self.count = 0
        self._repository, self._path, self._stop = repository, path, threading.Event()
        self._thread = threading.Thread(target=self._read)

    def _read(self) -> None:
        while not self._stop.is_set():
            answer_of(self._repository, self._path)
            self.count += 1
            time.sleep(0.01)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def test_a_host_that_stood_still_does_not_answer_from_memory(
    hosts: tuple[Breakwater, Breakwater], sides: Sides, robot: Credentials, report: Report
) -> None:
    """What it is asked while it stands still it answers as things are when it goes on."""
    here, there = sides
    paused = web_of(hosts[1])
    images = twins(here, 4)
    here.push_manifest(images[0].payload, "v1")
    for image, seconds in zip(images[1:], (0.5, 3, 6), strict=True):
        assert answer_of(there, "manifests/v1") == here.get("manifests/v1").headers["Docker-Content-Digest"]
        signal_all(paused, signal.SIGSTOP)
        try:
            here.push_manifest(image.payload, "v1")
            with ask_raw(hosts[1], robot, f"/v2/{there.name}/manifests/v1") as connection:
                time.sleep(seconds)
                signal_all(paused, signal.SIGCONT)
                assert image.digest in connection.recv(65536).decode("latin-1")
        finally:
            signal_all(paused, signal.SIGCONT)
        assert answer_of(there, "manifests/v1") == image.digest
    report("stopped for 0.5, 3 and 6 s; 3 moves of the tag meanwhile")


def ask_raw(host: Breakwater, robot: Credentials, path: str) -> socket.socket:
    """A request that is sent and not waited for."""
    name, _, port = host.host.partition(":")
    basic = httpx.BasicAuth(*robot.pair)._auth_header
    connection = socket.create_connection((name, int(port)), timeout=30)
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {host.host}\r\nAuthorization: {basic}\r\n\r\n".encode())
    return connection


def test_a_host_that_the_others_took_for_dead_is_known_before_it_acknowledges(
    shared: Shared, hosts: tuple[Breakwater, Breakwater], sides: Sides, report: Report
) -> None:
    """Its heartbeat is as old as after half a minute; the other one answers from memory by now."""
    here, there = sides
    old, new = twins(there, 2)
    there.push_manifest(old.payload, "v1")
    stopped = process.descendants(hosts[1].pid)  # the worker, too, says that its host lives
    pushed: list[float] = []
    signal_all(stopped, signal.SIGSTOP)
    try:
        time.sleep(15.5)
        shared.execute(
            "UPDATE registry_core_heartbeat SET seen_at = seen_at - interval '30 s' "
            "WHERE seen_at < now() - interval '9 s'"
        )
        with Poller(here, "manifests/v1") as poller:
            push = threading.Thread(
                target=lambda: pushed.append(there.put_manifest(new.payload, "v1").status_code)
            )
            time.sleep(2)
            push.start()
            time.sleep(0.2)
            signal_all(stopped, signal.SIGCONT)
            push.join()
            assert answer_of(here, "manifests/v1") == new.digest
    finally:
        signal_all(stopped, signal.SIGCONT)
    assert pushed == [201]
    report(f"stopped for 17 s and taken for dead; {poller.count} reads on the other host")


def test_hosts_that_leave_and_join(
    shared: Shared, hosts: tuple[Breakwater, Breakwater], robot: Credentials, report: Report
) -> None:
    """The one that stays reads all the time; it must give what is pushed through the new one from the first push on."""
    name = f"both/{secrets.token_hex(6)}"
    third = shared.host()
    moves = 0
    with hosts[0].v2(robot) as client:
        here = Repository(client, name)
        images = twins(here, 10)
        here.push_manifest(images.pop().payload, "v1")
        hosts[1].stop()
        with Poller(here, "manifests/v1"):
            third.start()
            with third.v2(robot) as other:
                for image in images:
                    Repository(other, name).push_manifest(image.payload, "v1")
                    assert answer_of(here, "manifests/v1") == image.digest
                    moves += 1
            third.kill_tree()
        hosts[1].start()
    process.remove_home(third.home)
    report(f"a host leaves, another joins and is killed, {moves} moves of the tag through it")
