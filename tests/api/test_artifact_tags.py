"""The tags of an artifact (golden: artifact_tags)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from projects.models import Project
from registry_core.models import Artifact, AuditLog
from tests.api.conftest import Api, push_image, tag_names
from tests.builders import Person

pytestmark = pytest.mark.django_db

As = Callable[[Person], Api]
PATH = "/projects/library/repositories/app/artifacts"


@pytest.fixture
def artifact(library: Project) -> Artifact:
    return push_image(library, "app", "v1")


def test_list(admin: Api, artifact: Artifact) -> None:
    for reference in ("v1", artifact.digest):
        reply = admin.get(f"{PATH}/{reference}/tags")
        (tag,) = reply.body
        assert reply.headers["X-Total-Count"] == "1"
        assert tag.pop("push_time") > "2020"
        assert isinstance(tag.pop("id"), int)
        assert tag == {
            "artifact_id": artifact.pk, "repository_id": artifact.repository_id, "name": "v1", "immutable": False,
            "pull_time": "0001-01-01T00:00:00.000Z",
        }  # fmt: skip


@pytest.mark.parametrize("name", ["v2", "x" * 128, "_a", "UP", "1.0-rc.1"])
def test_create(admin: Api, artifact: Artifact, name: str) -> None:
    reply = admin.post(f"{PATH}/v1/tags", {"name": name, "id": 5, "immutable": True, "artifact_id": 1})
    assert (reply.status, reply.content) == (201, b"")
    assert "Location" not in reply.headers  # contract 1.3
    assert tag_names(artifact) == {"v1", name}
    assert (
        AuditLog.objects.filter(
            operation="create", resource_type="tag", resource=f"library/app:{name}"
        ).count()
        == 1
    )


@pytest.mark.parametrize("name", ["-x", "a b", "a/b", ".a", "x" * 129, "sha256:" + "0" * 64])
def test_names_that_are_none(admin: Api, artifact: Artifact, name: str) -> None:
    reply = admin.post(f"{PATH}/v1/tags", {"name": name})
    assert (reply.status, reply.code, reply.message) == (
        400,
        "BAD_REQUEST",
        f"bad request: invalid tag name: {name}",
    )


@pytest.mark.parametrize("sent", [{}, {"name": ""}])
def test_a_tag_needs_a_name(admin: Api, artifact: Artifact, sent: dict[str, str]) -> None:
    assert admin.post(f"{PATH}/v1/tags", sent).status == 422


def test_a_name_is_taken_once_in_a_repository(admin: Api, artifact: Artifact, library: Project) -> None:
    other = push_image(library, "app", "other")
    elsewhere = push_image(library, "elsewhere", "v9")
    for reference in ("v1", other.digest):
        reply = admin.post(f"{PATH}/{reference}/tags", {"name": "v1"})
        assert (reply.status, reply.code) == (409, "CONFLICT")
    assert tag_names(artifact) == {"v1"}
    assert (
        admin.post("/projects/library/repositories/elsewhere/artifacts/v9/tags", {"name": "v1"}).status == 201
    )
    assert tag_names(elsewhere) == {"v1", "v9"}


def test_find_and_sort(admin: Api, artifact: Artifact) -> None:
    for name in ("v3", "v2", "UP"):
        admin.post(f"{PATH}/v1/tags", {"name": name})

    def names(query: str) -> str:
        return " ".join(tag["name"] for tag in admin.get(f"{PATH}/v1/tags?{query}").body)

    assert names("") == "UP v2 v3 v1"  # newest first
    assert names("sort=name") == "UP v1 v2 v3"
    assert names("sort=-name&page_size=2") == "v3 v2"
    assert names("sort=name&page=2&page_size=2") == "v2 v3"
    assert names("q=name=v3") == "v3"
    assert names("q=name=~v&sort=name") == "v1 v2 v3"
    assert admin.get(f"{PATH}/v1/tags?q=name").status == 400


def test_delete(admin: Api, artifact: Artifact, library: Project) -> None:
    push_image(library, "app", "other")
    assert admin.delete(f"{PATH}/v1/tags/v1").status == 200
    for name in ("v1", "other"):
        reply = admin.delete(f"{PATH}/{artifact.digest}/tags/{name}")
        assert (reply.status, reply.message) == (
            404,
            f"tag {name} attached to artifact {artifact.pk} not found",
        )
    assert admin.get(f"{PATH}/{artifact.digest}").body["tags"] is None  # the artifact stays
    assert (
        AuditLog.objects.filter(operation="delete", resource_type="tag", resource="library/app:v1").count()
        == 1
    )


def test_absent_artifacts(admin: Api, artifact: Artifact) -> None:
    for reply in (
        admin.get(f"{PATH}/absent/tags"),
        admin.post(f"{PATH}/absent/tags", {"name": "x"}),
        admin.delete(f"{PATH}/absent/tags/x"),
    ):
        assert (reply.status, reply.message) == (404, "artifact library/app:absent not found")
    reply = admin.get("/projects/library/repositories/none/artifacts/v1/tags")
    assert reply.message == "repository library/none not found"


def test_who_may(
    alice: Person, bob: Person, charlie: Person, anonymous: Api, artifact: Artifact, as_: As
) -> None:
    calls: list[Callable[[Api], Any]] = [
        lambda api: api.get(f"{PATH}/v1/tags"),
        lambda api: api.post(f"{PATH}/v1/tags", {"name": "new"}),
        lambda api: api.delete(f"{PATH}/v1/tags/new"),
    ]
    assert [call(anonymous).status for call in calls] == [200, 401, 401]
    assert [call(as_(charlie)).status for call in calls] == [200, 403, 403]
    assert tag_names(artifact) == {"v1"}
    assert [call(as_(bob)).status for call in calls] == [200, 201, 403]
    assert [call(as_(alice)).status for call in calls] == [200, 409, 200]
