"""`manage.py seed`: as consistent as what was pushed, at any size."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import ledger
from tests.components.postgres import Postgres
from tests.components.valkey import Valkey
from tests.content import MANIFEST, digest_of
from tests.server import ADMIN, Server, serving


@pytest.fixture(scope="module")
def server(postgres: Postgres, valkey: Valkey) -> Iterator[Server]:
    with serving(Server(postgres, valkey.url(59))) as server:
        done = server.manage(
            "seed", "--projects=3", "--repos=2", "--artifacts=20", "--tags=50", "--audit=1000"
        )
        assert done.returncode == 0, done.stderr
        yield server


def test_nothing_is_loose(server: Server) -> None:
    assert server.scrub(100) == []
    assert ledger.findings(server.database, server.storage) == []


def test_it_is_as_large_as_asked(server: Server) -> None:
    def total(path: str) -> int:
        return int(server.rest.get(path).raise_for_status().headers["X-Total-Count"])

    assert total("/projects?name=seed-") == 3
    assert total("/repositories?q=name=~seed-") == 7
    assert total("/projects/seed-0001/repositories/many/artifacts") == 20
    assert total("/projects/seed-0001/repositories/many/artifacts/t00000001/tags") == 3
    assert total("/auditlog-exts") >= 1000
    assert len(server.rows("SELECT 1 FROM registry_core_auditlog WHERE occurred_at < now() - interval '300 days'")) > 50


def test_images_can_be_pulled(server: Server) -> None:
    for name, tag in (("seed-0002/r0001", "latest"), ("seed-0001/many", "t00000050")):
        repository = server.repository(name, ADMIN)
        manifest = repository.request("GET", f"manifests/{tag}", headers={"Accept": MANIFEST})
        assert manifest.status_code == 200
        assert manifest.headers["Docker-Content-Digest"] == digest_of(manifest.content)
        for part in (manifest.json()["config"], *manifest.json()["layers"]):
            blob = repository.request("GET", f"blobs/{part['digest']}")
            assert digest_of(blob.content) == part["digest"]


def test_months_of_the_log_are_partitions_and_counted(server: Server) -> None:
    ((counted, there),) = server.rows(
        "SELECT (SELECT sum(rows) FROM registry_core_auditcount WHERE namespace_id = 0), "
        "(SELECT count(*) FROM registry_core_auditlog WHERE username ~ '^seed-user-')"
    )
    assert there == 1000
    assert counted >= 900
    months = server.rows(
        "SELECT 1 FROM pg_inherits WHERE inhparent = 'registry_core_auditlog'::regclass "
        "AND inhrelid::regclass::text <> 'registry_core_auditlog_default'"
    )
    assert len(months) >= 12


def test_a_seeded_registry_is_not_seeded_again(server: Server) -> None:
    done = server.manage("seed")
    assert done.returncode != 0
    assert "seed-0001" in done.stderr
    assert "Traceback" not in done.stderr
