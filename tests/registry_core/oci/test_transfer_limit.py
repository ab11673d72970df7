"""No address may hold all of a process's transfers (design 8.4)."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

import httpx
import pytest

from tests.components.postgres import Postgres
from tests.components.valkey import Valkey
from tests.content import digest_of, new_bytes
from tests.registry_core.oci.test_interrupted_uploads import id_of, path_of
from tests.server import ADMIN, Repository, Server, assert_refused

WRITING = "SELECT 1 FROM registry_core_upload WHERE id = %s AND writer IS NOT NULL"


@pytest.fixture(scope="module")
def narrow(postgres: Postgres, valkey: Valkey) -> Iterator[Server]:
    server = Server(
        postgres, valkey.url(60), BREAKWATER_WORKERS="1", BREAKWATER_MAX_TRANSFERS_PER_ADDRESS="2",
        BREAKWATER_TRUSTED_PROXIES="127.0.0.1",
    )  # fmt: skip
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def repository(narrow: Server) -> Repository:
    return narrow.repository(f"{narrow.create_project()}/app", ADMIN)


def with_room(send: Callable[[], httpx.Response]) -> httpx.Response:
    """The answer once those who left have been noticed, which takes a moment."""
    deadline = time.monotonic() + 10
    while (answer := send()).status_code == 429 and time.monotonic() < deadline:
        time.sleep(0.1)
    return answer


@contextlib.contextmanager
def two_uploads(server: Server, repository: Repository) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for _ in range(2):
            location = with_room(lambda: repository.post("blobs/uploads/")).headers["Location"]
            stack.enter_context(
                server.unfinished("PATCH", path_of(location), ADMIN, new_bytes(10), Content_Length="20")
            )
            server.eventually(WRITING, id_of(location))
        yield


def test_one_more_transfer_than_allowed_is_refused_and_says_so(
    narrow: Server, repository: Repository
) -> None:
    data = new_bytes(100)
    image = repository.push_image("v1")
    blob = f"blobs/{digest_of(image.layers[0])}"
    for _ in range(3):  # from memory, too
        assert repository.get(blob).status_code == 200
    with two_uploads(narrow, repository):
        assert_refused(repository.get(blob), 429, "TOOMANYREQUESTS", limit=2, address="127.0.0.1")
        answer = repository.post("blobs/uploads/", params={"digest": digest_of(data)}, content=data)
        assert_refused(answer, 429, "TOOMANYREQUESTS", limit=2, address="127.0.0.1")
        assert int(answer.headers["Retry-After"]) >= 1
        # What is answered at once is no transfer.
        assert repository.get("manifests/v1").status_code == 200


def test_another_address_has_transfers_of_its_own(narrow: Server, repository: Repository) -> None:
    data = new_bytes(100)
    with two_uploads(narrow, repository):
        answer = repository.post(
            "blobs/uploads/",
            params={"digest": digest_of(data)},
            content=data,
            headers={"X-Forwarded-For": "192.0.2.7"},
        )
        assert answer.status_code == 201


def test_an_ended_transfer_makes_room(narrow: Server, repository: Repository) -> None:
    data = new_bytes(100)
    with two_uploads(narrow, repository):
        pass
    answer = with_room(
        lambda: repository.post("blobs/uploads/", params={"digest": digest_of(data)}, content=data)
    )
    assert answer.status_code == 201
