"""Tag repository, and names in paths (contract 1.2, 1.6).

Golden: repository_life, repository_roles, names_in_paths, query_language."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from projects.models import Project
from registry_core import actions
from registry_core.models import Artifact, AuditLog, Repository
from tests.api.conftest import Api, push_image, push_index
from tests.builders import Person, make_project

pytestmark = pytest.mark.django_db

As = Callable[[Person], Api]
PATH = "/projects/team/repositories"


@pytest.fixture
def team(db: None) -> Project:
    """Newest first: 123, x-y, x_y, alpha/one, gamma, beta (pulled twice), alpha."""
    project = make_project("team")
    for n, path in enumerate(("alpha", "beta", "gamma", "alpha/one", "x_y", "x-y", "123")):
        artifact = push_image(project, path, "latest", seed=path)
        Repository.objects.filter(pk=artifact.repository_id).update(created_at=f"2024-01-0{n + 1}T00:00:00Z")
    Repository.objects.filter(path="beta").update(pull_count=2)
    return project


def test_an_empty_project(admin: Api) -> None:
    make_project("team")
    reply = admin.get(PATH)
    assert (reply.body, reply.headers["X-Total-Count"]) == ([], "0")


def test_get(admin: Api, team: Project) -> None:
    shown = admin.get(f"{PATH}/beta").body
    assert set(shown) == {
        "id",
        "project_id",
        "name",
        "artifact_count",
        "pull_count",
        "creation_time",
        "update_time",
    }
    assert (shown["name"], shown["project_id"], shown["artifact_count"], shown["pull_count"]) == (
        "team/beta",
        team.pk,
        1,
        2,
    )
    assert shown["creation_time"] == "2024-01-02T00:00:00.000Z"


def test_what_counts_as_an_artifact(admin: Api, team: Project) -> None:
    child = push_image(team, "app")
    push_index(team, "app", "multi", child)
    assert admin.get(f"{PATH}/app").body["artifact_count"] == 1  # the child is a part of the index
    push_image(team, "app")
    assert admin.get(f"{PATH}/app").body["artifact_count"] == 2


def test_an_upload_alone_makes_no_repository(admin: Api, team: Project) -> None:
    actions.ensure_repository(team.namespace_id, "begun")
    assert admin.get(f"{PATH}/begun").status == 404
    assert admin.get("/projects/team").body["repo_count"] == 7


NEWEST = "123 x-y x_y alpha/one gamma beta alpha"


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", NEWEST),
        ("sort=name", "123 alpha alpha/one beta gamma x-y x_y"),
        ("sort=-name&page_size=2", "x_y x-y"),
        ("sort=-pull_count,name&page_size=3", "beta 123 alpha"),
        ("sort=creation_time&page_size=2", "alpha beta"),
        ("sort=Name&page_size=1", "123"),
        ("sort=NAME", NEWEST),
        ("sort=colour", NEWEST),
        ("sort=-artifact_count", NEWEST),
        ("q=name=team/alpha", "alpha"),
        ("q=name=team/ALPHA", ""),
        ("q=name=alpha", ""),
        ("q=name=~alpha&sort=name", "alpha alpha/one"),
        ("q=name=~ALPHA&sort=name", "alpha alpha/one"),
        ("q=name=~%25a", ""),
        ("q=name=~x_y", "x_y"),
        ("q=name=~x\\_y", ""),
        ("q=name={team/alpha%20team/beta}&sort=name", "alpha beta"),
        ("q=name={%22team/alpha%22%20'team/beta'}&sort=name", "alpha beta"),
        ("q=name={}", ""),
        ("q=name=(team/alpha)", NEWEST),
        ("q=name=[team/a~team/c]&sort=name", "alpha alpha/one beta"),
        ("q=name__icontains=ALPHA&sort=name", "alpha alpha/one"),
        ("q=name__in=team/alpha", "alpha"),
        ("q=name__startswith=x", NEWEST),
        ("q=name=\\team/alpha", "alpha"),
        ("q=%20name=team/alpha", NEWEST),
        ("q=NAME=team/alpha", "alpha"),
        ("q=name%253Dteam/alpha", "alpha"),
        ("q=name=~al%2570ha&sort=name", "alpha alpha/one"),
        ("q=name=~al%2Bpha", ""),
        ("q=name=~a,name=~beta", "beta"),
        ("q=name=~team/a,pull_count=0&sort=name", "alpha alpha/one"),
        ("q=pull_count=[1~]", "beta"),
        ("q=pull_count=[0~1]&page_size=2", "123 x-y"),
        ("q=pull_count=[5~1]", ""),
        ("q=pull_count=~2", "beta"),
        ("q=pull_count__gte=1", "beta"),
        ("q=creation_time=[2024-01-06T00:00:00~]", "123 x-y"),
        ("q=creation_time=[2024-01-06~2024-01-06]", "x-y"),
        ("q=creation_time=[~2023-01-01%2000:00:00]", ""),
        ("q=project_id=1", ""),
        ("q=name=x'%20OR%20'1'='1", ""),
        ("q=name;drop=1".replace(";", "%3B"), NEWEST),
        ("q=colour=red", NEWEST),
        ("q=name%3Dteam/alpha&q=name%3Dteam/beta", "beta"),
    ],
)  # fmt: skip
def test_find_and_sort(admin: Api, team: Project, query: str, names: str) -> None:
    reply = admin.get(f"{PATH}?{query}")
    assert reply.status == 200
    assert " ".join(repository["name"].removeprefix("team/") for repository in reply.body) == names
    if "page_size" not in query:
        assert reply.headers["X-Total-Count"] == str(len(names.split()))


@pytest.mark.parametrize(
    "query", ["name", "name=~", "name={a", "pull_count=many", "pull_count=[a~b]", "name={1%202}"]
)
def test_find_refuses(admin: Api, team: Project, query: str) -> None:
    reply = admin.get(f"{PATH}?q={query}")
    assert (reply.status, reply.code) == (400, "BAD_REQUEST")


def test_pages(admin: Api, team: Project) -> None:
    reply = admin.get(f"{PATH}?sort=name&page=2&page_size=3")
    assert [r["name"] for r in reply.body] == ["team/beta", "team/gamma", "team/x-y"]
    assert reply.headers["X-Total-Count"] == "7"
    assert reply.headers["Link"] == (
        f'</api/v2.0{PATH}?page=1&page_size=3&sort=name>; rel="prev" , '
        f'</api/v2.0{PATH}?page=3&page_size=3&sort=name>; rel="next"'
    )
    trailing = admin.get(f"{PATH}/?page_size=3")
    assert trailing.headers["Link"] == f'</api/v2.0{PATH}/?page=2&page_size=3>; rel="next"'


# -- names in paths


@pytest.mark.parametrize(
    "text", ["alpha%252Fone", "alpha%2Fone", "alpha%252fone", "al%70ha%2Fone", "al%2570ha%252Fone"]
)
def test_names_encoded_once_and_twice(admin: Api, team: Project, text: str) -> None:
    assert admin.get(f"{PATH}/{text}").body["name"] == "team/alpha/one"
    (artifact,) = admin.get(f"{PATH}/{text}/artifacts").body
    assert artifact["repository_name"] == "team/alpha/one"
    assert admin.get(f"{PATH}/{text}/artifacts/latest/tags").status == 200


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("alpha%25252Fone", "alpha%2Fone"),
        ("ALPHA", "ALPHA"),
        ("absent", "absent"),
        ("team%252Falpha", "team/alpha"),
        ("a%2500b", "a\ufffdb"),
        ("a%25zz", "a%zz"),
    ],
)
def test_names_that_are_absent(admin: Api, team: Project, text: str, shown: str) -> None:
    reply = admin.get(f"{PATH}/{text}")
    assert (reply.status, reply.code, reply.message) == (
        404,
        "NOT_FOUND",
        f"repository team/{shown} not found",
    )
    listed = admin.get(f"{PATH}/{text}/artifacts")
    assert (listed.status, listed.body, listed.headers["X-Total-Count"]) == (200, [], "0")


def test_a_name_that_is_not_encoded_is_another_path(admin: Api, team: Project) -> None:
    assert admin.get(f"{PATH}/alpha/one").message == f"path /api/v2.0{PATH}/alpha/one was not found"


def test_projects_go_by_name_here(admin: Api, team: Project) -> None:
    reply = admin.get(f"/projects/{team.pk}/repositories")
    assert (reply.status, reply.message) == (404, f"project {team.pk} not found")
    assert admin.get("/projects/absent/repositories").message == "project absent not found"
    assert admin.get("/projects/absent/repositories/app").message == "repository absent/app not found"


# -- change and delete


def test_describe(admin: Api, team: Project) -> None:
    sent = {"description": 'A <b>text</b> & "more"', "name": "renamed", "pull_count": 9}
    assert admin.put(f"{PATH}/alpha", sent).status == 200
    shown = admin.get(f"{PATH}/alpha").body
    assert shown["description"] == "A &lt;b&gt;text&lt;/b&gt; &amp; &#34;more&#34;"
    assert (shown["name"], shown["pull_count"]) == ("team/alpha", 0)
    assert admin.put(f"{PATH}/alpha", {}).status == 200
    assert "description" not in admin.get(f"{PATH}/alpha").body
    assert admin.put(f"{PATH}/absent", {"description": "x"}).status == 404


def test_delete(admin: Api, team: Project) -> None:
    assert admin.delete(f"{PATH}/alpha%252Fone").status == 200
    assert admin.get(f"{PATH}/alpha%252Fone").status == 404
    assert admin.delete(f"{PATH}/alpha%252Fone").message == "repository team/alpha/one not found"
    assert not Artifact.objects.filter(repository__path="alpha/one").exists()
    assert (
        AuditLog.objects.filter(
            operation="delete", resource_type="repository", resource="team/alpha/one"
        ).count()
        == 1
    )
    assert admin.get(f"{PATH}/alpha").status == 200


def test_who_may(
    alice: Person, bob: Person, charlie: Person, anonymous: Api, library: Project, as_: As
) -> None:
    push_image(library, "app", "v1")
    path = "/projects/library/repositories"
    calls: list[Callable[[Api], Any]] = [
        lambda api: api.get(path),
        lambda api: api.get(f"{path}/app"),
        lambda api: api.put(f"{path}/app", {"description": "x"}),
        lambda api: api.get(f"{path}/app/artifacts"),
        lambda api: api.delete(f"{path}/app"),
    ]
    # On a public project anybody lists, and only members read (contract 4.2).
    assert [call(anonymous).status for call in calls] == [200, 401, 401, 200, 401]
    assert [call(as_(charlie)).status for call in calls] == [200, 403, 403, 200, 403]
    assert [call(as_(bob)).status for call in calls] == [200, 200, 200, 200, 403]
    assert [call(as_(alice)).status for call in calls] == [200, 200, 200, 200, 200]


def test_a_private_project_is_hidden(charlie: Person, anonymous: Api, team: Project, as_: As) -> None:
    for path in (
        PATH,
        f"{PATH}/alpha",
        f"{PATH}/absent",
        "/projects/absent/repositories",
        "/projects/absent/repositories/app",
    ):
        assert (as_(charlie).get(path).status, as_(charlie).get(path).message) == (403, "forbidden")
        assert anonymous.get(path).status == 401


def test_repositories_of_all_projects(
    admin: Api, charlie: Person, anonymous: Api, library: Project, team: Project, as_: As
) -> None:
    push_image(library, "app", "v1")
    for caller in (as_(charlie), anonymous):
        assert [r["name"] for r in caller.get("/repositories").body] == ["library/app"]
    reply = admin.get("/repositories?sort=name&page_size=2&page=4")
    assert [r["name"] for r in reply.body] == ["team/x-y", "team/x_y"]
    assert reply.headers["X-Total-Count"] == "8"
    assert [r["name"] for r in admin.get("/repositories?q=name={library/app%20team/123}&sort=name").body] == [
        "library/app", "team/123",
    ]  # fmt: skip
