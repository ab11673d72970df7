"""What holds for one caller after the other holds for all of them at once."""

from __future__ import annotations

import asyncio
import json
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests import ledger
from tests.components.postgres import Postgres
from tests.components.valkey import Valkey
from tests.content import MANIFEST, digest_of, encode, image_document, new_bytes
from tests.reporting import Report
from tests.rest import rest_client
from tests.server import ADMIN, Server, serving

pytestmark = pytest.mark.slow
PUSHERS = 500
# All of them come from one address, and one process may get all of them.
LIMITS = {"BREAKWATER_WORKERS": "2", "BREAKWATER_MAX_TRANSFERS_PER_ADDRESS": str(PUSHERS)}
LIMIT = 400_000


@pytest.fixture(scope="module")
def server(postgres: Postgres, valkey: Valkey) -> Iterator[Server]:
    with serving(Server(postgres, valkey.url(58), **LIMITS)) as server:
        yield server


def test_five_hundred_pushers_never_exceed_one_quota(server: Server, report: Report) -> None:
    """Each pushes a layer of its own and one that all share; who is refused hears 403 and nothing else."""
    project = f"quota-{secrets.token_hex(4)}"
    body = {"project_name": project, "storage_limit": LIMIT}
    assert server.rest.post("/projects", json=body).status_code == 201
    shared = new_bytes(3000)
    token = server.token(ADMIN, *(f"repository:{project}/r{number}:pull,push" for number in range(10)))
    headers = {"Authorization": f"Bearer {token}"}

    async def push(client: httpx.AsyncClient, number: int, seen: Counter[int]) -> None:
        place = f"/v2/{project}/r{number % 10}"
        config = json.dumps({"architecture": "amd64", "os": "linux", "unique": number}).encode()
        layers = [shared, new_bytes(1500)]
        for blob in (config, *layers):
            answer = await client.post(
                f"{place}/blobs/uploads/", params={"digest": digest_of(blob)}, content=blob
            )
            seen[answer.status_code] += 1
            if answer.status_code != 201:
                return
        payload = encode(image_document(config, layers))
        answer = await client.put(
            f"{place}/manifests/t{number}", content=payload, headers={"Content-Type": MANIFEST}
        )
        seen[answer.status_code] += 1

    async def push_all() -> Counter[int]:
        seen: Counter[int] = Counter()
        limits = httpx.Limits(max_connections=PUSHERS)
        async with httpx.AsyncClient(
            base_url=server.url, headers=headers, timeout=120, limits=limits
        ) as client:
            await asyncio.gather(*(push(client, number, seen) for number in range(PUSHERS)))
        return seen

    seen = asyncio.run(push_all())
    quota = server.rest.get(f"/projects/{project}/summary").json()["quota"]
    used = quota["used"]["storage"]
    report(f"{PUSHERS} pushers, {used} of {LIMIT} bytes, {dict(seen)}")
    assert set(seen) == {201, 403}
    assert LIMIT - 10_000 < used <= LIMIT
    assert ledger.findings(server.database, server.storage) == []


def test_somebody_always_administers(server: Server) -> None:
    """Administrators who all take the right from one another, at once: one keeps it, and can give it back."""
    for _ in range(5):
        people = [_administrator(server) for _ in range(4)]
        everybody = [1, *(number for number, _ in people)]
        pairs = [ADMIN, *(pair for _, pair in people)]
        barrier = threading.Barrier(len(pairs))

        def take(number: int, pair: tuple[str, str], barrier: threading.Barrier = barrier) -> set[int]:
            with rest_client(f"{server.url}/api/v2.0", auth=pair) as client:
                client.get("/users/current")
                barrier.wait()
                targets = [n for n in everybody if n != number] + [number]  # noqa: B023  joined below
                answers = [client.put(f"/users/{n}/sysadmin", json={"sysadmin_flag": False}) for n in targets]
            return {answer.status_code for answer in answers}

        with ThreadPoolExecutor(len(pairs)) as pool:
            seen = set().union(*pool.map(take, everybody, pairs))
        assert seen <= {200, 403, 412}
        _give_back(server, everybody, pairs)


def _administrator(server: Server) -> tuple[int, tuple[str, str]]:
    name = f"admin-{secrets.token_hex(4)}"
    user = {"username": name, "email": f"{name}@example.org", "realname": name, "password": "Passw0rd-1x"}
    number = int(server.rest.post("/users", json=user).headers["Location"].rsplit("/", 1)[1])
    assert server.rest.put(f"/users/{number}/sysadmin", json={"sysadmin_flag": True}).status_code == 200
    return number, (name, "Passw0rd-1x")


def _give_back(server: Server, numbers: list[int], pairs: list[tuple[str, str]]) -> None:
    for pair in pairs:
        with rest_client(f"{server.url}/api/v2.0", auth=pair) as client:
            if client.get("/users/current").json()["sysadmin_flag"]:
                _soon(lambda client=client: client.put("/users/1/sysadmin", json={"sysadmin_flag": True}))  # type: ignore[misc]
                for number in numbers[1:]:
                    _soon(lambda number=number: server.rest.delete(f"/users/{number}"))  # type: ignore[misc]
                return
    pytest.fail("nobody administers the system any more")


def _soon(ask: Callable[[], httpx.Response]) -> None:
    """What a process knows of who administers is up to 5 s old (design 3, Revocation)."""
    deadline = time.monotonic() + 5
    while (answer := ask()).status_code != 200:
        assert answer.status_code in (401, 403), answer.text
        assert time.monotonic() < deadline, answer.text
        time.sleep(0.2)
