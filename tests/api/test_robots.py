"""Tag robot (contract 4.5).

Golden: robot_system, robot_validation, robot_update, robot_secret, robot_project_roles, robot_at_work."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from projects.models import Project
from rbac.models import Member, Robot
from tests.api.conftest import Api, push_image
from tests.builders import Person, make_member, make_person, make_project, make_robot

pytestmark = pytest.mark.django_db

As = Callable[[Person], Api]
PULL = [{"resource": "repository", "action": "pull"}]
RULE = (
    "the secret must be 8-128, inclusively, characters long with at least 1 uppercase letter, 1 lowercase letter "
    "and 1 number"
)


def of_project(name: str = "ci", project: str = "library", **changes: Any) -> dict[str, Any]:
    entry = {"kind": "project", "namespace": project, "access": PULL}
    return {"name": name, "level": "project", "duration": 1, "permissions": [entry]} | changes


def of_system(name: str = "ci", *entries: dict[str, Any], **changes: Any) -> dict[str, Any]:
    system = {"kind": "system", "namespace": "/", "access": [{"resource": "project", "action": "create"}]}
    permissions = list(entries) or [system, {"kind": "project", "namespace": "*", "access": PULL}]
    return {"name": name, "level": "system", "duration": 30, "permissions": permissions} | changes


# -- create


def test_create_and_read_back(admin: Api) -> None:
    reply = admin.post("/robots", of_system(description="text", disable=True, secret="Chosen-Secret-1"))
    assert reply.status == 201
    assert reply.headers["Location"] == f"/api/v2.0/robots/{reply.id}"
    made = reply.body
    assert set(made) == {"id", "name", "secret", "creation_time", "expires_at"}
    assert made["name"] == "robot$ci"
    assert (len(made["secret"]), made["secret"] != "Chosen-Secret-1") == (32, True)
    assert abs(made["expires_at"] - time.time() - 30 * 86400) < 60
    shown = admin.get(f"/robots/{reply.id}").body
    assert {key: shown[key] for key in shown if not key.endswith("_time")} == {
        "id": reply.id, "name": "robot$ci", "description": "text", "level": "system", "duration": 30, "editable": True,
        "disable": False, "expires_at": made["expires_at"], "creator_type": "local", "creator_ref": 1,
        "permissions": of_system()["permissions"],
    }  # fmt: skip


def test_a_robot_that_never_expires(admin: Api) -> None:
    reply = admin.post("/robots", of_project(duration=-1))
    assert (reply.body["name"], reply.body["expires_at"]) == ("robot$library+ci", -1)
    assert admin.get(f"/robots/{reply.id}").body["duration"] == -1


def test_names_are_taken_once(admin: Api, library: Project) -> None:
    for body, text in ((of_system(), "0:ci"), (of_project(), f"{library.pk}:ci")):
        assert admin.post("/robots", body).status == 201
        reply = admin.post("/robots", body)
        assert (reply.status, reply.message) == (409, f"robot account {text} already exists")


NAME = "robot name is not in lower case or contains illegal characters"
DURATION = "bad request error duration input: {}, duration must be either -1(Never) or a positive integer"


@pytest.mark.parametrize(
    ("changes", "status", "message"),
    [
        ({"name": "R"}, 400, NAME),
        ({"name": ""}, 400, NAME),
        ({"name": None}, 400, NAME),
        ({"name": "a+b"}, 400, NAME),
        ({"name": "a b"}, 400, NAME),
        ({"name": "a..b"}, 400, NAME),
        ({"name": "a/b"}, 400, NAME),
        ({"name": "x" * 256}, 400, NAME),
        ({"duration": 0}, 400, DURATION.format(0)),
        ({"duration": None}, 400, DURATION.format(0)),
        ({"duration": -2}, 400, DURATION.format(-2)),
        ({"duration": 2147483647}, 400, DURATION.format(2147483647)),
        ({"level": None}, 400, "bad request error level input: "),
        ({"level": "x"}, 400, "bad request error level input: x"),
        ({"permissions": None}, 400, "bad request empty permission"),
        ({"permissions": []}, 400, "bad request empty permission"),
        ({"permissions": [None]}, 400, "bad request empty permission"),
        ({"permissions": [{"kind": "project", "namespace": "library"}]}, 400, "bad request empty access"),
        (
            {"permissions": [{"kind": "project", "namespace": "library", "access": []}]},
            400,
            "bad request empty access",
        ),
        (
            {"permissions": [{"kind": "project", "namespace": "library", "access": [None]}]},
            400,
            "bad request empty access",
        ),
        ({"permissions": of_project()["permissions"] * 2}, 400, "bad request permission"),
        (
            {"permissions": [{"kind": "x", "namespace": "library", "access": PULL}]},
            400,
            "bad request permission level: x",
        ),
        ({"permissions": [{"namespace": "library", "access": PULL}]}, 400, "bad request permission level: "),
        (
            {
                "permissions": [
                    {
                        "kind": "project",
                        "namespace": "library",
                        "access": [{"resource": "x", "action": "pull"}],
                    }
                ]
            },
            400,
            "bad request permission: x:pull",
        ),
        (
            {
                "permissions": [
                    {
                        "kind": "project",
                        "namespace": "library",
                        "access": [{"resource": "robot", "action": "update"}],
                    }
                ]
            },
            400,
            "bad request permission: robot:update",
        ),
        (
            {
                "permissions": [
                    {
                        "kind": "system",
                        "namespace": "/",
                        "access": [{"resource": "project", "action": "list"}],
                    }
                ]
            },
            404,
            "project / not found",
        ),
        (
            {"permissions": [{"kind": "project", "namespace": "*", "access": PULL}]},
            404,
            "project * not found",
        ),
        (
            {"permissions": [{"kind": "project", "namespace": "absent", "access": PULL}]},
            404,
            "project absent not found",
        ),
        ({"permissions": [{"kind": "project", "access": PULL}]}, 404, "project  not found"),
        ({"description": "x" * 1025}, 400, "bad request: a description may be 1024 characters long"),
    ],
)
def test_create_refuses(admin: Api, changes: dict[str, Any], status: int, message: str) -> None:
    reply = admin.post("/robots", of_project(**changes))
    assert (reply.status, reply.message) == (status, message)
    assert not Robot.objects.exists()


def test_create_of_a_system_robot_refuses(admin: Api) -> None:
    other = {"kind": "system", "namespace": "library", "access": [{"resource": "project", "action": "list"}]}
    assert admin.post("/robots", of_system("ci", other)).message == "unknown namespace"
    wrong = {"kind": "system", "namespace": "/", "access": PULL}
    assert admin.post("/robots", of_system("ci", wrong)).message == "bad request permission: repository:pull"


@pytest.mark.parametrize("changes", [{"duration": "7"}, {"duration": 1.5}, {"permissions": {}}])
def test_create_takes_what_the_contract_says(admin: Api, changes: dict[str, Any]) -> None:
    assert admin.post("/robots", of_project(**changes)).status == 422


def test_a_pair_that_is_given_twice_counts_once(admin: Api) -> None:
    entry = {"kind": "project", "namespace": "library", "access": PULL * 2}
    reply = admin.post("/robots", of_project(permissions=[entry]))
    (shown,) = admin.get(f"/robots/{reply.id}").body["permissions"]
    assert shown["access"] == PULL


# -- who may


def test_system_robots_are_for_system_administrators(
    alice: Person, charlie: Person, anonymous: Api, admin: Api, as_: As
) -> None:
    robot = admin.post("/robots", of_system()).id
    calls: list[Callable[[Api], Any]] = [
        lambda api: api.get("/robots"),
        lambda api: api.get(f"/robots/{robot}"),
        lambda api: api.post("/robots", of_system("other")),
        lambda api: api.delete(f"/robots/{robot}"),
        lambda api: api.patch(f"/robots/{robot}", {}),
    ]
    for person in (alice, charlie):
        replies = [call(as_(person)) for call in calls]
        assert [(r.status, r.message) for r in replies] == [(403, person.name)] * 5
    assert [call(anonymous).status for call in calls] == [401] * 5


def test_robots_of_a_project(
    alice: Person, bob: Person, charlie: Person, anonymous: Api, library: Project, as_: As
) -> None:
    limited = make_person("dora")
    make_member(library, limited, Member.Role.LIMITED_GUEST)
    created = as_(alice).post("/robots", of_project())
    assert created.status == 201
    put = of_project("robot$library+ci", duration=-1, description="new")
    calls: list[Callable[[Api], Any]] = [
        lambda api: api.get(f"/robots?q=Level=project,ProjectID={library.pk}"),
        lambda api: api.get(f"/robots/{created.id}"),
        lambda api: api.put(f"/robots/{created.id}", put),
        lambda api: api.patch(f"/robots/{created.id}", {}),
        lambda api: api.post("/robots", of_project("other")),
        lambda api: api.delete(f"/robots/{created.id}"),
    ]
    assert [call(as_(bob)).status for call in calls] == [200, 200, 403, 403, 403, 403]
    for outsider in (limited, charlie):
        replies = [call(as_(outsider)) for call in calls]
        assert [(r.status, r.message) for r in replies] == [(403, "forbidden")] * 6
    assert [call(anonymous).status for call in calls] == [401] * 6
    assert [call(as_(alice)).status for call in calls] == [200, 200, 200, 200, 201, 200]
    make_project("other")
    assert as_(alice).post("/robots", of_project("x", "other")).status == 403


def test_absent_robots(admin: Api, charlie: Person, anonymous: Api, as_: As) -> None:
    for call in (Api.get, Api.delete):
        reply = call(admin, "/robots/99999999")
        assert (reply.status, reply.message) == (404, "robot 99999999 not found")
        assert call(as_(charlie), "/robots/99999999").status == 403
        assert call(anonymous, "/robots/99999999").status == 401
    assert admin.get("/robots/x").status == 422


# -- list


@pytest.fixture
def fleet(admin: Api, library: Project) -> None:
    for name in ("two", "one"):
        admin.post("/robots", of_system(f"list-{name}", description="text"))
    admin.post("/robots", of_project("list-own"))


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", ["one", "two"]),
        ("q=name=~list-&sort=-name", ["two", "one"]),
        ("q=Level=system", ["one", "two"]),
        ("q=level=project", ["one", "two"]),  # the key is case-sensitive, so this is none
        ("q=name=list-two", ["two"]),
        ("q=description=text&sort=id", ["two", "one"]),
        ("sort=name&page=2&page_size=1", ["two"]),
    ],
)
def test_list(admin: Api, fleet: None, query: str, names: list[str]) -> None:
    reply = admin.get(f"/robots?{query}")
    assert [robot["name"] for robot in reply.body] == [f"robot$list-{name}" for name in names]


def test_list_of_a_project(admin: Api, fleet: None, library: Project) -> None:
    (robot,) = admin.get(f"/robots?q=Level=project,ProjectID={library.pk}").body
    assert (robot["name"], robot["level"]) == ("robot$library+list-own", "project")
    assert admin.get(f"/robots?q=Level=project,ProjectID={library.pk},name=library%2Blist-own").body == []
    shown = admin.get(f"/robots?q=Level=project,ProjectID={library.pk},name=library%252Blist-own").body
    assert [robot["name"] for robot in shown] == ["robot$library+list-own"]


def test_list_of_a_project_that_is_gone(admin: Api, charlie: Person, as_: As) -> None:
    reply = admin.get("/robots?q=Level=project,ProjectID=99999999")
    assert (reply.status, reply.body, reply.headers["X-Total-Count"]) == (200, [], "0")
    assert as_(charlie).get("/robots?q=Level=project,ProjectID=99999999").status == 403


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("Level=x", "bad request error level input"),
        ("Level=~project", "bad request error level input"),
        ("Level=project", "must with project ID when to query project robots"),
        ("Level=project,ProjectID=x", "ProjectID must be a positive integer"),
        ("Level=project,ProjectID=0", "ProjectID must be a positive integer"),
        ("Level=project,ProjectID=[1~2]", "ProjectID must be a positive integer"),
    ],
)
def test_list_refuses(admin: Api, query: str, message: str) -> None:
    reply = admin.get(f"/robots?q={query}")
    assert (reply.status, reply.message) == (400, message)


# -- update


@pytest.fixture
def robot(admin: Api) -> int:
    return admin.post("/robots", of_project(duration=10, description="first")).id


def put(**changes: Any) -> dict[str, Any]:
    tags = [{"resource": "repository", "action": "push"}, {"resource": "tag", "action": "list"}]
    entry = {"kind": "project", "namespace": "library", "access": tags}
    body = (
        of_project("robot$library+ci", duration=10, description="second", disable=False, permissions=[entry])
        | changes
    )
    return {key: value for key, value in body.items() if value is not ...}


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({}, {"description": "second", "duration": 10, "disable": False}),
        ({"duration": ...}, {"duration": 10}),
        ({"duration": -1}, {"duration": -1, "expires_at": -1}),
        ({"description": ..., "disable": ...}, {"disable": False, "description": None}),
        ({"disable": True}, {"disable": True}),
        ({"secret": "Given-Secret-1"}, {"duration": 10}),
    ],
)
def test_update(admin: Api, robot: int, changes: dict[str, Any], shown: dict[str, Any]) -> None:
    assert admin.put(f"/robots/{robot}", put(**changes)).status == 200
    body = admin.get(f"/robots/{robot}").body
    assert {key: body.get(key) for key in shown} == shown
    assert body["permissions"] == put()["permissions"]


def test_a_new_duration_counts_from_the_creation(admin: Api, robot: int) -> None:
    before = admin.get(f"/robots/{robot}").body["expires_at"]
    admin.put(f"/robots/{robot}", put(duration=5))
    assert before - admin.get(f"/robots/{robot}").body["expires_at"] == 5 * 86400


@pytest.mark.parametrize(
    ("changes", "status", "message"),
    [
        ({"name": "ci"}, 400, "cannot update the level or name of robot"),
        ({"name": ...}, 400, "cannot update the level or name of robot"),
        ({"level": "system"}, 400, "cannot update the level or name of robot"),
        ({"level": ...}, 400, "bad request error level input: "),
        ({"permissions": ...}, 400, "bad request empty permission"),
        ({"duration": 0}, 400, DURATION.format(0)),
        (
            {"permissions": [{"kind": "project", "namespace": "other", "access": PULL}]},
            400,
            "cannot update the project id of robot",
        ),
        (
            {"permissions": [{"kind": "project", "namespace": "absent", "access": PULL}]},
            404,
            "project absent not found",
        ),
    ],
)
def test_update_refuses(admin: Api, robot: int, changes: dict[str, Any], status: int, message: str) -> None:
    make_project("other")
    reply = admin.put(f"/robots/{robot}", put(**changes))
    assert (reply.status, reply.message) == (status, message)
    assert admin.get(f"/robots/{robot}").body["description"] == "first"


def test_update_of_nothing(admin: Api, robot: int) -> None:
    assert admin.put(f"/robots/{robot}", {}).message == "bad request error level input: "
    assert admin.put("/robots/99999999", put()).status == 404


# -- secrets


def test_a_disabled_robot_is_nobody(admin: Api) -> None:
    reply = admin.post("/robots", of_project())
    me = Api(Person(reply.body["name"], reply.body["secret"]).basic)
    assert me.get("/users/current").status == 412
    assert admin.put(f"/robots/{reply.id}", put(disable=True)).status == 200
    assert me.get("/users/current").status == 401


def test_new_secrets(admin: Api) -> None:
    reply = admin.post("/robots", of_project())
    name, path = reply.body["name"], f"/robots/{reply.id}"

    def status(secret: str) -> tuple[int, int]:
        return Api(Person(name, secret).basic).get("/projects").status, Api(Person(name, secret).basic).get(
            "/users/current"
        ).status

    assert status(reply.body["secret"]) == (200, 412)
    random = admin.patch(path, {}).body["secret"]
    assert (len(random), status(random), status(reply.body["secret"])) == (32, (200, 412), (200, 401))
    chosen = admin.patch(path, {"secret": "Given-Secret-1"})
    assert (chosen.status, chosen.body) == (200, {})
    assert (status("Given-Secret-1"), status(random)) == ((200, 412), (200, 401))
    assert len(admin.patch(path, {"secret": ""}).body["secret"]) == 32


@pytest.mark.parametrize("secret", ["Aa1", "Abcdefghij", "abcdefghi1", "ABCDEFGHI1", "Aa1" + "x" * 126])
def test_secrets_that_are_too_weak(admin: Api, robot: int, secret: str) -> None:
    reply = admin.patch(f"/robots/{robot}", {"secret": secret})
    assert (reply.status, reply.message) == (400, RULE)


@pytest.mark.parametrize("secret", ["Abcdefg1", "Aa1" + "x" * 125])
def test_secrets_at_their_limits(admin: Api, robot: int, secret: str) -> None:
    assert admin.patch(f"/robots/{robot}", {"secret": secret}).body == {}


# -- robots that make robots


def test_a_robot_gives_no_more_than_it_has(admin: Api, library: Project) -> None:
    maker = make_robot(("library", ["robot:create", "robot:delete", "repository:pull"]))
    me = Api(maker.basic)
    lesser = me.post("/robots", of_project("child"))
    assert lesser.status == 201
    assert maker.robot is not None
    shown = admin.get(f"/robots/{lesser.id}").body
    assert (shown["creator_type"], shown["creator_ref"]) == ("robot", maker.robot.pk)
    push = [
        {"kind": "project", "namespace": "library", "access": [{"resource": "repository", "action": "push"}]}
    ]
    greater = me.post("/robots", of_project("child2", permissions=push))
    assert (greater.status, greater.code) == (403, "DENIED")
    assert greater.message.endswith(f"the creator robot's permissions: {maker.name}")
    make_project("other")
    assert (me.post("/robots", of_project("child3", "other")).code) == "FORBIDDEN"
    assert me.delete(f"/robots/{lesser.id}").status == 200


def test_robots_read_what_they_were_given(library: Project) -> None:
    lister = Api(make_robot(("library", ["artifact:list", "tag:create"])).basic)
    administrator = Api(make_robot(("library", ["project:read", "member:list"])).basic)
    Project.objects.filter(pk=library.pk).update(public=False)
    paths = (
        "/projects/library",
        "/projects/library/repositories/x/artifacts",
        "/projects/library/members",
        "/robots",
        "/permissions",
    )
    assert [lister.get(path).status for path in paths] == [403, 200, 403, 403, 403]
    assert [administrator.get(path).status for path in paths] == [200, 403, 200, 403, 403]
    reply = lister.get("/robots")
    assert reply.message.startswith("robot$library+bot-")


def test_repositories_of_all_projects_need_the_permission(library: Project) -> None:
    Project.objects.filter(pk=library.pk).update(public=False)
    push_image(library, "app", "v1")
    assert Api(make_robot(("library", ["tag:list"])).basic).get("/repositories").body == []
    names = [
        r["name"] for r in Api(make_robot(("library", ["repository:list"])).basic).get("/repositories").body
    ]
    assert names == ["library/app"]


# -- the catalogue


def test_permissions(
    admin: Api, alice: Person, bob: Person, charlie: Person, anonymous: Api, as_: As
) -> None:
    catalogue = admin.get("/permissions").body
    assert (len(catalogue["system"]), len(catalogue["project"])) == (70, 70)
    assert {"resource": "project", "action": "create"} in catalogue["system"]
    assert {"resource": "project", "action": "create"} not in catalogue["project"]
    assert as_(alice).get("/permissions").body == {"system": None, "project": catalogue["project"]}
    for person in (bob, charlie):
        reply = as_(person).get("/permissions")
        assert (reply.status, reply.message) == (
            403,
            "forbidden: only admins(system and project) can access permissions",
        )
    assert anonymous.get("/permissions").status == 401
