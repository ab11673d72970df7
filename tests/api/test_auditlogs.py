"""Tag auditlog and a project's log (contract 6.9; golden: audit_log, project_logs)."""

from __future__ import annotations

import datetime
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from api import auditlogs
from projects.models import Project
from rbac.models import Member
from registry_core import audit, audit_months, configuration, refusals
from registry_core.models import AuditLog
from tests.api.conftest import Api, push_image
from tests.builders import Person, make_member, make_person, make_project, make_robot

pytestmark = pytest.mark.django_db
LOG = "/auditlog-exts"
As = Callable[[Person], Api]


@pytest.fixture(autouse=True)
def empty() -> Iterator[None]:
    """Nothing of an earlier test, nor of what made this one's cast."""
    refusals._kept.clear()
    configuration._kept = None
    yield
    refusals._kept.clear()
    configuration._kept = None


@pytest.fixture
def boss() -> Person:
    return make_person("boss", sysadmin=True)


def told(api: Api, q: str, path: str = LOG) -> list[tuple[str, str, str, str, bool]]:
    """(operation, resource type, resource, description, result), oldest first."""
    reply = api.get(f"{path}?page_size=100&sort=op_time&q={q}")
    assert reply.status == 200, reply.body
    assert reply.headers["X-Total-Count"] == str(len(reply.body))
    return [
        (
            row["operation"],
            row["resource_type"],
            row.get("resource", ""),
            row["operation_description"],
            row["operation_result"],
        )
        for row in reply.body
    ]


# -- what is recorded


def test_changes_of_people_in_harbors_words(boss: Person, admin: Api, as_: As) -> None:
    api = as_(boss)
    user = {"username": "tmp", "email": "tmp@example.org", "realname": "tmp", "password": "Passw0rd-1x"}
    number = api.post("/users", user).id
    api.put(f"/users/{number}", {"email": "tmp@example.org", "realname": "tmp2"})
    api.put(f"/users/{number}/sysadmin", {"sysadmin_flag": True})
    api.put(f"/users/{number}/password", {"new_password": "Secret-1234"})
    api.delete(f"/users/{number}")
    assert told(admin, "username=boss") == [
        ("create", "user", "tmp", "create user with name: tmp", True),
        ("update", "user", "tmp", "update user with name: tmp", True),
        (
            "update",
            "user",
            "tmp",
            "update user with name: tmp, add/remove user as system administrator",
            True,
        ),
        ("update", "user", "tmp", "update user with name: tmp, change user password", True),
        ("delete", "user", "tmp", "delete user with name: tmp", True),
    ]


def test_changes_of_a_project_in_harbors_words(boss: Person, admin: Api, as_: As) -> None:
    api, dev = as_(boss), make_person("dev")
    api.post("/projects", {"project_name": "p"})
    api.put("/projects/p", {"metadata": {"public": "true"}})
    member = api.post("/projects/p/members", {"role_id": 2, "member_user": {"username": dev.name}}).id
    api.put(f"/projects/p/members/{member}", {"role_id": 3})
    api.delete(f"/projects/p/members/{member}")
    access = [{"resource": "repository", "action": "pull"}]
    robot = api.post(
        "/robots",
        {
            "name": "bot",
            "level": "project",
            "duration": 1,
            "permissions": [{"kind": "project", "namespace": "p", "access": access}],
        },
    ).id
    api.delete(f"/robots/{robot}")
    expected = [
        ("create", "project", "p", "create project: p", True),
        ("update", "project", "p", "update project: p", True),
        ("create", "member", "dev", "create user member dev in project p", True),
        ("update", "member", "dev", "update user member dev in project p", True),
        ("delete", "member", "dev", "delete user member dev from project p", True),
        ("create", "robot", "robot$p+bot", "create robot: robot$p+bot", True),
        ("delete", "robot", "robot$p+bot", "delete robot: robot$p+bot", True),
    ]
    assert told(admin, "username=boss") == expected
    assert told(admin, "username=boss", "/projects/p/auditlog-exts") == expected
    assert api.delete("/projects/p").status == 200
    assert told(admin, "username=boss")[-1] == ("delete", "project", "p", "delete project: p", True)


def test_content_in_harbors_words(admin: Api) -> None:
    project = make_project("p")
    artifact = push_image(project, "app", "v1")
    named = f"p/app@{artifact.digest}"
    admin.post("/projects/p/repositories/app/artifacts/v1/tags", {"name": "v2"})
    admin.delete("/projects/p/repositories/app/artifacts/v1/tags/v2")
    admin.delete("/projects/p/repositories/app/artifacts/v1")
    push_image(project, "app", "v3")
    other = push_image(project, "app", "v4")
    admin.delete("/projects/p/repositories/app")
    found = told(admin, "resource=~p/app")
    assert found[:4] == [
        ("create", "artifact", "p/app:v1", f"push artifact: {named}", True),
        ("create", "tag", "p/app:v2", "create tag: p/app:v2", True),
        ("delete", "tag", "p/app:v2", "delete tag: p/app:v2", True),
        ("delete", "artifact", named, f"delete artifact: {named}", True),
    ]
    assert found[-1] == ("delete", "repository", "p/app", "delete repository: p/app", True)
    gone = [row[2] for row in found[6:-1]]
    assert len(gone) == 2
    assert f"p/app@{other.digest}" in gone


def test_labels_and_groups_are_recorded_too(boss: Person, admin: Api, as_: As) -> None:
    """Harbor leaves them out (docs/deviations.md)."""
    api = as_(boss)
    label = api.post("/labels", {"name": "l", "scope": "g"}).id
    artifact = push_image(make_project("p"), "app", "v1")
    api.put(f"/labels/{label}", {"name": "l2"})
    api.post("/projects/p/repositories/app/artifacts/v1/labels", {"id": label})
    api.delete(f"/projects/p/repositories/app/artifacts/v1/labels/{label}")
    api.delete(f"/labels/{label}")
    group = api.post("/usergroups", {"group_name": "g", "group_type": 3}).id
    api.put(f"/usergroups/{group}", {"group_name": "h"})
    api.delete(f"/usergroups/{group}")
    named = f"p/app@{artifact.digest}"
    assert told(admin, "username=boss") == [
        ("create", "label", "l", "create label: l", True),
        ("update", "label", "l", "update label: l", True),
        ("update", "artifact", named, f"add label l2 to artifact: {named}", True),
        ("update", "artifact", named, f"remove label l2 from artifact: {named}", True),
        ("delete", "label", "l2", "delete label: l2", True),
        ("create", "group", "g", "create user group: g", True),
        ("update", "group", "g", "rename user group g to h", True),
        ("delete", "group", "h", "delete user group: h", True),
    ]


# -- what failed


def test_failed_changes_of_people_and_members(boss: Person, admin: Api, as_: As, bob: Person) -> None:
    api = as_(boss)
    make_project("p")
    taken = {"username": "boss", "email": "boss@example.org", "realname": "x", "password": "Passw0rd-1x"}
    assert api.post("/users", taken).status == 409
    assert api.delete("/users/99999999").status == 404
    member = {"role_id": 9, "member_user": {"username": "bob"}}
    assert api.post("/projects/p/members", member).status == 400
    assert as_(bob).post("/users", taken | {"username": "no"}).status == 403
    assert as_(bob).put(f"/users/{boss.user.pk}/sysadmin", {"sysadmin_flag": False}).status == 403  # type: ignore[union-attr]
    assert told(admin, "username=boss") == [
        ("create", "user", "", "create user with name: ", False),
        ("delete", "user", "99999999", "delete user with name: 99999999", False),
        ("create", "member", "", "create member in project p", False),
    ]
    assert told(admin, "username=bob,op_result=false") == [
        ("create", "user", "", "create user with name: ", False),
        (
            "update",
            "user",
            "boss",
            "update user with name: boss, add/remove user as system administrator",
            False,
        ),
    ]
    (row,) = admin.get(f"{LOG}?q=username=boss,resource_type=member").body
    assert "resource" not in row
    assert told(admin, "resource_type=member,op_result=false", "/projects/p/auditlog-exts") == [
        ("create", "member", "", "create member in project p", False)
    ]


def test_failed_project_calls_and_anonymous_ones_are_not(boss: Person, admin: Api, anonymous: Api, as_: As) -> None:
    before = AuditLog.objects.count()
    assert as_(boss).delete("/projects/absent").status == 404
    assert as_(boss).post("/projects", {"project_name": "library"}).status == 409
    assert anonymous.post("/users", {"username": "x"}).status in (401, 403, 422)
    assert Api(Person("bob", "wrong").basic).delete("/users/3").status == 401
    refusals.write(everything=True)
    assert AuditLog.objects.count() == before


def test_refusals_are_one_row_a_minute(admin: Api, charlie: Person, as_: As) -> None:
    project = make_project("p")
    for _ in range(3):
        assert as_(charlie).delete("/projects/p").status == 403
    assert as_(charlie).get(f"/projects/{project.pk}/members").status == 403
    assert told(admin, "username=charlie") == []
    refusals.write(everything=True)
    found = told(admin, "username=charlie", "/projects/p/auditlog-exts")
    assert [row[:3] for row in found] == [
        ("delete", "project", "/api/v2.0/projects/p"),
        ("read", "member", f"/api/v2.0/projects/{project.pk}/members"),
    ]
    assert found[0][3] == "refused: project:delete in project p (3 times in a minute)"
    assert not any(row[4] for row in found)
    assert AuditLog.objects.filter(username="charlie", namespace_id=project.namespace_id).count() == 2


def test_a_refused_change_of_a_user_is_told_at_once_and_then_counted(
    admin: Api, charlie: Person, as_: As, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: 1_900_000_000.0)
    for _ in range(4):
        assert as_(charlie).delete("/users/1").status == 403
    assert [row[3] for row in told(admin, "username=charlie")] == ["delete user with name: admin"]
    refusals.write(everything=True)
    assert [row[3] for row in told(admin, "username=charlie")] == [
        "delete user with name: admin",
        "delete user with name: admin (3 more times in a minute)",
    ]


# -- reading


def record(project: Project, username: str, count: int, operation: str = "pull") -> None:
    now = datetime.datetime.now(datetime.UTC)
    audit.write(
        [
            audit.Line(
                username, operation, "artifact", f"p/a:v{i}", "d", succeeded=bool(i % 2),
                namespace_id=project.namespace_id, address=None,
                occurred_at=now - datetime.timedelta(minutes=count - i),
            )
            for i in range(count)
        ]
    )  # fmt: skip


def test_fields_of_a_row(admin: Api, library: Project) -> None:
    record(library, "zoe", 1)
    (row,) = admin.get(f"{LOG}?q=username=zoe").body
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", row.pop("op_time"))
    assert isinstance(row.pop("id"), int)
    assert row == {
        "username": "zoe",
        "operation": "pull",
        "operation_description": "d",
        "operation_result": False,
        "resource": "p/a:v0",
        "resource_type": "artifact",
    }


@pytest.mark.parametrize(
    ("q", "expected"),
    [
        ("username=zoe", 6),
        ("username=~ZO", 6),
        ("username=zo", 0),
        ("username=zoe,operation={create delete}", 0),
        ("username=zoe,operation={create pull}", 6),
        ("username=zoe,op_result=false", 3),
        ("username=zoe,IsSuccessful=true", 3),
        ("username=zoe,operation_result=false", 6),
        ("resource=p/a:v3", 1),
        ("resource=~a:v", 6),
        ("username=zoe,op_desc=d", 6),
        ("username=zoe,resource_type=label", 0),
        ("username=zoe,op_time=[2001-01-01T00:00:00~]", 6),
        ("username=zoe,op_time=[~2001-01-01T00:00:00]", 0),
        ("username=zoe,op_time=[2001-01-01 00:00:00~2101-01-01 00:00:00]", 6),
        ("username=zoe,op_time=2001-01-01T00:00:00", 0),
        ("username=zoe,colour=red", 6),
        ("username=zoe,project_id={id}", 6),
        ("username=zoe,project_id=999999", 0),
        ("username=%25", 0),
        ("username=~%25", 0),
    ],
)
def test_keys_of_q(admin: Api, library: Project, q: str, expected: int) -> None:
    record(library, "zoe", 6)
    q = q.replace("{id}", str(library.pk)).replace(" ", "%20").replace("{c", "%7Bc").replace("}", "%7D")
    reply = admin.get(f"{LOG}?q={q}")
    assert (reply.status, reply.headers["X-Total-Count"], len(reply.body)) == (200, str(expected), expected)


@pytest.mark.parametrize("path", [LOG, "/audit-logs", "/projects/library/auditlog-exts", "/projects/library/logs"])
def test_a_q_that_is_none(admin: Api, path: str) -> None:
    for q, message in (
        ("username", 'the query string must contain "=" and the key/value cannot be empty'),
        ("op_time=[2001]", "invalid query string value: [2001]"),
    ):
        reply = admin.get(f"{path}?q={q}")
        assert (reply.status, reply.code, reply.message) == (400, "BAD_REQUEST", message)
    assert admin.get(f"{path}?page_size=101").status == 422


def test_a_value_that_no_column_takes(admin: Api) -> None:
    assert admin.get(f"{LOG}?q=op_time=[1~2]").status == 400


def test_pages_and_links(admin: Api, library: Project) -> None:
    record(library, "zoe", 5)
    path = f"{LOG}?q=username=zoe&page_size=2"
    first, second, third = (admin.get(f"{path}&page={n}") for n in (1, 2, 3))
    assert [len(page.body) for page in (first, second, third)] == [2, 2, 1]
    assert first.headers["Link"] == '</api/v2.0/auditlog-exts?page=2&page_size=2&q=username=zoe>; rel="next"'
    assert 'rel="prev"' in second.headers["Link"]
    assert 'rel="next"' in second.headers["Link"]
    assert 'rel="next"' not in third.headers["Link"]
    times = [row["op_time"] for page in (first, second, third) for row in page.body]
    assert times == sorted(times, reverse=True)


@pytest.mark.parametrize("sort", ["", "op_time", "-op_time", "OpTime", "username,-id", "colour", "-resource"])
def test_orders(admin: Api, library: Project, sort: str) -> None:
    record(library, "zoe", 5)
    found = [row["resource"] for row in admin.get(f"{LOG}?page_size=5&q=username=zoe&sort={sort}").body]
    ascending = [f"p/a:v{i}" for i in range(5)]
    assert found == (ascending if sort.lower() in ("op_time", "optime") else ascending[::-1])


@pytest.mark.parametrize("sort", ["op_time", "-op_time", ""])
def test_the_whole_log_by_time_in_pages(admin: Api, library: Project, sort: str) -> None:
    AuditLog.objects.all().delete()
    record(library, "zoe", 130)
    audit_months.count_finished(datetime.datetime.now(datetime.UTC))
    found: list[str] = []
    for page in range(1, 15):
        reply = admin.get(f"{LOG}?page_size=10&page={page}&sort={sort}")
        assert reply.headers["X-Total-Count"] == "130"
        assert ('rel="next"' in reply.headers.get("Link", "")) == (page < 13)
        found += [row["resource"] for row in reply.body]
    ascending = [f"p/a:v{i}" for i in range(130)]
    assert found == (ascending if sort == "op_time" else ascending[::-1])


def test_a_page_that_lies_deep_is_its_part_of_the_whole(
    admin: Api, library: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(library, "zoe", 25)
    path = f"{LOG}?q=username=zoe&page_size=10&page="
    whole = [admin.get(f"{path}{page}").body for page in (1, 2, 3, 4)]
    assert [len(part) for part in whole] == [10, 10, 5, 0]
    monkeypatch.setattr(auditlogs, "DEEP", 0)
    assert [admin.get(f"{path}{page}").body for page in (1, 2, 3, 4)] == whole


def test_a_large_result_has_an_estimated_total_and_a_next_page(
    admin: Api, library: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(library, "zoe", 30)
    monkeypatch.setattr(auditlogs, "MAX_COUNTED", 10)
    reply = admin.get(f"{LOG}?q=username=zoe&page_size=10&page=2")
    assert int(reply.headers["X-Total-Count"]) >= 21
    assert 'rel="next"' in reply.headers["Link"]
    assert len(reply.body) == 10


def test_a_search_that_takes_too_long_is_given_up(
    admin: Api, library: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(library, "zoe", 1)
    monkeypatch.setattr(auditlogs, "_PATIENCE", "1ms")
    monkeypatch.setattr(AuditLog.objects, "filter", lambda _: _Slow())
    reply = admin.get(f"{LOG}?q=resource=~x")
    assert (reply.status, reply.code) == (400, "BAD_REQUEST")
    assert "narrow it" in reply.message


class _Slow:
    """Rows that PostgreSQL takes its time for."""

    def order_by(self, *_: Any) -> Any:
        return AuditLog.objects.extra(where=["pg_sleep(1) IS NOT NULL"])


# -- who sees what


def test_an_administrator_of_projects_sees_these_only(
    admin: Api, alice: Person, bob: Person, charlie: Person, library: Project, as_: As
) -> None:
    other = make_project("other")
    record(library, "zoe", 3)
    record(other, "zoe", 4)
    assert len(admin.get(f"{LOG}?q=username=zoe").body) == 7
    assert {row["username"] for row in as_(alice).get(f"{LOG}?q=username=zoe").body} == {"zoe"}
    assert len(as_(alice).get(f"{LOG}?q=username=zoe").body) == 3
    everything = as_(alice).get(f"{LOG}?page_size=100")
    ours = AuditLog.objects.filter(namespace_id=library.namespace_id).count()
    assert (len(everything.body), everything.headers["X-Total-Count"]) == (ours, str(ours))
    for person in (bob, charlie):
        reply = as_(person).get(LOG)
        assert (reply.status, reply.body, reply.headers["X-Total-Count"]) == (200, [], "0")
    make_member(other, alice, Member.Role.PROJECT_ADMIN)
    assert len(as_(alice).get(f"{LOG}?q=username=zoe").body) == 7


def test_robots(admin: Api, library: Project, as_: As) -> None:
    record(library, "zoe", 3)
    record(make_project("other"), "zoe", 4)
    seen = {
        name: len(as_(make_robot(grant, level="system")).get(f"{LOG}?q=username=zoe").body)
        for name, grant in {
            "system": ("/", ["audit-log:list"]),
            "project": ("library", ["log:list"]),
            "everywhere": ("*", ["log:list"]),
            "other right": ("library", ["repository:pull"]),
        }.items()
    }
    assert seen == {"system": 7, "project": 3, "everywhere": 7, "other right": 0}


@pytest.mark.parametrize("path", [LOG, "/audit-logs", f"{LOG}/events"])
def test_anonymous_callers(anonymous: Api, path: str) -> None:
    reply = anonymous.get(path)
    assert (reply.status, reply.code) == (401, "UNAUTHORIZED")


@pytest.mark.parametrize("path", ["auditlog-exts", "logs"])
def test_a_projects_log(
    admin: Api, alice: Person, bob: Person, charlie: Person, anonymous: Api, library: Project, as_: As, path: str
) -> None:
    for api, status in ((admin, 200), (as_(alice), 200), (as_(charlie), 403), (anonymous, 401)):
        assert api.get(f"/projects/library/{path}").status == status
        assert api.get(f"/projects/absent/{path}").status == {200: 404 if api is admin else 403}.get(status, status)
    assert admin.get(f"/projects/{library.pk}/{path}").status == 404  # a name here, never an id


def test_the_old_log_is_empty(admin: Api, library: Project) -> None:
    record(library, "zoe", 3)
    for path in ("/audit-logs", "/projects/library/logs"):
        reply = admin.get(f"{path}?q=username=zoe&sort=-op_time")
        assert (reply.status, reply.body, reply.headers["X-Total-Count"]) == (200, [], "0")


def test_names_of_events(admin: Api, alice: Person, as_: As) -> None:
    reply = admin.get(f"{LOG}/events?page_size=1")
    assert [row["event_type"] for row in reply.body] == [
        "create_artifact", "delete_artifact", "pull_artifact", "create_project", "delete_project", "delete_repository",
        "login_user", "logout_user", "create_user", "delete_user", "update_user", "create_robot", "delete_robot",
        "update_configuration", "create_member", "delete_member", "update_member", "update_project",
    ]  # fmt: skip
    refused = as_(alice).get(f"{LOG}/events")
    assert (refused.status, refused.code, refused.message) == (403, "FORBIDDEN", "alice")


@pytest.mark.parametrize(
    "path", [LOG, f"{LOG}?sort=op_time", f"{LOG}?q=operation=pull", "/projects/library/auditlog-exts"]
)
def test_as_many_questions_for_a_hundred_rows_as_for_one(admin: Api, library: Project, path: str) -> None:
    path += ("&" if "?" in path else "?") + "page_size=100&page="

    def count(page: int) -> int:
        with CaptureQueriesContext(connection) as queries:
            assert admin.get(f"{path}{page}").status == 200
        return len(queries)

    record(library, "zoe", 1)
    count(1)
    few = count(1)
    record(library, "zoe", 1000)
    audit_months.count_finished(datetime.datetime.now(datetime.UTC))
    assert {count(page) for page in (1, 5, 10)} <= {few, few + 1}  # once more for what is counted already
    assert few <= 9
