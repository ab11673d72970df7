"""Tag quota (contract 6.8). Golden: quota. What limits do to pushes is in tests/projects/test_quota.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from projects.models import Project, Quota
from registry_core.models import AuditLog
from tests.api.conftest import Api, push_image
from tests.builders import Person, make_project, make_robot

pytestmark = pytest.mark.django_db

As = Callable[[Person], Api]


def number(project: Project) -> int:
    return Quota.objects.get(project=project).pk


def test_one(admin: Api, charlie: Person) -> None:
    project = make_project("team", by=charlie.identity)
    Quota.objects.filter(project=project).update(hard=5000, used=905)
    shown = admin.get(f"/quotas/{number(project)}").body
    assert shown.pop("creation_time").startswith("20")
    assert shown == {
        "id": number(project),
        "ref": {"id": project.pk, "name": "team", "owner_name": "charlie"},
        "hard": {"storage": 5000},
        "used": {"storage": 905},
        "update_time": "0001-01-01T00:00:00.000Z",
    }


def test_zeros_are_shown_and_what_admin_owns_has_no_owner(admin: Api, library: Project) -> None:
    (shown,) = admin.get(f"/quotas?reference=project&reference_id={library.pk}").body
    assert (shown["hard"], shown["used"]) == ({"storage": -1}, {"storage": 0})
    assert shown["ref"] == {"id": library.pk, "name": "library", "owner_name": ""}
    assert shown["update_time"].startswith("20")


@pytest.fixture
def four(library: Project) -> None:
    """Beside library, which has no limit and uses nothing."""
    for name, hard, used in (("small", 100, 90), ("large", 5000, 10), ("none", -1, 50)):
        Quota.objects.filter(project=make_project(name)).update(hard=hard, used=used)


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", "none large small library"),
        ("sort=nonsense", "none large small library"),
        ("sort=hard.storage&page_size=2", "small large"),
        ("sort=-hard.storage,used.storage", "library none large small"),
        ("sort=used.storage", "library large none small"),
        ("sort=-used.storage", "small none large library"),
        ("sort=creation_time&page_size=1", "library"),
        ("reference=project&page=2&page_size=3", "library"),
        ("reference=nonsense", ""),
        ("reference_id=99999999", ""),
        ("reference_id=x", ""),
        ("reference_id=99999999999999999999", ""),
    ],
)
def test_list(admin: Api, four: None, query: str, names: str) -> None:
    reply = admin.get(f"/quotas?{query}")
    assert " ".join(q["ref"]["name"] for q in reply.body) == names
    total = 0 if not names else 4
    assert reply.headers["X-Total-Count"] == str(total)


@pytest.mark.parametrize("limit", [1, 100000, -1, 1 << 50])
def test_update(admin: Api, library: Project, limit: int) -> None:
    path = f"/quotas/{number(library)}"
    reply = admin.put(path, {"hard": {"storage": limit}})
    assert (reply.status, reply.content) == (200, b"")
    assert admin.get(path).body["hard"] == {"storage": limit}
    row = AuditLog.objects.get(resource_type="quota")
    assert (row.username, row.operation, row.resource, row.namespace_id) == (
        "admin", "update", "library", library.namespace_id,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"hard": {"storage": 0}}, 400, "invalid non-positive value for quota limit, value=0"),
        ({"hard": {"storage": -2}}, 400, "invalid non-positive value for quota limit, value=-2"),
        ({"hard": {"storage": (1 << 50) + 1}}, 400,
         "exceeded 1024TB, which is 1125899906842624 Bytes, value=1125899906842625"),
        ({"hard": {"count": 5}}, 400, "resource count not support"),
        ({"hard": {"storage": 5000, "count": 5}}, 400, "resource count not support"),
        ({"hard": {}}, 400, "hard required in body"),
        ({"hard": {"storage": None}}, 400, "invalid non-positive value for quota limit, value=0"),
        ({}, 400, "hard required in body"),
        ({"hard": {"storage": "5"}}, 422, None),
        ({"hard": {"storage": 1.5}}, 422, None),
    ],
)  # fmt: skip
def test_update_refuses(
    admin: Api, library: Project, body: dict[str, Any], status: int, message: str | None
) -> None:
    reply = admin.put(f"/quotas/{number(library)}", body)
    assert reply.status == status
    assert message in (None, reply.message)
    assert Quota.objects.get(project=library).hard == -1
    assert not AuditLog.objects.filter(resource_type="quota").exists()


def test_a_limit_below_the_use_is_taken(admin: Api, library: Project) -> None:
    push_image(library, "app", "v1")
    assert admin.put(f"/quotas/{number(library)}", {"hard": {"storage": 1}}).status == 200
    used = admin.get(f"/quotas/{number(library)}").body["used"]["storage"]
    assert used > 1
    assert admin.get("/projects/library/summary").body["quota"] == {
        "hard": {"storage": 1}, "used": {"storage": used},
    }  # fmt: skip


def test_what_is_absent(admin: Api) -> None:
    gone = make_project("gone")
    pk = number(gone)
    admin.delete("/projects/gone")
    for reply in (admin.get(f"/quotas/{pk}"), admin.put(f"/quotas/{pk}", {"hard": {"storage": 7}})):
        assert (reply.status, reply.code, reply.message) == (404, "NOT_FOUND", f"quota {pk} not found")
    assert admin.get("/quotas/x").status == 422


def test_who_may(alice: Person, anonymous: Api, library: Project, as_: As) -> None:
    """System administrators, and robots of the system that were given it; the project's administrators may not."""
    pk = number(library)
    calls: list[Callable[[Api], int]] = [
        lambda api: api.get("/quotas").status,
        lambda api: api.get(f"/quotas/{pk}").status,
        lambda api: api.put(f"/quotas/{pk}", {"hard": {"storage": 7}}).status,
    ]
    assert [call(anonymous) for call in calls] == [401, 401, 401]
    assert [call(as_(alice)) for call in calls] == [403, 403, 403]
    assert as_(alice).get("/quotas").message == "alice"
    reader = make_robot(("/", ["quota:read", "quota:list"]), level="system")
    assert [call(Api(reader.basic)) for call in calls] == [200, 200, 403]
    assert Quota.objects.get(pk=pk).hard == -1
