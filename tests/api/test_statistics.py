"""Tag statistic (contract 6.10). Golden: statistics."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from projects.models import Project
from rbac.models import Member
from registry_core.models import Blob
from tests.api.conftest import Api, push_image
from tests.builders import Person, make_member, make_person, make_project

pytestmark = pytest.mark.django_db

As = Callable[[Person], Api]


@pytest.fixture
def content(charlie: Person) -> None:
    """Beside library: a public project of two repositories, and two private ones; charlie is a guest of one."""
    pub, mine, other = make_project("pub", public=True), make_project("mine"), make_project("other")
    for project, path in ((pub, "a"), (pub, "b"), (mine, "a"), (other, "a"), (other, "b"), (other, "c")):
        push_image(project, path, "v1", seed="same")
    make_member(mine, charlie, Member.Role.GUEST)


def shown(private: tuple[int, int], total: tuple[int, int, int] = (0, 0, 0)) -> dict[str, int]:
    """(projects, repositories) and, of all, the bytes as well."""
    return {
        "public_project_count": 2, "public_repo_count": 2,
        "private_project_count": private[0], "private_repo_count": private[1],
        "total_project_count": total[0], "total_repo_count": total[1], "total_storage_consumption": total[2],
    }  # fmt: skip


def test_statistics(content: None, library: Project, admin: Api, anonymous: Api, charlie: Person, as_: As) -> None:
    stored = sum(Blob.objects.values_list("size", flat=True))  # each once, however many projects have it
    assert stored > 0
    assert admin.get("/statistics").body == shown((2, 4), (4, 6, stored))
    assert as_(charlie).get("/statistics").body == shown((1, 1))
    assert as_(make_person("plain")).get("/statistics").body == shown((0, 0))
    assert anonymous.get("/statistics").status == 401


def test_it_asks_three_questions_whatever_there_is(content: None, admin: Api) -> None:
    admin.get("/statistics")
    with CaptureQueriesContext(connection) as few:
        admin.get("/statistics")
    for n in range(10):
        push_image(make_project(f"more-{n}"), "app", "v1", seed="same")
    with CaptureQueriesContext(connection) as many:
        admin.get("/statistics")
    assert len(many) == len(few) <= 6
