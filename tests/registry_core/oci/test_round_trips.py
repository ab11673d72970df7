"""What a pull costs: no round trip and no thread when warm, one round trip when cold (design 8).

Counted on the wire, in front of PostgreSQL and Redis both, with audit and metrics on and a robot that is good from
certain networks only. Beside requests a web process asks twice a second, for changes of rights and to say that it
lives, and writes pulls every ten seconds; these are told apart by their statements (they are no statement of a
request), and by the thread that the latter takes: requests that take no thread have not written anything.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
import time
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import httpx
import pytest

from tests.components.postgres import Postgres
from tests.components.valkey import Valkey
from tests.components.wire import Asked, PostgresListener, RedisListener, Wire
from tests.content import EMPTY, MANIFEST, absent_digest, descriptor, digest_of, encode
from tests.server import ADMIN, Repository, Server

POLL = (
    "FROM registry_core_epochchange WHERE seq >",
    "INSERT INTO registry_core_heartbeat",
    "FROM registry_core_heartbeat WHERE host",
)
HOT = "breakwater-hot"  # connections of the event loop; every other one belongs to a thread


@dataclass(frozen=True)
class Cost:
    status: int
    asked: list[Asked]
    hops: int


class Counted:
    """A web process of its own whose every question to PostgreSQL and Redis is heard."""

    def __init__(self, postgres: Postgres, valkey: Valkey) -> None:
        redis = urllib.parse.urlsplit(valkey.url(61))
        self.postgres = Wire(postgres.port, PostgresListener)
        self.redis = Wire(valkey.port, RedisListener)
        self.server = Server(
            postgres,
            redis._replace(netloc=redis.netloc.replace(f":{valkey.port}", f":{self.redis.port}")).geturl(),
        )
        environment = self.server.environment
        environment["DATABASE_URL"] = self.server.database.replace(
            f":{postgres.port}/", f":{self.postgres.port}/"
        )
        environment["PYTHONPATH"] = os.pathsep.join(
            p for p in ("", os.environ.get("PYTHONPATH")) if p is not None
        )
        self.server.command = [
            sys.executable, "-m", "granian", "--interface", "asgi", "--workers", "1", "--loop", "uvloop",
            "--host", "127.0.0.1", "--port", str(self.server.port), "tests.counted:application",
        ]  # fmt: skip
        self.server.start()

    def close(self) -> None:
        self.server.stop()
        self.postgres.close()
        self.redis.close()

    def cost(
        self,
        repository: Repository,
        method: str,
        path: str,
        who: tuple[str, ...] = (HOT, "redis"),
        content: bytes = b"",
    ) -> Cost:
        """Of one request, as far as `who` asked."""
        name = secrets.token_hex(8)
        before = len(self.postgres.asked), len(self.redis.asked)
        answer = repository.request(method, path, headers={"X-Request-Id": name}, content=content)
        asked = self.postgres.asked[before[0] :] + self.redis.asked[before[1] :]
        mine = [a for a in asked if a.who in who and not any(text in a.what for text in POLL)]
        hops = int(httpx.get(f"{self.server.url}/counted/{name}").text)
        return Cost(answer.status_code, mine, hops)


@pytest.fixture(scope="module")
def counted(postgres: Postgres, valkey: Valkey) -> Iterator[Counted]:
    counted = Counted(postgres, valkey)
    yield counted
    counted.close()


@pytest.fixture(scope="module")
def project(counted: Counted) -> str:
    return counted.server.create_project()


@pytest.fixture(scope="module")
def pull(counted: Counted, project: str) -> Callable[..., Repository]:
    """A repository as a robot sees it that may pull, from this machine's networks only. Its token is known."""
    server = counted.server
    pair = server.create_robot(project, ["pull"])
    server.rows(
        "UPDATE rbac_robot SET networks = %s WHERE name LIKE %s", json.dumps(["127.0.0.0/8"]), f"{project}+%"
    )
    server.rows("UPDATE projects_project SET networks = %s", json.dumps(["127.0.0.0/8", "::1/128"]))

    def make(repository: Repository, how: str) -> Repository:
        if how == "basic":
            return server.repository(repository.name, pair)
        return server.repository(
            repository.name, token=server.token(pair, f"repository:{repository.name}:pull")
        )

    return make


@pytest.fixture
def repository(counted: Counted, project: str) -> Repository:
    return counted.server.repository(f"{project}/{secrets.token_hex(5)}", ADMIN)


PULLS = {
    "manifest by tag": ("GET", "manifests/{tag}", 200),
    "manifest by digest": ("GET", "manifests/{digest}", 200),
    "HEAD of a manifest": ("HEAD", "manifests/{tag}", 200),
    "blob": ("GET", "blobs/{blob}", 200),
    "HEAD of a blob": ("HEAD", "blobs/{blob}", 200),
    "miss of a tag": ("GET", "manifests/{absent_tag}", 404),
    "miss of a digest": ("GET", "manifests/{absent}", 404),
    "miss of a blob": ("GET", "blobs/{absent}", 404),
}


@pytest.mark.parametrize("how", ["token", "basic"])
@pytest.mark.parametrize("what", PULLS)
def test_a_pull_costs_one_round_trip_when_cold_and_none_when_warm(
    counted: Counted, repository: Repository, pull: Callable[..., Repository], what: str, how: str
) -> None:
    method, form, status = PULLS[what]
    other = repository.push_image("other")
    puller = pull(repository, how)
    for known in ("manifests/other", f"manifests/{other.digest}", f"blobs/{digest_of(other.config)}"):
        assert puller.get(known).status_code == 200  # the token is known, the statements are prepared

    def four_times(tag: str) -> list[Cost]:
        image = repository.push_image(tag)
        path = form.format(
            tag=tag,
            digest=image.digest,
            blob=digest_of(image.layers[0]),
            absent=absent_digest(),
            absent_tag=f"{tag}-absent",
        )
        return [counted.cost(puller, method, path) for _ in range(4)]

    costs = four_times("v1")
    # While the background poll holds the connection that is prepared, another one first prepares the statement.
    if len(first := costs[0].asked) == 2 and first[0].what == first[1].what:
        costs = four_times("v2")
    cold, *warm = costs
    assert [c.status for c in (cold, *warm)] == [status] * 4
    assert len(cold.asked) <= 1, cold.asked
    assert [c.asked for c in warm] == [[], [], []]
    assert [c.hops for c in (cold, *warm)] == [0, 0, 0, 0]


@pytest.mark.parametrize("how", ["token", "basic"])
def test_a_policy_that_is_on_asks_once_more_when_cold_and_nothing_when_warm(
    counted: Counted, how: str
) -> None:
    """The signature is looked up with the manifest, and kept like it (a token that tells of the policy included)."""
    server = counted.server
    project = server.create_project()
    repository = server.repository(f"{project}/app", ADMIN)
    image, other = repository.push_image("v1"), repository.push_image("other")
    for subject in (image, other):
        config = b"{}"
        repository.push_blob(config)
        signature = {
            "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "application/vnd.cncf.notary.signature",
            "config": descriptor(EMPTY, config), "layers": [], "subject": descriptor(MANIFEST, subject.payload),
        }  # fmt: skip
        repository.push_manifest(encode(signature))
    answer = server.rest.put(f"/projects/{project}", json={"metadata": {"enable_content_trust": "true"}})
    assert answer.status_code == 200
    pair = server.create_robot(project, ["pull"])
    token = server.token(pair, f"repository:{project}/app:pull")
    puller = server.repository(repository.name, **({"token": token} if how == "token" else {"pair": pair}))
    assert puller.get("manifests/other").status_code == 200
    cold, *warm = (counted.cost(puller, "GET", "manifests/v1") for _ in range(4))
    assert [c.status for c in (cold, *warm)] == [200] * 4
    assert len(cold.asked) <= 2, cold.asked
    assert [c.asked for c in warm] == [[], [], []]
    assert [c.hops for c in (cold, *warm)] == [0, 0, 0, 0]


def test_a_hundred_warm_pulls_ask_nothing(
    counted: Counted, repository: Repository, pull: Callable[..., Repository]
) -> None:
    """All that is heard meanwhile is the poll: two questions a second."""
    repository.push_image("v1")
    puller = pull(repository, "token")
    puller.get("manifests/v1")
    before, began = len(counted.postgres.asked), time.monotonic()
    for _ in range(100):
        assert puller.get("manifests/v1").status_code == 200
    seconds = time.monotonic() - began
    heard = [a for a in counted.postgres.asked[before:] if a.who == HOT]
    # What is kept lives for two seconds at most; then one question asks for it again.
    kept = 1 + int(seconds / 2)
    assert len(heard) <= 2 * (int(seconds) + 1) + kept, heard


def test_the_ear_hears(counted: Counted, repository: Repository) -> None:
    """A push asks and takes threads, on connections of its own."""
    before = len(counted.postgres.asked)
    image = repository.push_image("v1")
    said = [a for a in counted.postgres.asked[before:] if a.who == "breakwater"]
    assert len(said) > 10
    assert any("EXECUTE insert_artifact" in a.what for a in said)  # the first of its repository
    cancelled = counted.cost(repository, "POST", "blobs/uploads/")
    assert (cancelled.status, cancelled.hops) == (202, 1)
    assert repository.get(f"manifests/{image.digest}").status_code == 200


THREADS = ("breakwater",)


def test_a_small_blob_costs_three_visits_to_the_pool_and_five_round_trips(
    counted: Counted, repository: Repository
) -> None:
    """POST one, PATCH two (claimed, kept), PUT two (claimed, committed). The most frequent push of all."""
    repository.push_image("v1")
    costs = []
    for _ in range(12):  # a thread prepares a statement when it first runs it
        data = secrets.token_bytes(4096)
        name = secrets.token_hex(8)
        before = len(counted.postgres.asked)
        begun = repository.request("POST", "blobs/uploads/", headers={"X-Request-Id": name})
        hops = int(httpx.get(f"{counted.server.url}/counted/{name}").text)
        start = [a for a in counted.postgres.asked[before:] if a.who in THREADS]
        where = "blobs/uploads/" + begun.headers["Docker-Upload-UUID"]
        patch = counted.cost(repository, "PATCH", where, THREADS, data)
        put = counted.cost(repository, "PUT", f"{where}?digest={digest_of(data)}", THREADS)
        assert (begun.status_code, patch.status, put.status) == (202, 202, 201)
        assert repository.get(f"blobs/{digest_of(data)}").content == data
        visits = hops, patch.hops, put.hops
        costs.append((visits, (len(start), len(patch.asked), len(put.asked))))
    # Not each: what is slow to come, on a busy machine, is claimed before it is here.
    assert min(costs) == ((1, 1, 1), (1, 2, 2)), costs


def test_a_blob_in_one_request_costs_one_visit_and_two_round_trips(
    counted: Counted, repository: Repository
) -> None:
    repository.push_image("v1")
    costs = []
    for _ in range(12):
        data = secrets.token_bytes(4096)
        post = counted.cost(repository, "POST", f"blobs/uploads/?digest={digest_of(data)}", THREADS, data)
        assert post.status == 201
        costs.append((post.hops, len(post.asked)))
    assert min(costs) == (1, 2), costs


def test_a_mount_costs_one_visit_and_one_round_trip(
    counted: Counted, repository: Repository, project: str
) -> None:
    target = counted.server.repository(f"{project}/{secrets.token_hex(5)}", ADMIN)
    target.push_image("v1")
    costs = []
    for _ in range(12):
        digest = repository.push_blob(secrets.token_bytes(100))
        mount = counted.cost(
            target, "POST", f"blobs/uploads/?mount={digest}&from={repository.name}", THREADS
        )
        assert (mount.status, mount.hops) == (201, 1)
        costs.append(len(mount.asked))
    assert min(costs) == 1, costs


def test_a_pusher_s_head_costs_one_visit_and_one_round_trip(counted: Counted, repository: Repository) -> None:
    """It is what docker asks before it sends a layer; the manifest ended the lease of the push before."""
    image = repository.push_image("v1")
    costs = []
    for _ in range(8):
        repository.push_manifest(image.payload, "v1")
        head = counted.cost(repository, "HEAD", f"blobs/{digest_of(image.layers[0])}", THREADS)
        assert (head.status, head.hops) == (200, 1)
        costs.append(len(head.asked))
    assert min(costs) == 1, costs


LISTS = {
    "tags": ("tags/list?n={n}", 1),
    "referrers": ("referrers/{digest}?n={n}", 1),
    "referrers of a type": ("referrers/{digest}?artifactType=a&n={n}", 2),  # beside them the count of all
    "catalogue": ("../../_catalog?n={n}", 1),
}


@pytest.mark.parametrize("what", LISTS)
def test_a_list_asks_when_cold_and_nothing_when_warm(counted: Counted, repository: Repository, what: str) -> None:
    form, most = LISTS[what]
    image = repository.push_image("v1")
    for n in range(2, 6):  # the caller is known, the connections have prepared
        counted.cost(repository, "GET", form.format(digest=image.digest, n=n))
    costs = [counted.cost(repository, "GET", form.format(digest=image.digest, n=9)) for _ in range(4)]
    assert [c.status for c in costs] == [200] * 4
    # Another connection than the one that has prepared a statement first prepares it.
    assert 1 <= len({a.what for a in costs[0].asked}) <= most, costs[0].asked
    assert [c.asked for c in costs[1:]] == [[], [], []]
    assert [c.hops for c in costs] == [0, 0, 0, 0]
    repository.push_image("v2")
    assert counted.cost(repository, "GET", form.format(digest=image.digest, n=9)).asked != []


def test_a_robot_of_another_network_is_refused_all_the_same(
    counted: Counted, repository: Repository, project: str
) -> None:
    """The limit that the pulls above paid nothing for is there."""
    server = counted.server
    repository.push_image("v1")
    pair = server.create_robot(project, ["pull"])
    robot = pair[0].rpartition("+")[2]
    server.rows(
        "UPDATE rbac_robot SET networks = %s WHERE name LIKE %s", json.dumps(["10.0.0.0/8"]), f"%+{robot}"
    )
    answer = server.repository(repository.name, pair).get("manifests/v1")
    assert answer.status_code in (401, 403)


def test_pulls_are_audited(counted: Counted, repository: Repository, pull: Callable[..., Repository]) -> None:
    """They are counted in memory while they cost nothing, and written within ten seconds (design 2.9)."""
    image = repository.push_image("v1")
    pull(repository, "token").get("manifests/v1")
    written = counted.server.eventually(
        "SELECT username FROM registry_core_auditlog WHERE operation = 'pull' AND resource = %s",
        f"{repository.name}:v1", seconds=15,
    )  # fmt: skip
    assert len(written) == 1
    pulled = "SELECT 1 FROM registry_core_artifact WHERE digest = %s AND pulled_at IS NOT NULL"
    assert counted.server.rows(pulled, image.digest) == [(1,)]
