"""PostgreSQL or Redis away while clients push, pull, sign in and ask the REST API, and all well again by itself.

Redis is a hint: without it nothing gets slower. Without PostgreSQL every answer is a clear 503, and soon.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator

import httpx
import psycopg2
import pytest
import redis

from tests import ledger
from tests.components import process
from tests.components.breakwater import Breakwater, Credentials
from tests.content import MANIFEST, digest_of
from tests.faults.load import LONGEST, Load
from tests.faults.sites import Site, own_postgres
from tests.reporting import Report
from tests.server import Image, new_image

_TAGS = (
    "SELECT t.name, a.digest FROM registry_core_tag t JOIN registry_core_artifact a ON a.id = t.artifact_id"
)
HANGS = LONGEST + 3  # who waited to the end would have waited too long
RECOVERS = 20.0  # seconds in which rates are back
COLLECTED = 30.0  # seconds in which the worker has done what was queued before or during the outage


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """At its end the ledger must add up, whatever was away."""
    postgres = own_postgres(process.own_directory("pg-outages"))
    postgres.initialise()
    postgres.start()
    try:
        with Site(postgres, postgres.create_database("outages"), hosts=1).running() as site:
            yield site
            ledger.assert_adds_up(site.database, site.storage)
    finally:
        postgres.stop()


@pytest.fixture(scope="module")
def robot(site: Site) -> tuple[str, Credentials]:
    project = site.hosts[0].create_project()
    return project, site.hosts[0].create_robot(project, ["pull", "push", "delete", "list"])


@pytest.fixture
def load(site: Site, robot: tuple[str, Credentials]) -> Iterator[Load]:
    with Load(site.hosts[0], *robot) as load:
        load.wait_for_more(20, RECOVERS)
        yield load


def push_and_delete(load: Load) -> Image:
    """An image that the collector has to take away."""
    image, repository = new_image(1), f"/v2/{load.project}/dead"
    path, headers = f"{repository}/manifests/{image.digest}", {"Content-Type": MANIFEST}
    with httpx.Client(base_url=load.registry.url, auth=load.who.pair, timeout=30) as client:
        for blob in image.blobs:
            load.insist(client, "POST", f"{repository}/blobs/uploads/?digest={digest_of(blob)}", content=blob)
        load.insist(client, "PUT", path, content=image.payload, headers=headers)
        load.insist(client, "DELETE", path)
    return image


def assert_well(site: Site, load: Load, dead: Image) -> str:
    """Rates are back, the worker works, what was acknowledged is there, health is healthy; how long it took."""
    began = time.monotonic()
    load.wait_for_more(60, RECOVERS)
    recovered = time.monotonic() - began
    load.__exit__()
    load.assert_clear()
    eventually(lambda: not is_stored(site, dead), COLLECTED, "the worker collected nothing")
    tags = dict(site.execute((_TAGS, ())))
    assert {name: tags.get(name) for name in load.pushed} == {n: i.digest for n, i in load.pushed.items()}
    eventually(lambda: sick_components(load.registry) == {}, COLLECTED, "health is not healthy again")
    well = time.monotonic() - began
    return f"60 operations {recovered:.1f} s after it, collected and healthy {well:.1f} s after it"


def is_stored(site: Site, image: Image) -> bool:
    digests = [digest_of(blob) for blob in image.blobs]
    return bool(site.execute(("SELECT 1 FROM registry_core_blob WHERE digest = ANY(%s)", (digests,))))


def eventually(condition: Callable[[], bool], seconds: float, otherwise: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.1)


def sick_components(registry: Breakwater) -> dict[str, str]:
    """Name and error of what is not healthy (contract 6.10: 200, `status` and `components` whatever is wrong)."""
    answer = httpx.get(f"{registry.url}/api/v2.0/health", timeout=15)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    sick = {c["name"]: c["error"] for c in body["components"] if c["status"] != "healthy"}
    assert body["status"] == ("unhealthy" if sick else "healthy")
    return sick


# -- Redis


def test_flushall(site: Site, load: Load, report: Report) -> None:
    dead = push_and_delete(load)
    with redis.Redis.from_url(site.valkey.url(0)) as client:
        for _ in range(50):
            client.flushall()
            time.sleep(0.02)
    well = assert_well(site, load, dead)
    assert set(load.answers) <= {200, 201, 202}
    report(f"50 x FLUSHALL; {load.summary()}; {well}")


def stop_valkey(site: Site) -> Callable[[], None]:
    os.kill(site.valkey.pid, signal.SIGSTOP)
    return lambda: os.kill(site.valkey.pid, signal.SIGCONT)


def kill_valkey(site: Site) -> Callable[[], None]:
    site.valkey.kill()
    return site.valkey.start


@pytest.mark.parametrize("take_away", [stop_valkey, kill_valkey])
def test_redis_is_away(
    site: Site, load: Load, take_away: Callable[[Site], Callable[[], None]], report: Report
) -> None:
    """Nothing fails, and nothing is slower than before: no answer waits for it."""
    bring_back = take_away(site)
    try:
        load.times.clear()
        dead = push_and_delete(load)
        load.wait_for_more(40, RECOVERS)
        slowest = max(load.times)
        assert "redis" in sick_components(load.registry)
    finally:
        bring_back()
    assert slowest < 3, f"an answer took {slowest:.1f} s"
    well = assert_well(site, load, dead)
    assert set(load.answers) <= {200, 201, 202}
    report(f"{take_away.__name__}; {load.summary()}; {well}")


# -- PostgreSQL


def restart(how: signal.Signals) -> Callable[[Site], None]:
    def run(site: Site) -> None:
        process.stop(site.postgres.pid, how)
        time.sleep(1.5)
        site.postgres.start()

    return run


_BACKENDS = "SELECT pid FROM pg_stat_activity WHERE datname = 'outages' AND pid <> pg_backend_pid()"


def hang(site: Site) -> None:
    """Postmaster and backends alike, which have process groups of their own."""
    pids = [site.postgres.pid, *(pid for (pid,) in site.execute((_BACKENDS, ())))]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        time.sleep(5)  # by now no cached decision counts any more
        assert "database" in sick_components(site.hosts[0])
        time.sleep(HANGS - 5)
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def take_no_connections(site: Site) -> None:
    """The postmaster hangs, and the connections of threads are over; hot reads have theirs and are answered."""
    pids = [pid for (pid,) in site.execute((f"{_BACKENDS} AND application_name = 'breakwater'", ()))]
    os.kill(site.postgres.pid, signal.SIGSTOP)
    try:
        for pid in pids:
            os.kill(pid, signal.SIGTERM)
        time.sleep(HANGS)
    finally:
        os.kill(site.postgres.pid, signal.SIGCONT)


def stall_on_the_way(site: Site) -> None:
    site.valves[0].stall()
    time.sleep(HANGS)
    site.valves[0].flow()


def reset_connections(site: Site) -> None:
    for _ in range(10):
        site.valves[0].reset()
        time.sleep(0.2)


def terminate_backends(site: Site) -> None:
    for _ in range(10):
        site.execute((f"SELECT pg_terminate_backend(pid) FROM ({_BACKENDS}) AS b", ()))  # noqa: S608  constant
        time.sleep(0.2)


def strangers_take_all_connections(site: Site) -> None:
    """Those that the registry has are ended too, and for 3 seconds it gets none."""
    with contextlib.ExitStack() as stack:
        held = []
        for _ in range(2):
            with contextlib.suppress(psycopg2.OperationalError):
                while True:
                    held.append(psycopg2.connect(site.postgres.url("postgres")))
                    stack.callback(held[-1].close)
            with held[0].cursor() as cursor:
                cursor.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'outages'"
                )
            time.sleep(0.05)
        time.sleep(3)


@pytest.mark.parametrize(
    "outage",
    [
        pytest.param(restart(signal.SIGINT), id="fast shutdown"),
        pytest.param(restart(signal.SIGQUIT), id="immediate shutdown"),
        pytest.param(hang, id="hangs"),
        pytest.param(take_no_connections, id="takes no connections"),
        pytest.param(stall_on_the_way, id="stalls"),
        pytest.param(reset_connections, id="resets"),
        pytest.param(terminate_backends, id="backends terminated"),
        pytest.param(strangers_take_all_connections, id="too many connections"),
    ],
)
def test_postgresql_is_away(site: Site, load: Load, outage: Callable[[Site], None], report: Report) -> None:
    dead = push_and_delete(load)
    outage(site)
    well = assert_well(site, load, dead)
    assert load.answers[503] + load.broken.total() > 0, f"nobody noticed: {load.summary()}"
    report(f"{load.summary()}; {well}")


_ALIVE = "SELECT role, count(*) FROM registry_core_heartbeat WHERE seen_at > now() - interval '25 seconds' GROUP BY 1"


def test_everybody_says_again_that_they_live(site: Site) -> None:
    """Two web processes and the worker, whatever was away before."""
    eventually(lambda: set(dict(site.execute((_ALIVE, ())))) == {"web", "worker"}, 30, "somebody says nothing")
