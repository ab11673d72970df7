"""Fifty clients move one tag at once, over HTTP and two web processes: nobody is refused, every move is told of once,
and no read is older than what had been acknowledged before it (design 3: one row lock, the last writer wins)."""

from __future__ import annotations

import itertools
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import httpx
import pytest

from tests.content import digest_of
from tests.reporting import Report
from tests.server import Image, Pair, Repository, Server, new_image

CLIENTS = 50
READERS = 6


def prepare(repository: Repository, count: int) -> list[Image]:
    """Manifests that share their blobs, not pushed yet."""
    image = new_image(1)
    for blob in image.blobs:
        repository.push_blob(blob)
    return [Image(image.payload + b" " * i, image.config, image.layers) for i in range(count)]


@dataclass
class Crowd:
    """What clients were told, and when."""

    server: Server
    robot: Pair
    repository: str
    statuses: list[int] = field(default_factory=list)
    acknowledged: list[tuple[float, str]] = field(default_factory=list)  # when 201 was here, for which digest
    reads: list[tuple[float, str]] = field(default_factory=list)  # when the request went out, what came
    writing: threading.Event = field(default_factory=threading.Event)

    def push_all(self, images: list[Image]) -> None:
        start = threading.Barrier(len(images))

        def push(image: Image) -> None:
            with httpx.Client(base_url=f"{self.server.url}/v2", auth=self.robot, timeout=60) as client:
                mine = Repository(client, self.repository)
                mine.get("tags/list")  # the connection stands, the credential is known
                start.wait(timeout=60)
                answer = mine.put_manifest(image.payload, "latest")
                self.acknowledged.append((time.monotonic(), image.digest))
                self.statuses.append(answer.status_code)

        with ThreadPoolExecutor(len(images) + READERS) as pool:
            reading = [pool.submit(self._read) for _ in range(READERS)]
            try:
                list(pool.map(push, images))
            finally:
                self.writing.set()
            for reader in reading:
                reader.result()

    def _read(self) -> None:
        """Each time on a new connection, so that either process is asked."""
        while not self.writing.is_set():
            with httpx.Client(base_url=f"{self.server.url}/v2", auth=self.robot, timeout=60) as client:
                for _ in range(3):
                    began = time.monotonic()
                    answer = Repository(client, self.repository).get("manifests/latest")
                    assert answer.status_code in (200, 404), answer.text
                    self.reads.append((began, digest_of(answer.content) if answer.status_code == 200 else ""))


def moves_of(server: Server, repository: str) -> list[tuple[str, str]]:
    """(from, to) of the tag's moves, in the order in which they were written."""
    return server.rows(
        "SELECT h.from_digest, h.to_digest FROM registry_core_taghistory h JOIN registry_core_repository r "
        "ON r.id = h.repository_id WHERE r.path = %s AND h.name = 'latest' ORDER BY h.id",
        repository.partition("/")[2],
    )


@pytest.mark.parametrize("tag", ["new", "there already"])
def test_fifty_clients_push_one_tag_at_once(
    two: Server, pusher: Pair, shared: Repository, report: Report, tag: str
) -> None:
    images = prepare(shared, CLIENTS + 1)
    first = images.pop()
    before = ""
    if tag == "there already":
        before = shared.push_manifest(first.payload, "latest")
    crowd = Crowd(two, pusher, shared.name)
    crowd.push_all(images)
    assert crowd.statuses == [201] * CLIENTS

    moves = moves_of(two, shared.name)[1 if before else 0 :]
    assert sorted(to for _, to in moves) == sorted(image.digest for image in images)
    assert [source for source, _ in moves] == [before, *(to for _, to in moves[:-1])], (
        "the history is no chain"
    )
    last = moves[-1][1]
    order = {digest: i for i, digest in enumerate([before, *(to for _, to in moves)])}
    assert_current(crowd, order)
    for _ in range(2 * READERS):
        with httpx.Client(base_url=f"{two.url}/v2", auth=pusher) as client:
            answer = Repository(client, shared.name).get("manifests/latest")
            assert answer.headers["Docker-Content-Digest"] == digest_of(answer.content) == last
    assert_told(two, shared.name, {image.digest for image in images})
    report(
        f"{CLIENTS} clients pushed one tag, {len(moves)} moves in the history, {len(crowd.reads)} reads meanwhile"
    )


def assert_current(crowd: Crowd, order: dict[str, int]) -> None:
    """A read gives something that was pushed, and nothing older than what had been acknowledged when it began."""
    assert len(crowd.reads) > 2 * READERS
    acknowledged = sorted(crowd.acknowledged)
    newest = list(itertools.accumulate((order[digest] for _, digest in acknowledged), max))
    for began, digest in crowd.reads:
        count = sum(at < began for at, _ in acknowledged)
        assert order[digest] >= (newest[count - 1] if count else 0), f"{count} pushes were acknowledged"


def assert_told(server: Server, repository: str, digests: set[str]) -> None:
    """One event and one audit row for each push."""
    events = server.rows(
        "SELECT payload->>'digest' FROM registry_core_eventoutbox WHERE payload->>'repository' = %s "
        "AND payload->'tags' = '[\"latest\"]' AND type = 'artifact.pushed'",
        repository,
    )
    told = [digest for (digest,) in events if digest in digests]
    assert (len(told), set(told)) == (len(digests), digests)
    ((audited,),) = server.rows(
        "SELECT count(*) FROM registry_core_auditlog WHERE resource = %s AND operation = 'create'",
        f"{repository}:latest",
    )
    assert audited in (len(digests), len(digests) + 1)
