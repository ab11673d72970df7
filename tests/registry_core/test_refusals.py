"""Who is refused again and again leaves one row a minute, with a count (design 5)."""

from __future__ import annotations

import time
from collections.abc import Iterator

import httpx
import pytest

from registry_core import refusals
from registry_core.models import AuditLog, Namespace
from registry_core.refusals import Refusal
from tests.server import Pair, Repository, Server


@pytest.fixture(autouse=True)
def empty() -> Iterator[None]:
    refusals._kept.clear()
    yield
    refusals._kept.clear()


BOB = Refusal("bob", "delete", "repository", "p/app", "refused: repository:delete in project p", "p")


def written() -> list[tuple[str, str, int | None, bool]]:
    rows = AuditLog.objects.filter(username="bob").order_by("description")
    return list(rows.values_list("resource", "description", "namespace_id", "succeeded"))


@pytest.mark.django_db
def test_one_row_with_a_count() -> None:
    namespace = Namespace.objects.create(name="p")
    assert refusals.note(BOB, "192.0.2.1")
    assert not refusals.note(BOB, "192.0.2.1")
    assert not refusals.note(BOB, "192.0.2.1")
    refusals.write()
    assert written() == []  # the minute is not over
    refusals.write(everything=True)
    assert written() == [("p/app", f"{BOB.description} (3 times in a minute)", namespace.pk, False)]
    refusals.write(everything=True)
    assert len(written()) == 1


@pytest.mark.django_db
def test_another_object_or_reason_is_another_row() -> None:
    refusals.note(BOB, "")
    refusals.note(Refusal("bob", "delete", "repository", "p/b", "refused: x"), "")
    refusals.note(Refusal("bob", "pull", "repository", "p/app", "refused: x"), "")
    refusals.write(everything=True)
    assert len(written()) == 3
    assert written()[0][2] is None


@pytest.mark.django_db
def test_a_minute_that_is_over_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    refusals.note(BOB, "")
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 60)
    refusals.write()
    assert written() == [("p/app", BOB.description, None, False)]


@pytest.mark.django_db
def test_of_one_that_was_told_only_more_are_counted() -> None:
    refusals.note(BOB, "", is_told=True)
    refusals.write(everything=True)
    assert written() == []
    for _ in range(3):
        refusals.note(BOB, "", is_told=True)
    refusals.write(everything=True)
    assert written() == [("p/app", f"{BOB.description} (2 more times in a minute)", None, False)]


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "MAX_KEPT", 3)
    for number in range(10):
        refusals.note(Refusal("bob", "pull", "repository", f"p/{number}", "refused"), "")
    assert len(refusals._kept) == 3
    refusals._kept.clear()
    refusals.note(Refusal("bob", "pull", "repository", "x" * 10_000, "refused"), "")
    ((_, one),) = refusals._kept
    assert len(one.resource) == refusals.MAX_RESOURCE


@pytest.mark.slow
def test_a_refusal_on_v2_is_told_and_a_challenge_is_not(
    server: Server, project: str, stranger: Pair, repository: Repository
) -> None:
    with httpx.Client(base_url=f"{server.url}/v2") as client:
        assert client.get(f"/{repository.name}/tags/list").status_code == 401  # nobody
        for _ in range(2):
            assert client.get(f"/{repository.name}/tags/list", auth=stranger).status_code == 401
            assert client.delete(f"/{repository.name}/manifests/v1", auth=stranger).status_code == 401
        token = server.token(stranger, "repository:other/x:pull")
        answer = client.get(f"/{repository.name}/tags/list", headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 401
    found = server.eventually(
        "SELECT username, operation, resource, succeeded, host(address) FROM registry_core_auditlog "
        "WHERE resource = %s AND NOT succeeded AND (SELECT count(*) > 1 FROM registry_core_auditlog "
        "WHERE resource = %s AND NOT succeeded) ORDER BY operation",
        repository.name,
        repository.name,
        seconds=90,
    )
    assert {row[1] for row in found} == {"delete", "pull"}
    assert {row[0] for row in found} == {stranger[0]}
    assert {row[3:] for row in found} == {(False, "127.0.0.1")}
