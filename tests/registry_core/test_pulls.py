"""Pulls leave their trace later: buffered, written together, and kept while the database is away (design 2.9)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import OperationalError, connection

from registry_core import audit, pulls
from registry_core.hooks import Grant, Principal
from registry_core.lookups import Stored
from registry_core.models import Artifact, Namespace, Repository, Tag
from registry_core.references import RepositoryName

pytestmark = pytest.mark.django_db
ALICE, NOBODY = Principal("alice", "user", "u:3"), Principal()
DIGEST = "sha256:" + "a" * 64
APP = RepositoryName("project", "app")


@pytest.fixture(autouse=True)
def empty() -> Iterator[None]:
    pulls.take()
    yield
    pulls.take()


@pytest.fixture
def repository() -> Repository:
    return Repository.objects.create(namespace=Namespace.objects.create(name="project"), path="app")


@pytest.fixture
def stored(repository: Repository) -> Stored:
    artifact = Artifact.objects.create(repository=repository, digest=DIGEST, media_type="x", payload=b"{}")
    for name in ("v1", "v2"):
        Tag.objects.create(repository=repository, name=name, artifact=artifact)
    return Stored(artifact.pk, repository.pk, DIGEST, "x", b"{}", ())


def note(stored: Stored, reference: str, who: Principal = ALICE, address: str = "192.0.2.1") -> None:
    grant = Grant(who, Repository.objects.get(pk=stored.repository_id).namespace_id)
    pulls.note(stored, grant, APP, reference, address)


def lines() -> list[tuple[str, str, str | None]]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT username, resource, host(address) FROM registry_core_auditlog WHERE operation = 'pull' ORDER BY id"
        )
        found: list[tuple[str, str, str | None]] = cursor.fetchall()
    return found


def test_a_flush_writes_everything_once(repository: Repository, stored: Stored) -> None:
    note(stored, "v1")
    note(stored, "v1")
    note(stored, DIGEST, NOBODY)
    taken = pulls.take()
    assert pulls.write(taken)
    assert pulls.take().is_empty()
    repository.refresh_from_db()
    assert repository.pull_count == 3
    assert Artifact.objects.get().pulled_at is not None
    assert {tag.name: tag.pulled_at is None for tag in Tag.objects.all()} == {"v1": False, "v2": True}
    assert lines() == [
        ("alice", "project/app:v1", "192.0.2.1"),
        ("alice", "project/app:v1", "192.0.2.1"),
        ("anonymous", f"project/app@{DIGEST}", "192.0.2.1"),
    ]


def test_an_unknown_address_is_none(stored: Stored) -> None:
    note(stored, "v1", address="")
    assert pulls.write(pulls.take())
    assert lines() == [("alice", "project/app:v1", None)]


def test_what_is_gone_meanwhile_stops_nothing(repository: Repository, stored: Stored) -> None:
    note(stored, "v1")
    Artifact.objects.all().delete()
    other = Artifact.objects.create(repository=repository, digest=DIGEST, media_type="x", payload=b"{}")
    note(Stored(other.pk, repository.pk, DIGEST, "x", b"{}", ()), DIGEST)
    assert pulls.write(pulls.take())
    other.refresh_from_db()
    assert other.pulled_at is not None


def test_a_later_pull_is_not_overwritten_by_an_earlier_one(stored: Stored) -> None:
    note(stored, "v1")
    early = pulls.take()
    note(stored, "v1")
    assert pulls.write(pulls.take())
    later = Artifact.objects.get().pulled_at
    assert pulls.write(early)
    assert Artifact.objects.get().pulled_at == later


@pytest.mark.django_db(transaction=True)
def test_a_database_that_is_away_keeps_them_due(
    repository: Repository, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    note(stored, "v1")
    taken = pulls.take()

    def away(*_: object) -> None:
        raise OperationalError("server closed the connection unexpectedly")

    with monkeypatch.context() as patch:
        patch.setattr(pulls, "_count_pulls", away)
        assert not pulls.write(taken)
    note(stored, "v1")
    pulls.give_back(taken)
    assert pulls.write(pulls.take())
    repository.refresh_from_db()
    assert repository.pull_count == 2


@pytest.mark.django_db(transaction=True)
def test_a_long_buffer_is_written_in_parts_and_no_part_twice(
    repository: Repository, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulls, "PART", 3)
    for i in range(10):
        note(stored, f"t{i}")
    write_lines, written = audit.write, [0]

    def away_in_the_third(part: list[audit.Line]) -> None:
        written[0] += 1
        if written[0] == 3:
            raise OperationalError("server closed the connection unexpectedly")
        assert len(part) <= 3
        write_lines(part)

    taken = pulls.take()
    with monkeypatch.context() as patch:
        patch.setattr(audit, "write", away_in_the_third)
        assert not pulls.write(taken)
    repository.refresh_from_db()
    assert repository.pull_count == 6
    assert [resource for _, resource, _ in lines()] == [f"project/app:t{i}" for i in range(6)]
    pulls.give_back(taken)
    assert pulls.write(pulls.take())
    repository.refresh_from_db()
    assert repository.pull_count == 10


def test_the_buffer_is_bounded(stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulls, "MAX_ARTIFACTS", 10)
    for i in range(pulls.MAX_LINES + 50):
        note_directly(stored, f"t{i}")
    taken = pulls.take()
    assert len(taken.pulled) == 10
    assert len(taken.lines) == pulls.MAX_LINES
    assert taken.lines[-1].resource == f"project/app:t{pulls.MAX_LINES + 49}"


def note_directly(stored: Stored, reference: str) -> None:
    pulls.note(stored, Grant(ALICE, 1), APP, reference, "192.0.2.1")
