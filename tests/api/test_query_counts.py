"""Lists ask the database as often for twenty rows as for one."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from projects import labels
from projects.models import Project
from rbac import groups
from rbac.models import Member
from tests.api.conftest import MANIFEST, Api, descriptor, push, push_blob, push_image, push_index
from tests.builders import ADMIN, make_member, make_person, make_project, make_robot

pytestmark = pytest.mark.django_db


def more_users(project: Project, n: int) -> None:
    make_person(f"count-{n}")


def more_projects(project: Project, n: int) -> None:
    push_image(make_project(f"count-{n}", public=True), "app", "v1", seed="same")


def more_members(project: Project, n: int) -> None:
    make_member(project, make_person(f"count-{n}"), Member.Role.GUEST)


def more_robots(project: Project, n: int) -> None:
    make_robot(("library", ["repository:pull"]), ("*", ["repository:pull"]), level="system")


def more_labels(project: Project, n: int) -> None:
    labels.create("g", 0, f"count-{n}", by="admin")


def more_groups(project: Project, n: int) -> None:
    groups.create(ADMIN, f"count-{n}", 3)


def more_project_robots(project: Project, n: int) -> None:
    make_robot(("library", ["repository:pull"]))


def more_repositories(project: Project, n: int) -> None:
    push_image(project, f"app-{n}", "v1", seed="same")


def more_artifacts(project: Project, n: int) -> None:
    """An index of two images, one of which has a tag and an accessory."""
    one, two = push_image(project, "app", f"one-{n}"), push_image(project, "app")
    push_index(project, "app", f"multi-{n}", one, two)
    attach(project, one.pk, n)
    labels.attach(labels.create("g", 0, f"count-{n}", by="admin"), one, by="admin")


def attach(project: Project, pk: int, n: int) -> None:
    from registry_core.models import Artifact

    subject = Artifact.objects.get(pk=pk)
    blob = push_blob(subject.repository_id, b"{}")
    layer = {
        "mediaType": "application/octet-stream",
        **push_blob(subject.repository_id, f"{pk} {n}".encode()),
    }
    config = {"mediaType": "application/vnd.oci.empty.v1+json", **blob}
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config,
        "layers": [layer],
        "subject": descriptor(subject),
    }
    push(project, subject.repository.path, document)


def more_tags(project: Project, n: int) -> None:
    push_image(project, "app", f"v{n}", seed="same")


def more_accessories(project: Project, n: int) -> None:
    attach(project, push_image(project, "app", "v0", seed="same").pk, n)


WITH_ALL = (
    "with_tag=true&with_accessory=true&with_label=true&with_scan_overview=true&with_immutable_status=true"
)


@pytest.mark.parametrize(
    ("path", "more"),
    [
        ("/users", more_users),
        ("/users/search?username=count", more_users),
        ("/projects", more_projects),
        ("/repositories", more_projects),
        ("/quotas", more_projects),
        ("/projects/library/members", more_members),
        ("/robots", more_robots),
        ("/labels?scope=g", more_labels),
        ("/usergroups", more_groups),
        ("/robots?q=Level=project,ProjectID={id}", more_project_robots),
        ("/projects/library/repositories", more_repositories),
        (f"/projects/library/repositories/app/artifacts?{WITH_ALL}", more_artifacts),
        (f"/projects/library/artifacts?{WITH_ALL}", more_artifacts),
        ("/projects/library/repositories/app/artifacts/v0/tags", more_tags),
        ("/projects/library/repositories/app/artifacts/v0/accessories", more_accessories),
    ],
)
def test_a_list_asks_as_often_for_twenty_rows_as_for_one(
    admin: Api, library: Project, path: str, more: Callable[[Project, int], None]
) -> None:
    path = path.format(id=library.pk)
    path += ("&" if "?" in path else "?") + "page_size=100"

    def count() -> tuple[int, int]:
        with CaptureQueriesContext(
            connection,
        ) as queries:
            reply = admin.get(path)
        assert reply.status == 200
        return len(queries), len(reply.body)

    more(library, 0)
    count()  # settings and the like are read once
    few, rows = count()
    for n in range(1, 20):
        more(library, n)
    many, more_rows = count()
    assert more_rows >= rows + 19
    assert many == few
    assert many <= 12
