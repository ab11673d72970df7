"""Nobody waits until the database's disk knows where an upload stands. PostgreSQL is killed right after such a 202: the
client hears that it must go on elsewhere or begin again, never that its right bytes were wrong."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import time
from collections.abc import Callable, Iterator

import httpx
import psycopg2
import pytest

from tests.components import process
from tests.components.postgres import Postgres
from tests.components.valkey import Valkey
from tests.content import digest_of, new_bytes
from tests.reporting import Report
from tests.server import Repository, Server, assert_refused, serving

MIB = 1 << 20
OFFSET = 'SELECT "offset" FROM registry_core_upload WHERE id = %s'


@pytest.fixture(scope="module")
def mortal() -> Iterator[Postgres]:
    """It writes what nobody waits for as late as it may. Killed, it leaves to the kernel what it wrote: no fsync."""
    directory = process.own_directory(f"mortal-{secrets.token_hex(2)}")
    postgres = Postgres(directory, process.free_port(), durable=False)
    postgres.initialise()
    postgres.start()
    postgres.migrate_template()
    postgres.execute("ALTER SYSTEM SET wal_writer_delay = '10s'")
    postgres.execute("SELECT pg_reload_conf()")
    yield postgres
    postgres.stop()


@pytest.fixture(scope="module")
def server(mortal: Postgres, valkey: Valkey) -> Iterator[Server]:
    with serving(Server(mortal, valkey.url(54), BREAKWATER_WORKERS="1")) as server:
        yield server
        server.collect()
        assert server.scrub(100) == []


@pytest.fixture(scope="module")
def repository(server: Server) -> Repository:
    project = server.create_project()
    return server.repository(f"{project}/app", server.create_robot(project))


def whole(postgres: Postgres) -> None:
    postgres.kill()
    postgres.start()


def one_backend(postgres: Postgres) -> None:
    """The others are ended by the postmaster, which lives on; over once it takes connections again."""
    ((checkpointer,),) = postgres.execute(
        "SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'"
    )
    with contextlib.closing(psycopg2.connect(postgres.url("postgres"))) as witness:
        os.kill(int(checkpointer), signal.SIGKILL)
        with contextlib.suppress(psycopg2.OperationalError), witness.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(20)")
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with contextlib.suppress(psycopg2.OperationalError):
            postgres.execute("SELECT 1")
            return
        time.sleep(0.02)
    raise AssertionError("PostgreSQL did not come back")


def patiently(ask: Callable[[], httpx.Response]) -> httpx.Response:
    """As clients do: again while the database is away."""
    deadline = time.monotonic() + 30
    while (answer := ask()).status_code == 503:
        assert time.monotonic() < deadline, answer.text
        time.sleep(0.05)
    return answer


def lose_progress(
    server: Server, mortal: Postgres, repository: Repository, kill: Callable[[Postgres], None]
) -> str:
    """The location of an upload of MIB bytes of which the database knows nothing any more."""
    for _ in range(10):
        where = patiently(lambda: repository.post("blobs/uploads/")).headers["Location"]
        assert patiently(lambda: repository.client.patch(where, content=bytes(MIB))).status_code == 202  # noqa: B023
        kill(mortal)
        ((offset,),) = server.rows(OFFSET, where.rpartition("/")[2])
        if offset == 0:
            # Who wrote may be known while what it wrote is not: then it takes half a minute.
            server.rows("UPDATE registry_core_upload SET writer_until = now() WHERE writer IS NOT NULL")
            return where
    raise AssertionError("PostgreSQL wrote what nobody waited for in time, ten times")


@pytest.mark.parametrize("kill", [whole, one_backend])
def test_the_database_forgets_an_acknowledged_chunk(
    server: Server, mortal: Postgres, repository: Repository, report: Report, kill: Callable[[Postgres], None]
) -> None:
    data = bytes(MIB) + new_bytes(MIB)
    digest = digest_of(data)

    where = lose_progress(server, mortal, repository, kill)
    at_once = patiently(lambda: repository.client.put(where, params={"digest": digest}, content=data[MIB:]))
    error = assert_refused(at_once, 404, "BLOB_UPLOAD_UNKNOWN")
    assert "restarted" in error["message"]

    where = lose_progress(server, mortal, repository, kill)
    assert patiently(lambda: repository.client.patch(where, content=data[MIB:])).status_code == 202
    blind = patiently(lambda: repository.client.put(where, params={"digest": digest}))
    assert_refused(blind, 404, "BLOB_UPLOAD_UNKNOWN")

    where = lose_progress(server, mortal, repository, kill)
    rest = {"Content-Range": f"{MIB}-{2 * MIB - 1}"}
    careful = patiently(lambda: repository.client.patch(where, content=data[MIB:], headers=rest))
    assert_refused(careful, 416, "RANGE_INVALID")
    assert careful.headers["Range"] == "0-0"
    assert patiently(lambda: repository.head(f"blobs/{digest}")).status_code == 404
    assert patiently(lambda: repository.client.patch(where, content=data)).status_code == 202
    assert patiently(lambda: repository.client.put(where, params={"digest": digest})).status_code == 201
    assert patiently(lambda: repository.get(f"blobs/{digest}")).content == data
    report(f"3 chunks forgotten ({kill.__name__} killed): twice 404, once 416 and then 201")


def test_bytes_that_are_wrong_are_still_called_wrong(repository: Repository) -> None:
    where = patiently(lambda: repository.post("blobs/uploads/")).headers["Location"]
    put = patiently(
        lambda: repository.client.put(where, params={"digest": digest_of(b"other")}, content=b"these")
    )
    assert_refused(put, 400, "DIGEST_INVALID")
