"""kill -9 of everything during 200 pushes: what was acknowledged is there and whole, and nothing else (design 2.5)."""

from __future__ import annotations

import collections
import os
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests import ledger
from tests.components.breakwater import Breakwater
from tests.content import digest_of
from tests.faults import victims
from tests.faults.pushing import Client, Record, shared_layer
from tests.reporting import Report
from tests.server import Repository

CLIENTS, EACH = 8, 25
TIMES = {
    "web worker": 5, "web server": 2, "job worker": 3, "PostgreSQL backend": 5, "PostgreSQL": 2, "Valkey": 2,
    victims.WHOLE_TREE: 2,
}  # fmt: skip


@pytest.fixture
def mortal() -> Iterator[Breakwater]:
    server = Breakwater(BREAKWATER_WORKERS="2")
    try:
        server.start()
        yield server
    finally:
        server.remove()


def kill_amid(registry: Breakwater, record: Record, chance: random.Random) -> collections.Counter[str]:
    """Spread over the pushes, each at a random moment once the registry serves again."""
    order = [kind for kind, times in TIMES.items() for _ in range(times)]
    chance.shuffle(order)
    killed: collections.Counter[str] = collections.Counter()
    for number, kind in enumerate(order):
        due = (number + 1) * CLIENTS * EACH // (len(order) + 2)
        with record.changed:
            record.changed.wait_for(lambda due=due: record.pushed >= due or record.failed, timeout=120)  # type: ignore[misc]
            assert record.pushed >= due
        time.sleep(chance.uniform(0, 0.15))
        victims.kill(registry, kind, chance)
        killed[kind] += 1
    return killed


def test_nothing_acknowledged_is_lost_and_nothing_else_is_listed(mortal: Breakwater, report: Report) -> None:
    seed = int(os.environ.get("BREAKWATER_TEST_SEED", "4"))
    chance, record, base = random.Random(seed), Record(), shared_layer()
    project = mortal.create_project()
    robot = mortal.create_robot(project)
    clients = [
        Client(Repository(mortal.v2(robot), f"{project}/c{n}"), record, base, random.Random(f"{seed}/{n}"))
        for n in range(CLIENTS)
    ]
    with ThreadPoolExecutor(CLIENTS + 1) as pool:
        killing = pool.submit(kill_amid, mortal, record, chance)
        for pushing in [pool.submit(client.push_all, EACH) for client in clients]:
            pushing.result()
        killed = killing.result()
    assert killed == TIMES
    assert record.pushed == CLIENTS * EACH
    report(
        f"seed {seed}: {record.pushed} pushes, {sum(killed.values())} kills ({dict(killed)}), "
        f"{record.statuses[201]} times 201, {record.statuses[503]} times 503, "
        f"{record.broken.total()} connections broken"
    )
    time.sleep(1)  # a web worker that was killed last
    listed = assert_lists_what_was_pushed(mortal, project, record, clients)
    held = assert_holds_what_was_acknowledged(record, clients)
    collected = assert_is_clean(mortal, record)
    report(
        f"{len(record.tags)} tags acknowledged, {len(record.abandoned)} given up, {listed} listed, {held} blobs whole, "
        f"{len(record.deleted)} images deleted, {collected} collections"
    )
    for client in clients:
        client.repository.client.close()


def assert_lists_what_was_pushed(
    registry: Breakwater, project: str, record: Record, clients: list[Client]
) -> int:
    """Every listed tag was acknowledged, or is one of which nobody knows, and leads to a whole image that was sent."""
    with registry.v2() as v2:
        catalog = v2.get("/_catalog", params={"n": 1000}).raise_for_status().json()["repositories"]
    assert {name for name in catalog if name.startswith(f"{project}/")} == {
        c.repository.name for c in clients
    }
    listed = 0
    for client in clients:
        repository = client.repository
        known = {tag for name, tag in record.tags if name == repository.name}
        unknown = {tag for name, tag in record.abandoned if name == repository.name}
        tags = set(repository.get("tags/list").raise_for_status().json()["tags"])
        assert known <= tags <= known | unknown
        for tag in tags:
            digest = repository.get(f"manifests/{tag}").headers["Docker-Content-Digest"]
            assert digest == record.tags.get((repository.name, tag), digest)
            repository.assert_holds(record.sent[digest], tag)
        listed += len(tags)
    return listed


def assert_holds_what_was_acknowledged(record: Record, clients: list[Client]) -> int:
    """Blobs of deleted images apart; those whose push was given up are leased to the pusher."""
    by_name = {client.repository.name: client.repository for client in clients}
    gone = {(name, digest_of(blob)) for (name, _), image in record.deleted.items() for blob in image.blobs}
    held = [(name, digest) for name, digest in record.blobs if (name, digest) not in gone]
    for name, digest in held:
        answer = by_name[name].get(f"blobs/{digest}")
        assert (answer.status_code, answer.content) == (200, record.blobs[name, digest]), digest
    for name, digest in record.deleted:
        assert by_name[name].head(f"manifests/{digest}").status_code == 404
    return len(held)


def assert_is_clean(registry: Breakwater, record: Record) -> int:
    """Once the collector has taken what only deleted images held, both proofs agree; how often it ran."""
    digests = [digest_of(image.layers[-1]) for image in record.deleted.values()]
    sql = "SELECT 1 FROM registry_core_blob WHERE digest = ANY(%s)"
    deadline = time.monotonic() + 60
    while ledger.rows(registry.database, sql, digests):
        assert time.monotonic() < deadline, "the collector does not come"
        time.sleep(0.2)
    assert registry.manage("collect").returncode == 0
    scrub = registry.manage("scrub", "--verify", "100")
    assert scrub.returncode == 0, scrub.stdout + scrub.stderr
    ledger.assert_adds_up(registry.database, registry.home / "storage")
    log = "".join(f.read_text(errors="replace") for f in (registry.home / "logs").glob("breakwater.log*"))
    return log.count('"collected"')
