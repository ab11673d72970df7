"""Tag search (contract 7). Golden: search."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from api import search
from projects.models import Project
from rbac.models import Member
from registry_core.models import Repository
from tests.api.conftest import Api, push_image
from tests.builders import Person, make_member, make_project, make_robot

pytestmark = pytest.mark.django_db

As = Callable[[Person], Api]


@pytest.fixture
def content(charlie: Person) -> dict[str, Project]:
    """Charlie is a guest of `find-mine`; everybody sees `find-pub`."""
    projects = {name: make_project(f"find-{name}", public=name == "pub") for name in ("pub", "priv", "mine")}
    make_member(projects["mine"], charlie, Member.Role.GUEST)
    for project in projects.values():
        push_image(project, "app", "v1")
        push_image(project, "team/web", "v1")
    push_image(projects["pub"], "app", "v2")
    return projects


@pytest.fixture
def callers(admin: Api, anonymous: Api, bob: Person, charlie: Person, as_: As) -> dict[str, Api]:
    return {"admin": admin, "anonymous": anonymous, "bob": as_(bob), "charlie": as_(charlie)}


def found(caller: Api, q: str) -> tuple[str, str]:
    body = caller.get(f"/search?q={q}").body
    projects = " ".join(p["name"].removeprefix("find-") for p in body["project"])
    return projects, " ".join(r["repository_name"].removeprefix("find-") for r in body["repository"])


ALL = "mine/team/web mine/app priv/team/web priv/app pub/team/web pub/app"
PUB = "pub/team/web pub/app"


@pytest.mark.parametrize(
    ("who", "q", "projects", "repositories"),
    [
        ("admin", "find-", "mine priv pub", ALL),
        ("admin", "find-priv", "priv", "priv/team/web priv/app"),
        ("charlie", "find-", "mine pub", f"mine/team/web mine/app {PUB}"),
        ("charlie", "find-priv", "", ""),
        ("bob", "find-", "pub", PUB),
        ("anonymous", "find-", "pub", PUB),
        ("anonymous", "find-mine", "", ""),
        ("admin", "find-pub/team", "", "pub/team/web"),
        ("admin", "pub/app", "", "pub/app"),
        ("admin", "find-PUB", "", PUB),
        ("admin", "find-%25", "", ""),
        ("admin", "find-pu_", "", ""),
        ("admin", "find-%5C", "", ""),
        ("admin", "zzz", "", ""),
        ("admin", "find-&page_size=1", "mine priv pub", ALL),
    ],
)
def test_search(
    content: dict[str, Project], callers: dict[str, Api], who: str, q: str, projects: str, repositories: str
) -> None:
    shown_projects, shown_repositories = found(callers[who], q)
    assert shown_projects == projects
    assert sorted(shown_repositories.split()) == sorted(repositories.split())


def test_what_is_shown(content: dict[str, Project], admin: Api, charlie: Person, as_: As) -> None:
    body = as_(charlie).get("/search?q=find-mine").body
    (project,), mine = body["project"], content["mine"]
    times = {key: project.pop(key) for key in ("creation_time", "update_time")}
    assert all(time.startswith("20") for time in times.values())
    zero = "0001-01-01T00:00:00.000Z"
    assert project == {
        "project_id": mine.pk, "name": "find-mine", "owner_id": 1, "repo_count": 2,
        "current_user_role_id": 3, "current_user_role_ids": [3], "metadata": {"public": "false"},
        "cve_allowlist": {"items": None, "creation_time": zero, "update_time": zero},
    }  # fmt: skip
    Repository.objects.filter(namespace=mine.namespace, path="app").update(pull_count=4)
    (app,) = as_(charlie).get("/search?q=mine/app").body["repository"]
    assert app == {
        "project_id": mine.pk, "project_name": "find-mine", "repository_name": "find-mine/app",
        "artifact_count": 1, "pull_count": 4,
    }  # fmt: skip
    (app,) = admin.get("/search?q=pub/app").body["repository"]
    assert (app["project_public"], app["artifact_count"]) == (True, 2)


def test_robots_find_repositories_where_they_may_list_them(content: dict[str, Project]) -> None:
    lister = make_robot(("find-priv", ["repository:list"]))
    projects, repositories = found(Api(lister.basic), "find-priv")
    assert (projects, set(repositories.split())) == ("priv", {"priv/app", "priv/team/web"})
    puller = make_robot(("find-priv", ["repository:pull"]))
    assert found(Api(puller.basic), "find-priv") == ("priv", "")


@pytest.mark.parametrize("path", ["/search", "/search?q="])
def test_something_must_be_searched_for(admin: Api, path: str) -> None:
    assert admin.get(path).status == 422
    assert admin.request("POST", "/search", {"q": "x"}).status == 405


def test_too_much_is_refused_with_the_limit(
    content: dict[str, Project], admin: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "MAX_UNPAGED", 5)
    reply = admin.get("/search?q=find-")
    assert (reply.status, reply.code) == (400, "BAD_REQUEST")
    assert "5 names match" in reply.message
    assert admin.get("/search?q=find-pub").status == 200


def test_it_asks_as_often_for_many_as_for_one(content: dict[str, Project], admin: Api) -> None:
    def count(q: str) -> int:
        with CaptureQueriesContext(connection) as queries:
            assert admin.get(f"/search?q={q}").status == 200
        return len(queries)

    count("find-")
    assert count("find-") == count("find-pub") <= 10
