"""Two registries, each with its supervisor and worker, over one database and one S3 bucket: what one has acknowledged
the other serves at once and whole, uploads go on through either, and nothing is left behind for want of an owner."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest

from tests.components.breakwater import Breakwater
from tests.components.postgres import Postgres, query
from tests.components.seaweedfs import BUCKET, SeaweedFS, seaweedfs
from tests.components.valkey import Valkey
from tests.content import digest_of, new_bytes
from tests.reporting import Report
from tests.server import Repository, new_image

__all__ = ["seaweedfs"]

ROUNDS = 10
CHUNK = 6 << 20  # more than a part of a multipart upload, and no multiple of it


@dataclass
class Bucket:
    """What both hosts use."""

    store: SeaweedFS
    prefix: str
    database: str

    def host(self, redis: str) -> Breakwater:
        return Breakwater(
            DATABASE_URL=self.database,
            REDIS_URL=redis,
            BREAKWATER_STORAGE=self.store.url(self.prefix),
            BREAKWATER_SECRET_KEY="k" * 40,
            BREAKWATER_WORKERS="1",
            **self.store.credentials,
        )

    def objects(self) -> set[str]:
        """Keys that the bucket holds for these registries."""
        listed = self.store.client().list_objects_v2(Bucket=BUCKET, Prefix=f"{self.prefix}/objects/")
        return {entry["Key"].removeprefix(f"{self.prefix}/") for entry in listed.get("Contents", [])}

    def known(self) -> set[str]:
        return {key for (key,) in query(self.database, "SELECT key FROM registry_core_blob")}


@pytest.fixture(scope="module")
def bucket(postgres: Postgres, seaweedfs: SeaweedFS) -> Bucket:
    mark = secrets.token_hex(4)
    return Bucket(seaweedfs, f"two-hosts-{mark}", postgres.create_database(f"two_hosts_s3_{mark}"))


Sides = tuple[Repository, Repository]


@pytest.fixture(scope="module")
def hosts(bucket: Bucket, valkey: Valkey) -> Iterator[tuple[Breakwater, Breakwater]]:
    one, other = bucket.host(valkey.url(53)), bucket.host(valkey.url(53))
    try:
        one.start()
        other.start()
        yield one, other
        assert one.failures() == other.failures() == []
        for host in (one, other):
            scrubbed = host.manage("scrub", "--verify", "100")
            assert scrubbed.returncode == 0, scrubbed.stdout
    finally:
        other.remove()
        one.remove()


@pytest.fixture(scope="module")
def sides(hosts: tuple[Breakwater, Breakwater]) -> Iterator[Sides]:
    """One repository as seen through either host."""
    robot = hosts[0].create_robot(hosts[0].create_project("both"))
    with hosts[0].v2(robot) as one, hosts[1].v2(robot) as other:
        yield Repository(one, "both/app"), Repository(other, "both/app")


def test_what_one_host_acknowledged_the_other_serves(sides: Sides, report: Report) -> None:
    images = [new_image(2, 5000) for _ in range(ROUNDS)]
    for number, image in enumerate(images):
        here, there = sides if number % 2 else sides[::-1]
        assert there.get(f"manifests/{image.digest}").status_code == 404
        there.get("manifests/v1")  # known as it was
        here.push_image("v1", image)
        there.assert_holds(image, "v1")
        there.assert_holds(image)
    report(
        f"{ROUNDS} moves of a tag over S3, each image read whole on the other host, {ROUNDS} times right at once"
    )


def through(repository: Repository, location: str) -> str:
    """The same upload at this host."""
    return str(repository.client.base_url.copy_with(path=urlsplit(location).path))


def test_an_upload_goes_on_through_the_other_host(sides: Sides, bucket: Bucket, report: Report) -> None:
    data = new_bytes(3 * CHUNK)
    digest, location = digest_of(data), sides[0].start_upload()
    for number in range(3):
        here = sides[(number + 1) % 2]
        chunk = data[number * CHUNK : (number + 1) * CHUNK]
        place = {"Content-Range": f"{number * CHUNK}-{(number + 1) * CHUNK - 1}"}
        answer = here.client.patch(through(here, location), content=chunk, headers=place)
        assert answer.status_code == 202, answer.text
        there = sides[number % 2].client.get(through(sides[number % 2], location))
        assert (there.status_code, there.headers["Range"]) == (204, f"0-{(number + 1) * CHUNK - 1}")
    answer = sides[1].client.put(through(sides[1], location), params={"digest": digest})
    assert answer.status_code == 201, answer.text
    for side in sides:
        assert digest_of(side.get(f"blobs/{digest}").content) == digest
        assert side.client.get(through(side, location)).status_code == 404
    report(
        f"one upload of {len(data) >> 20} MiB in 3 chunks, each through the other host, ended as its digest"
    )


def test_what_one_host_deletes_leaves_the_bucket(sides: Sides, bucket: Bucket, report: Report) -> None:
    pushed = [sides[number % 2].push_image(f"t{number}") for number in range(6)]
    kept, dead = pushed[:2], pushed[2:]
    for number, image in enumerate(dead):
        here, there = sides if number % 2 else sides[::-1]
        assert here.delete(f"manifests/{image.digest}").status_code == 202
        assert there.head(f"manifests/{image.digest}").status_code == 404
        assert _status(there, image.layers[0]) == 404
    # Leases of blobs that no manifest took over end by themselves, a day later: as if it had passed.
    query(bucket.database, "UPDATE registry_core_repositoryblob SET leased_until = now()")
    query(bucket.database, "UPDATE registry_core_collectorcandidate SET due_at = now()")
    gone = {key for image in dead for key in map(digest_of, image.layers)}
    deadline = time.monotonic() + 60
    while (known := bucket.known()) != bucket.objects() or _digests(bucket) & gone:
        assert time.monotonic() < deadline, (len(known), len(bucket.objects()))
        time.sleep(0.5)
    for image in kept:
        for side in sides:
            side.assert_holds(image)
    report(
        f"{len(dead)} images deleted through either host: {len(gone)} objects left the bucket, {len(known)} stay"
    )


def _status(repository: Repository, data: bytes) -> int:
    return repository.client.get(
        f"/{repository.name}/blobs/{digest_of(data)}", follow_redirects=False
    ).status_code


def _digests(bucket: Bucket) -> set[str]:
    return {digest for (digest,) in query(bucket.database, "SELECT digest FROM registry_core_blob")}
