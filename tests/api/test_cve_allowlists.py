"""Tag SystemCVEAllowlist, and the lists of projects (contract 7). Golden: system_cve_allowlist, allowlists."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from projects.models import Project
from rbac.models import Member
from registry_core.models import AuditLog
from scanning.models import CveAllowlist
from tests.api.conftest import Api
from tests.builders import Person, make_member, make_person, make_project

pytestmark = pytest.mark.django_db

As = Callable[[Person], Api]
PATH = "/system/CVEAllowlist"


def items(*ids: str) -> list[dict[str, str]]:
    return [{"cve_id": one} for one in ids]


# -- of the system


def test_one_that_was_never_set_is_empty(admin: Api) -> None:
    assert admin.get(PATH).body == {
        "id": 1, "items": [],
        "creation_time": "0001-01-01T00:00:00.000Z", "update_time": "0001-01-01T00:00:00.000Z",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ({"items": items("CVE-2024-0001", "CVE-2024-0002"), "expires_at": 4102444800},
         {"items": items("CVE-2024-0001", "CVE-2024-0002"), "expires_at": 4102444800}),
        ({"items": items("GHSA-1234"), "expires_at": 1}, {"items": items("GHSA-1234"), "expires_at": 1}),
        ({"items": items("anything"), "expires_at": 0}, {"items": items("anything"), "expires_at": 0}),
        ({"id": 7, "project_id": 9, "items": items("cve-2024-1")}, {"items": items("cve-2024-1")}),
        ({"items": None}, {"items": []}),
        ({}, {"items": []}),
    ],
)  # fmt: skip
def test_put_replaces(admin: Api, sent: dict[str, Any], shown: dict[str, Any]) -> None:
    admin.put(PATH, {"items": items("CVE-1"), "expires_at": 5})
    reply = admin.put(PATH, sent)
    assert (reply.status, reply.content) == (200, b"")
    body = admin.get(PATH).body
    assert body["creation_time"] == body["update_time"] > "2020"
    assert {key: body[key] for key in body if key in ("items", "expires_at", "project_id")} == shown
    assert CveAllowlist.objects.count() == 1
    assert AuditLog.objects.filter(resource_type="cve_allowlist", username="admin").count() == 2


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ({"items": items("CVE-1", "CVE-1")}, 400),  # Harbor: 500
        ({"items": items("")}, 400),  # Harbor: 500
        ({"items": [None]}, 400),
        ({"items": items("x" * 256)}, 400),
        ({"items": items(*(f"CVE-{n}" for n in range(10_001)))}, 400),
        ({"items": "x"}, 422),
        ({"items": ["CVE-1"]}, 422),
        ({"items": [], "expires_at": "never"}, 422),
        (None, 400),  # Harbor: 500
    ],
)
def test_put_refuses(admin: Api, sent: Any, status: int) -> None:
    admin.put(PATH, {"items": items("CVE-1")})
    assert admin.put(PATH, sent).status == status
    assert admin.get(PATH).body["items"] == items("CVE-1")


def test_null_empties_it(admin: Api) -> None:
    admin.put(PATH, {"items": items("CVE-1")})
    assert admin.request("PUT", PATH, raw=b"null").status == 200
    assert admin.get(PATH).body["items"] == []


def test_who_may(admin: Api, anonymous: Api, alice: Person, as_: As) -> None:
    assert [api.get(PATH).status for api in (anonymous, as_(alice))] == [401, 200]
    refused = as_(alice).put(PATH, {"items": items("CVE-1")})
    assert (refused.status, refused.message) == (403, "alice")
    assert anonymous.put(PATH, {"items": []}).status == 401
    assert not CveAllowlist.objects.exists()


# -- of a project


def put(caller: Api, waived: Any, **more: Any) -> int:
    return caller.put("/projects/library", {"cve_allowlist": waived} | more).status


def test_a_project_has_a_list_from_its_beginning(admin: Api, library: Project) -> None:
    zero = "0001-01-01T00:00:00.000Z"
    empty = {"id": library.pk, "project_id": library.pk, "items": [], "creation_time": zero, "update_time": zero}
    assert admin.get("/projects/library").body["cve_allowlist"] == empty
    assert put(admin, {"items": items("CVE-2000-0001"), "expires_at": 4102444800}) == 200
    full = empty | {"items": items("CVE-2000-0001"), "expires_at": 4102444800}
    assert admin.get("/projects/library").body["cve_allowlist"] == full
    assert admin.get("/projects").body[0]["cve_allowlist"] == full
    assert put(admin, None, metadata={"auto_scan": "true"}) == 200
    assert admin.get("/projects/library").body["cve_allowlist"] == full
    assert put(admin, {"items": items("A"), "project_id": library.pk}) == 200
    assert admin.get("/projects/library").body["cve_allowlist"] == empty | {"items": items("A")}
    assert admin.get(PATH).body["items"] == []


def test_what_a_project_refuses_changes_nothing(admin: Api, library: Project) -> None:
    other = make_project("other")
    reply = admin.put(
        "/projects/library",
        {"cve_allowlist": {"items": items("A"), "project_id": other.pk}, "metadata": {"auto_scan": "true"}},
    )
    assert (reply.status, reply.message) == (
        400,
        f"project_id in cve_allowlist must be {library.pk} but it's {other.pk}",
    )
    assert put(admin, {"items": items("A", "A")}, metadata={"auto_scan": "true"}) == 400
    assert "auto_scan" not in admin.get("/projects/library").body["metadata"]
    assert not AuditLog.objects.filter(resource_type="project", operation="update").exists()


def test_create_takes_no_list(admin: Api) -> None:
    body = {"project_name": "team", "cve_allowlist": {"items": items("CVE-2000-0001"), "expires_at": 4102444800}}
    assert admin.post("/projects", body).status == 201
    assert admin.get("/projects/team").body["cve_allowlist"]["items"] == []


def test_the_list_goes_with_its_project(admin: Api) -> None:
    make_project("team")
    admin.put("/projects/team", {"cve_allowlist": {"items": items("A")}})
    assert admin.delete("/projects/team").status == 200
    assert not CveAllowlist.objects.exists()


def test_who_changes_a_projects_list(alice: Person, bob: Person, library: Project, as_: As) -> None:
    maintainer = make_person("maintainer")
    make_member(library, maintainer, Member.Role.MAINTAINER)
    for person, status in ((alice, 200), (maintainer, 403), (bob, 403)):
        assert put(as_(person), {"items": items(person.name)}) == status
    assert as_(bob).get("/projects/library").body["cve_allowlist"]["items"] == items("alice")
