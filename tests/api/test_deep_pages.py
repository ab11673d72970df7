"""Pages that lie deep are read from the nearer end, and are the same as ever."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from api import dispatch
from rbac import groups
from tests.api.conftest import Api, push_image
from tests.builders import ADMIN, make_person, make_project

pytestmark = pytest.mark.django_db
SIZE = 3


@pytest.fixture
def filled() -> None:
    """Ten of each, some of the same moment: one transaction has one time."""
    project = make_project("p")
    for number in range(10):
        push_image(project, "app", f"v{number}", *(["latest"] if number == 4 else []))
        push_image(project, f"other-{number % 3}", f"v{number}")
        make_person(f"deep-{number}")
        groups.create(ADMIN, f"deep-{number}", 3)


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("/projects/p/repositories/app/artifacts", "id"),
        ("/projects/p/repositories/app/artifacts?sort=push_time", "id"),
        ("/projects/p/repositories/app/artifacts?sort=-size,digest", "id"),
        ("/projects/p/repositories/app/artifacts?sort=pull_time", "id"),
        ("/projects/p/repositories/app/artifacts?q=tags=*&with_tag=true", "id"),
        ("/projects/p/artifacts", "id"),
        ("/projects/p/artifacts?sort=repository_id", "id"),
        ("/projects/p/repositories?sort=-name", "name"),
        ("/repositories", "name"),
        ("/users?sort=-username", "username"),
        ("/usergroups", "group_name"),
    ],
)
@pytest.mark.usefixtures("filled")
def test_every_page_is_its_part_of_the_whole(
    admin: Api, monkeypatch: pytest.MonkeyPatch, path: str, key: str
) -> None:
    path += "&" if "?" in path else "?"
    whole = [row[key] for row in admin.get(f"{path}page_size=100").body]
    assert len(set(whole)) == len(whole) >= 4
    monkeypatch.setattr(dispatch, "DEEP", 0)
    found: list[Any] = []
    for page in range(1, len(whole) // SIZE + 3):
        reply = admin.get(f"{path}page_size={SIZE}&page={page}")
        assert reply.headers["X-Total-Count"] == str(len(whole))
        found += [row[key] for row in reply.body]
    assert found == whole


@pytest.mark.usefixtures("filled")
def test_the_last_page_is_read_from_the_end(admin: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "DEEP", 0)
    with CaptureQueriesContext(connection) as queries:
        assert len(admin.get(f"/projects/p/repositories/app/artifacts?page_size={SIZE}&page=4").body) == 1
    asked = [query["sql"] for query in queries if '"registry_core_artifact"."pushed_at" ASC' in query["sql"]]
    assert len(asked) == 1
    assert "OFFSET" not in asked[0]
    assert '"payload"' not in asked[0]


@pytest.mark.usefixtures("filled")
def test_odd_pages_without_a_size(admin: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "DEEP", 0)
    assert len(admin.get("/projects/p/repositories/app/artifacts?page_size=-5&page=-1000").body) == 10
    assert len(admin.get("/projects/p/repositories/app/artifacts?page_size=0&page=7").body) == 10
