"""Tag project (contract 7).

Golden: project_life, project_addressing, project_create_rules, project_listing, project_update, project_delete."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from projects import actions as project_actions
from projects.models import Project
from rbac.models import Member
from registry_core import configuration
from registry_core.models import AuditLog
from tests.api.conftest import Api, push_image
from tests.builders import ADMIN, Person, make_member, make_person, make_project, make_robot

pytestmark = pytest.mark.django_db

As = Callable[[Person], Api]
ZERO = "0001-01-01T00:00:00.000Z"


# -- create


def test_create_and_read_back(charlie: Person, as_: As) -> None:
    reply = as_(charlie).post("/projects", {"project_name": "team", "metadata": {"public": "true"}})
    assert (reply.status, reply.content) == (201, b"")
    assert reply.headers["Location"] == f"/api/v2.0/projects/{reply.id}"
    shown = as_(charlie).get("/projects/team").body
    for key in ("creation_time", "update_time"):
        assert shown.pop(key) > "2020"
    assert charlie.user is not None
    assert shown == {
        "project_id": reply.id,
        "name": "team",
        "owner_id": charlie.user.pk,
        "owner_name": "charlie",
        "repo_count": 0,
        "metadata": {"public": "true"},
        "current_user_role_id": 1,
        "current_user_role_ids": [1],
        "cve_allowlist": {
            "id": reply.id,
            "project_id": reply.id,
            "items": [],
            "creation_time": ZERO,
            "update_time": ZERO,
        },
    }
    assert AuditLog.objects.filter(
        username="charlie", operation="create", resource_type="project", resource="team"
    ).exists()


def test_create_needs_somebody(anonymous: Api) -> None:
    assert anonymous.post("/projects", {"project_name": "team"}).status == 401


@pytest.mark.parametrize(("wanted", "by_name"), [("true", True), ("1", True), ("maybe", False), ("", False)])
def test_the_location_may_end_in_the_name(admin: Api, wanted: str, by_name: bool) -> None:
    reply = admin.post("/projects", {"project_name": "team"}, headers={"X-Resource-Name-In-Location": wanted})
    assert reply.headers["Location"].endswith("/team") is by_name


@pytest.mark.parametrize(
    "name",
    ["a/b", "a b", "a..b", "a__b", "a--b", "a-", "-a", ".a", "ä", "a+b", "   ", " a ", "Team"],
)
def test_names_that_are_none(admin: Api, name: str) -> None:
    reply = admin.post("/projects", {"project_name": name})
    assert (reply.status, reply.code) == (400, "BAD_REQUEST")
    assert reply.message == "project name is not in lower case or contains illegal characters"


@pytest.mark.parametrize("body", [{}, {"project_name": ""}, {"project_name": None}])
def test_a_project_needs_a_name(admin: Api, body: dict[str, Any]) -> None:
    reply = admin.post("/projects", body)
    assert (reply.status, reply.message) == (
        400,
        "Project name  is illegal in length. (greater than 255 or less than 1)",
    )


def test_names_at_their_limit(admin: Api) -> None:
    assert admin.post("/projects", {"project_name": "x" * 255}).status == 201
    assert admin.post("/projects", {"project_name": "x" * 256}).status == 422
    assert admin.post("/projects", {"project_name": "a.b"}).status == 201


def test_a_name_is_taken_once(admin: Api) -> None:
    reply = admin.post("/projects", {"project_name": "library"})
    assert (reply.status, reply.code, reply.message) == (
        409,
        "CONFLICT",
        "The project named library already exists",
    )


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ({}, {"public": "false"}),
        ({"metadata": None}, {"public": "false"}),
        ({"public": True}, {"public": "true"}),
        ({"metadata": {"colour": "red"}}, {"public": "false"}),
        ({"metadata": {"retention_id": ""}}, {"public": "false"}),
        (
            {"metadata": {"auto_scan": "yes", "severity": "Dreadful", "prevent_vul": "1"}},
            {"public": "false", "auto_scan": "yes", "severity": "unknown", "prevent_vul": "1"},
        ),
        (
            {
                "metadata": {
                    "proxy_speed_kb": "100",
                    "max_upstream_conn": "5",
                    "proxy_referrer_api": "true",
                    "proxy_cache_local_on_not_found": "true",
                }
            },
            {"public": "false", "proxy_referrer_api": "true", "proxy_cache_local_on_not_found": "true"},
        ),
        (
            {
                "metadata": {
                    "public": "true",
                    "enable_content_trust": "true",
                    "severity": "HIGH",
                    "reuse_sys_cve_allowlist": "false",
                }
            },
            {
                "public": "true",
                "enable_content_trust": "true",
                "severity": "high",
                "reuse_sys_cve_allowlist": "false",
            },
        ),
    ],
)
def test_metadata_of_a_new_project(admin: Api, sent: dict[str, Any], kept: dict[str, str]) -> None:
    assert admin.post("/projects", {"project_name": "team"} | sent).status == 201
    assert admin.get("/projects/team").body["metadata"] == kept


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        ({"metadata": {"public": "yes"}}, "metadata.public should only be 'true' or 'false', but got: 'yes'"),
        ({"metadata": {"public": "True"}}, "metadata.public should only be 'true' or 'false', but got: 'True'"),
        ({"registry_id": 0}, "bad request: 0 is invalid value of registry_id, it should be geater than 0"),
        ({"storage_limit": -2}, "invalid non-positive value for quota limit, value=-2"),
        ({"storage_limit": 2**50 + 1},
         "exceeded 1024TB, which is 1125899906842624 Bytes, value=1125899906842625"),
    ],
)  # fmt: skip
def test_create_refuses(admin: Api, sent: dict[str, Any], message: str) -> None:
    reply = admin.post("/projects", {"project_name": "team"} | sent)
    assert (reply.status, reply.code, reply.message) == (400, "BAD_REQUEST", message)
    assert not Project.objects.named("team").exists()


def test_create_refuses_a_retention_policy(admin: Api) -> None:
    reply = admin.post("/projects", {"project_name": "team", "metadata": {"retention_id": "1"}})
    assert reply.status == 400
    assert reply.message.startswith(
        "bad request: the retention_id in the request's payload when creating a project"
    )


def test_only_system_administrators_choose_a_limit(admin: Api, charlie: Person, as_: As) -> None:
    admin.post("/projects", {"project_name": "small", "storage_limit": 1048576})
    as_(charlie).post("/projects", {"project_name": "own", "storage_limit": 1048576})
    hard = {name: admin.get(f"/projects/{name}/summary").body["quota"]["hard"] for name in ("small", "own")}
    assert hard == {"small": {"storage": 1048576}, "own": {"storage": -1}}


def test_proxies_are_for_system_administrators(admin: Api, charlie: Person, as_: As) -> None:
    reply = as_(charlie).post("/projects", {"project_name": "team", "registry_id": 1})
    assert (reply.status, reply.message) == (403, "Only system admin can create proxy cache project")
    assert (
        admin.post("/projects", {"project_name": "team", "registry_id": 99999999}).status == 404
    )  # Harbor: 500


def test_creating_projects_may_be_restricted(admin: Api, charlie: Person, as_: As) -> None:
    configuration.set_values({"project_creation_restriction": "adminonly"})
    reply = as_(charlie).post("/projects", {"project_name": "team"})
    assert (reply.status, reply.message) == (403, "Only system admin can create project")
    assert admin.post("/projects", {"project_name": "team"}).status == 201


def test_robots_create_projects_for_the_first_administrator(admin: Api, library: Project) -> None:
    in_project = make_robot(("library", ["repository:pull"]))
    reply = Api(in_project.basic).post("/projects", {"project_name": "team"})
    assert (reply.status, reply.message) == (403, "Only system level robot can create project")
    of_system = make_robot(("/", ["project:create"]), level="system")
    assert Api(of_system.basic).post("/projects", {"project_name": "team"}).status == 201
    assert admin.get("/projects/team").body["owner_name"] == "admin"


# -- address


def test_by_name_and_by_id(admin: Api, library: Project) -> None:
    digits = make_project("78781280")
    names = {
        f"/projects/{library.pk}": "library",
        "/projects/library": "library",
        f"/projects/0{library.pk}": "library",
        "/projects/library/": "library",
        "/projects//library": "library",
        "/projects/libr%61ry": "library",
    }
    assert {path: admin.get(path).body["name"] for path in names} == names
    assert admin.get("/projects/78781280").status == 404
    by_name = {"X-Is-Resource-Name": "true"}
    assert admin.get("/projects/78781280", by_name).body["project_id"] == digits.pk
    assert admin.get(f"/projects/{library.pk}", by_name).status == 404
    assert admin.get("/projects/library", {"X-Is-Resource-Name": "garbage"}).status == 200


@pytest.mark.parametrize(
    "text",
    ["0", "-1", "99999999999", "99999999999999999999", "LIBRARY", "library%252D", "library%2Fx", "absent"],
)
def test_what_is_absent(admin: Api, anonymous: Api, charlie: Person, as_: As, text: str) -> None:
    """Only who sees every project learns that there is none; Harbor breaks with 500 beyond 32 bits."""
    assert (admin.get(f"/projects/{text}").status, admin.get(f"/projects/{text}").code) == (404, "NOT_FOUND")
    refused = as_(charlie).get(f"/projects/{text}")
    assert (refused.status, refused.code, refused.message) == (403, "FORBIDDEN", "forbidden")
    assert anonymous.get(f"/projects/{text}").status == 401


def test_hidden_and_absent_projects_give_the_same_answer(anonymous: Api, charlie: Person, as_: As) -> None:
    make_project("hidden")
    for caller in (anonymous, as_(charlie)):
        hidden, absent = caller.get("/projects/hidden"), caller.get("/projects/absent")
        assert hidden.status == absent.status
        assert hidden.content.replace(b"hidden", b"absent") == absent.content


def test_head(admin: Api, anonymous: Api, charlie: Person, as_: As) -> None:
    make_project("hidden")
    me = as_(charlie)
    assert [me.head(f"/projects?project_name={name}").status for name in ("hidden", "absent")] == [200, 404]
    assert anonymous.head("/projects?project_name=library").status == 401
    assert [admin.head(path).status for path in ("/projects", "/projects?project_name=")] == [422, 422]
    assert me.head("/projects?project_name=absent").content == b""


# -- list


@pytest.fixture
def projects(charlie: Person) -> None:
    """a1, b1, c1 are public, a2, b2, c2 private; dora owns the c's, eve is a guest in a2 and develops in c2."""
    dora, eve = make_person("dora"), make_person("eve")
    for name in ("a1", "a2", "b1", "b2"):
        make_project(f"list-{name}", public=name.endswith("1"))
    for name in ("c1", "c2"):
        make_project(f"list-{name}", public=name.endswith("1"), by=dora.identity)
    make_member(Project.objects.get(namespace__name="list-a2"), eve, Member.Role.GUEST)
    make_member(Project.objects.get(namespace__name="list-c2"), eve, Member.Role.DEVELOPER)


@pytest.mark.parametrize(
    ("who", "query", "names"),
    [
        ("admin", "", "a1 a2 b1 b2 c1 c2"),
        ("dora", "", "a1 b1 c1 c2"),
        ("dora", "&public=true", "a1 b1 c1"),
        ("dora", "&public=false", "c2"),
        ("eve", "", "a1 a2 b1 c1 c2"),
        ("eve", "&public=false", "a2 c2"),
        ("eve", "&owner=dora", "c1 c2"),
        ("charlie", "", "a1 b1 c1"),
        ("charlie", "&public=false", ""),
        ("anonymous", "", "a1 b1 c1"),
        ("admin", "&owner=dora", "c1 c2"),
        ("admin", "&owner=nobody", ""),
        ("admin", "&q=owner=dora", "c1 c2"),
        ("admin", "&public=garbage", "a2 b2 c2"),
        ("admin", "&q=public=true", "a1 b1 c1"),
        ("admin", "&q=public=maybe", "a2 b2 c2"),
        ("admin", "&sort=-name", "c2 c1 b2 b1 a2 a1"),
        ("admin", "&sort=owner_id,-name", "b2 b1 a2 a1 c2 c1"),
        ("admin", "&sort=-creation_time", "c2 c1 b2 b1 a2 a1"),
        ("admin", "&sort=colour", "a1 a2 b1 b2 c1 c2"),
    ],
)
def test_list(projects: None, admin: Api, who: str, query: str, names: str) -> None:
    callers = {"admin": admin, "anonymous": Api()}
    caller = callers.get(who) or Api(Person(who, "Passw0rd-1x").basic)
    reply = caller.get(f"/projects?name=list-{query}")
    assert " ".join(project["name"].removeprefix("list-") for project in reply.body) == names
    assert reply.headers["X-Total-Count"] == str(len(names.split()))


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("name=ist-a", "a1 a2"),
        ("name=LIST-A1", "a1"),
        ("name=list-%251", ""),
        ("name=list-a_", ""),
        ("q=name=list-a1", "a1"),
        ("q=name={list-a1%20list-b1}", "a1 b1"),
        ("q=name=list-a1&name=list-b", "b1 b2"),
        ("q=name=~list-a,public=true", "a1"),
    ],
)
def test_find_by_name(projects: None, admin: Api, query: str, names: str) -> None:
    shown = admin.get(f"/projects?{query}").body
    assert " ".join(project["name"].removeprefix("list-") for project in shown) == names


def test_roles_in_a_list(projects: None) -> None:
    shown = Api(Person("eve", "Passw0rd-1x").basic).get("/projects?name=list-").body
    assert {p["name"][5:]: (p.get("current_user_role_id"), p["current_user_role_ids"]) for p in shown} == {
        "a1": (None, None), "a2": (3, [3]), "b1": (None, None), "c1": (None, None), "c2": (2, [2]),
    }  # fmt: skip


@pytest.mark.parametrize(("value", "shown"), [("true", True), ("false", False), ("garbage", False)])
def test_lists_with_and_without_detail(admin: Api, value: str, shown: bool) -> None:
    (project,) = admin.get(f"/projects?with_detail={value}").body
    assert ("metadata" in project) is shown
    assert project["cve_allowlist"]["items"] == ([] if shown else None)


def test_robots_see_their_projects_and_the_public_ones(projects: None) -> None:
    def seen(robot: Person) -> str:
        shown = Api(robot.basic).get("/projects?name=list-").body
        return " ".join(project["name"].removeprefix("list-") for project in shown)

    assert seen(make_robot(("list-a2", ["repository:pull"]))) == "a1 a2 b1 c1"
    assert seen(make_robot(("*", ["repository:pull"]), level="system")) == "a1 a2 b1 b2 c1 c2"
    assert seen(make_robot(("/", ["project:list"]), level="system")) == "a1 b1 c1"


def test_a_project_of_other_networks_is_hidden(charlie: Person, admin: Api, as_: As) -> None:
    project = make_project("near", public=True)
    Project.objects.filter(pk=project.pk).update(networks=["192.0.2.0/24"])
    assert [p["name"] for p in as_(charlie).get("/projects").body] == ["library"]
    assert as_(charlie).get("/projects/near").status == 403
    assert admin.get("/projects/near").status == 200  # who can mend it


# -- update


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ({"metadata": {"auto_scan": "true"}}, {"public": "false", "auto_scan": "true"}),
        ({"metadata": {"severity": "dreadful"}}, {"public": "false", "severity": "unknown"}),
        ({"metadata": {"public": "maybe"}}, {"public": "maybe"}),
        ({"metadata": {"public": ""}}, {"public": "false"}),
        ({"metadata": {"auto_scan": "TRUE"}}, {"public": "false", "auto_scan": "TRUE"}),
        ({"metadata": {"colour": "red"}}, {"public": "false"}),
        ({}, {"public": "false"}),
        ({"public": True}, {"public": "false"}),
        ({"project_name": "other", "storage_limit": 5}, {"public": "false"}),
        ({"cve_allowlist": {"items": []}}, {"public": "false"}),
        ({"cve_allowlist": {"items": None}}, {"public": "false"}),
    ],
)
def test_update(admin: Api, sent: dict[str, Any], kept: dict[str, str]) -> None:
    make_project("team")
    assert admin.put("/projects/team", sent).status == 200
    assert admin.get("/projects/team").body["metadata"] == kept


def test_update_keeps_what_was_not_sent(admin: Api) -> None:
    make_project("team")
    admin.put("/projects/team", {"metadata": {"auto_scan": "true"}})
    admin.put("/projects/team", {"metadata": {"prevent_vul": "true"}})
    assert admin.get("/projects/team").body["metadata"] == {
        "public": "false",
        "auto_scan": "true",
        "prevent_vul": "true",
    }


def test_public_text_that_is_no_boolean_makes_nothing_public(admin: Api, anonymous: Api) -> None:
    make_project("team", public=True)
    assert anonymous.get("/projects/team").status == 200
    admin.put("/projects/team", {"metadata": {"public": "maybe"}})
    assert anonymous.get("/projects/team").status == 401


def test_update_refuses(admin: Api, library: Project) -> None:
    reply = admin.put("/projects/library", {"cve_allowlist": {"project_id": library.pk + 1000, "items": []}})
    expected = f"project_id in cve_allowlist must be {library.pk} but it's {library.pk + 1000}"
    assert (reply.status, reply.message) == (400, expected)
    twice = {"cve_allowlist": {"items": [{"cve_id": "CVE-1"}, {"cve_id": "CVE-1"}]}}
    assert admin.put("/projects/library", twice).status == 400  # Harbor: 500
    assert admin.put("/projects/library", {"metadata": {"retention_id": "4711"}}).status == 400


def test_update_is_for_project_administrators(
    alice: Person, bob: Person, charlie: Person, anonymous: Api, as_: As
) -> None:
    sent = {"metadata": {"auto_scan": "true"}}
    assert as_(alice).put("/projects/library", sent).status == 200
    assert [as_(who).put("/projects/library", sent).status for who in (bob, charlie)] == [403, 403]
    assert anonymous.put("/projects/library", sent).status == 401


# -- summary, deletable, delete


def test_summary_shows_what_the_caller_may_see(
    alice: Person, bob: Person, charlie: Person, as_: As, library: Project
) -> None:
    artifact = push_image(library, "app", "v1", seed="summary")
    used = artifact.size
    limited = make_person("dora")
    make_member(library, limited, Member.Role.LIMITED_GUEST)
    quota = {"hard": {"storage": -1}, "used": {"storage": used}}
    assert as_(bob).get("/projects/library/summary").body == {
        "repo_count": 1, "project_admin_count": 2, "developer_count": 1, "limited_guest_count": 1, "quota": quota,
    }  # fmt: skip
    assert as_(limited).get("/projects/library/summary").body == {"repo_count": 1, "quota": quota}
    assert as_(charlie).get("/projects/library/summary").body == {"repo_count": 1}


def test_bytes_that_are_shared_count_once(admin: Api, library: Project) -> None:
    one = push_image(library, "app", "v1", seed="same")
    push_image(library, "other", "v1", seed="same")
    assert admin.get("/projects/library/summary").body["quota"]["used"] == {"storage": one.size}


def test_a_project_with_content_stays(alice: Person, admin: Api, as_: As, library: Project) -> None:
    assert as_(alice).get("/projects/library/_deletable").body == {"deletable": True}
    push_image(library, "app", "v1")
    text = "the project contains repositories, can not be deleted"
    assert as_(alice).get("/projects/library/_deletable").body == {"message": text}
    reply = as_(alice).delete("/projects/library")
    assert (reply.status, reply.code, reply.message) == (412, "PRECONDITION", f"precondition failed: {text}")


def test_delete(alice: Person, bob: Person, charlie: Person, admin: Api, anonymous: Api, as_: As) -> None:
    for who in (bob, charlie):
        assert as_(who).delete("/projects/library").status == 403
        assert as_(who).get("/projects/library/_deletable").status == 403
    assert anonymous.delete("/projects/library").status == 401
    assert as_(alice).delete("/projects/library").status == 200
    assert admin.get("/projects/library").status == 404
    assert as_(bob).get("/projects/library").status == 403
    assert admin.post("/projects", {"project_name": "library"}).status == 201
    assert (
        as_(bob).get("/projects/library").status == 403
    )  # members of the old one are not those of the new one


def test_a_name_that_goes_to_another_project_takes_no_rights_with_it(
    bob: Person, library: Project, as_: As
) -> None:
    project_actions.delete(library, by=ADMIN.principal.name)
    make_project("library")
    assert as_(bob).get("/projects/library").status == 403
