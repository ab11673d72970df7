"""Tag user (contract 7; golden: user_create, user_finding, user_profile, user_password, user_permissions)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from projects.models import Project
from rbac import actions
from rbac.models import Member, User
from registry_core import configuration
from registry_core.models import AuditLog
from tests.api.conftest import ADMIN_PASSWORD, Api
from tests.builders import ADMIN, PASSWORD, Person, make_member, make_person, make_robot

pytestmark = pytest.mark.django_db

As = Callable[[Person], Api]
RULE = (
    "the password or secret must be 8-128, inclusively, characters long with at least 1 uppercase letter, "
    "1 lowercase letter and 1 number"
)


def new(name: str, **changes: Any) -> dict[str, Any]:
    return {
        "username": name,
        "email": f"{name}@example.org",
        "realname": name,
        "password": "Passw0rd-1x",
    } | changes


def user_id(person: Person) -> int:
    assert person.user is not None
    return int(person.user.pk)


# -- create


def test_create_and_read_back(admin: Api) -> None:
    reply = admin.post("/users", new("dora", comment="remark", sysadmin_flag=True, user_id=1))
    assert (reply.status, reply.content) == (201, b"")
    assert reply.headers["Location"] == f"/api/v2.0/users/{reply.id}"
    shown = admin.get(f"/users/{reply.id}").body
    times = {key: shown.pop(key) for key in ("creation_time", "update_time")}
    assert all(len(text) == 24 and text.endswith("Z") for text in times.values())
    assert shown == {
        "admin_role_in_auth": False, "comment": "remark", "email": "dora@example.org", "realname": "dora",
        "sysadmin_flag": False, "user_id": reply.id, "username": "dora",
    }  # fmt: skip
    assert AuditLog.objects.filter(
        username="admin", operation="create", resource_type="user", resource="dora"
    ).exists()
    assert Api(Person("dora", "Passw0rd-1x").basic).get("/users/current").body["user_id"] == reply.id


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"password": "Passw0r"}, RULE),
        ({"password": "passw0rd-1x"}, RULE),
        ({"password": "PASSW0RD-1X"}, RULE),
        ({"password": "Password-xx"}, RULE),
        ({"password": "Aa1" + "x" * 126}, RULE),
        ({"password": ""}, RULE),
        ({"email": ""}, "email can't be empty"),
        ({"email": "a.example.org"}, "email with illegal format"),
        ({"email": "a@example"}, "email with illegal format"),
        ({"email": "a b@example.org"}, "email with illegal format"),
        ({"realname": ""}, "realname with illegal length"),
        ({"realname": "r" * 256}, "realname with illegal length"),
        ({"realname": "a,b"}, "realname contains illegal characters"),
        ({"comment": "c" * 31}, "comment with illegal length"),
        ({"username": ""}, "username with illegal length"),
        ({"username": "s$"}, "username contains illegal characters"),
        ({"username": "s~"}, "username contains illegal characters"),
    ],
)
def test_create_refuses(admin: Api, changes: dict[str, Any], message: str) -> None:
    reply = admin.post("/users", new("dora", **changes))
    assert (reply.status, reply.code, reply.message) == (400, "BAD_REQUEST", message)


@pytest.mark.parametrize(
    "changes",
    [
        {"password": "Passw0rd"},
        {"password": "Aa1" + "x" * 125},
        {"password": "Pässw0rd"},
        {"email": "a+b@example.org"},
        {"email": "a@[127.0.0.1]"},
        {"realname": "r" * 255},
        {"comment": "c" * 30},
        {"username": "a b"},
        {"username": "a@b"},
    ],
)
def test_create_takes(admin: Api, changes: dict[str, Any]) -> None:
    assert admin.post("/users", new("dora", **changes)).status == 201


def test_names_and_addresses_are_taken_once(admin: Api) -> None:
    assert admin.post("/users", new("dora")).status == 201
    for again in (new("dora"), new("dora", email="x@example.org"), new("dora2", email="dora@example.org")):
        reply = admin.post("/users", again)
        expected = f"user {again['username']} or email {again['email']} already exists"
        assert (reply.status, reply.code, reply.message) == (409, "CONFLICT", expected)
    assert admin.post("/users", new("DORA")).status == 201


def test_create_is_for_system_administrators(anonymous: Api, charlie: Person, as_: As) -> None:
    reply = as_(charlie).post("/users", new("dora"))
    assert (reply.status, reply.code, reply.message) == (403, "FORBIDDEN", "charlie")
    assert anonymous.post("/users", new("dora")).status == 401
    assert not User.objects.filter(username="dora").exists()


def test_self_registration_needs_a_session(anonymous: Api, charlie: Person, as_: As) -> None:
    configuration.set_values({"self_registration": True})
    for caller in (anonymous, as_(charlie)):
        assert caller.post("/users", new("dora")).status == 403


# -- find


@pytest.fixture
def crowd(charlie: Person) -> list[Person]:
    return [make_person(f"find-f{n}") for n in (3, 1, 2)]


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("username=find-", ["f1", "f2", "f3"]),
        ("username=FIND-F1", ["f1"]),
        ("email=find-f2", ["f2"]),
        ("username=zzz", []),
        ("q=username=find-f1", ["f1"]),
        ("q=username=~find-", ["f1", "f2", "f3"]),
        ("q=email=find-f3@example.org", ["f3"]),
        ("q=username={find-f1 find-f3}".replace(" ", "%20"), ["f1", "f3"]),
        ("q=username=~find-,sysadmin_flag=true", []),
        ("q=username=~find-,password=x", ["f1", "f2", "f3"]),
        ("username=find-f2&q=username=find-f1", ["f2"]),
        ("username=find-&sort=-username", ["f3", "f2", "f1"]),
        ("username=find-&sort=user_id", ["f3", "f1", "f2"]),
        ("username=find-&sort=colour", ["f1", "f2", "f3"]),
        ("username=find-&page_size=2", ["f1", "f2"]),
        ("username=find-&page_size=2&page=2", ["f3"]),
        ("q=username=admin", []),
        ("q=username=anonymous", []),
    ],
)
def test_list(admin: Api, crowd: list[Person], query: str, names: list[str]) -> None:
    reply = admin.get(f"/users?{query}")
    assert [user["username"].removeprefix("find-") for user in reply.body] == names
    if "page_size" not in query:
        assert reply.headers["X-Total-Count"] == str(len(names))


def test_list_is_for_system_administrators(anonymous: Api, charlie: Person, as_: As) -> None:
    reply = as_(charlie).get("/users")
    assert (reply.status, reply.message) == (403, "charlie")
    assert reply.body["errors"][0]["detail"]["principal"] == "user charlie"
    assert anonymous.get("/users").status == 401


def test_search_shows_names_to_everybody_who_is_signed_in(
    anonymous: Api, charlie: Person, crowd: list[Person], as_: As
) -> None:
    reply = as_(charlie).get("/users/search?username=find-")
    assert reply.body == [
        {"user_id": user_id(p), "username": p.name} for p in sorted(crowd, key=lambda p: p.name)
    ]
    assert reply.headers["X-Total-Count"] == "3"
    assert anonymous.get("/users/search?username=find-").status == 401


@pytest.mark.parametrize(
    ("query", "names", "total"),
    [
        ("username=find-&page_size=1&page=2", ["find-f1"], "3"),  # the page does not count
        ("username=find-&page_size=0", [], "3"),
        ("username=FIND-F1", [], "1"),  # the total counts in any case
        ("username=admin", [], "0"),
    ],
)
def test_search_quirks(admin: Api, crowd: list[Person], query: str, names: list[str], total: str) -> None:
    reply = admin.get(f"/users/search?{query}")
    assert [user["username"] for user in reply.body] == names
    assert reply.headers["X-Total-Count"] == total


def test_search_with_a_negative_page_size(admin: Api) -> None:
    assert admin.get("/users/search?username=x&page_size=-1").status == 400  # Harbor: 500


def test_get(admin: Api, anonymous: Api, bob: Person, charlie: Person, as_: As) -> None:
    assert as_(charlie).get(f"/users/{user_id(charlie)}").body["username"] == "charlie"
    assert admin.get(f"/users/{user_id(charlie)}").body["username"] == "charlie"
    for number in (user_id(bob), 99999999):
        reply = as_(charlie).get(f"/users/{number}")
        assert (reply.status, reply.code, reply.message) == (403, "FORBIDDEN", "charlie")
    assert anonymous.get(f"/users/{user_id(charlie)}").status == 401  # Harbor: 500
    for number in (0, -1, 2, 99999999):
        reply = admin.get(f"/users/{number}")
        assert (reply.status, reply.message) == (404, f"user {number} not found")


def test_current(admin: Api, anonymous: Api, library: Project) -> None:
    assert admin.get("/users/current").body["sysadmin_flag"] is True
    assert anonymous.get("/users/current").status == 401
    robot = make_robot(("library", ["repository:pull"]))
    reply = Api(robot.basic).get("/users/current")
    assert (reply.status, reply.code) == (412, "PRECONDITION")
    assert reply.message == "get current user not available for security context: robot"


# -- change


def test_profile(admin: Api, charlie: Person, bob: Person, anonymous: Api, as_: As) -> None:
    path = f"/users/{user_id(charlie)}"
    sent = {
        "email": "c@example.org",
        "realname": "New",
        "comment": "hi",
        "username": "x",
        "sysadmin_flag": True,
    }
    assert as_(charlie).put(path, sent).status == 200
    shown = admin.get(path).body
    assert (shown["email"], shown["realname"], shown["comment"]) == ("c@example.org", "New", "hi")
    assert (shown["username"], shown["sysadmin_flag"]) == ("charlie", False)
    assert admin.put(path, {"email": "c@example.org", "realname": "Newer"}).status == 200
    assert "comment" not in admin.get(path).body
    assert as_(bob).put(path, sent).status == 403
    assert anonymous.put(path, sent).status == 401  # Harbor: 500
    assert admin.put("/users/99999999", sent).status == 404


@pytest.mark.parametrize(
    ("sent", "status", "message"),
    [
        ({"realname": "x"}, 400, "email can't be empty"),
        ({"email": "c@example.org"}, 400, "realname with illegal length"),
        ({"email": "x", "realname": "x"}, 400, "email with illegal format"),
        (
            {"email": "bob@example.org", "realname": "x"},
            409,
            "email bob@example.org already exists",
        ),  # Harbor: 500
        ({"email": "c@example.org", "realname": "a~b"}, 400, "realname contains illegal characters"),
        ({}, 400, "email can't be empty"),
    ],
)
def test_profile_refuses(
    charlie: Person, bob: Person, as_: As, sent: dict[str, str], status: int, message: str
) -> None:
    reply = as_(charlie).put(f"/users/{user_id(charlie)}", sent)
    assert (reply.status, reply.message) == (status, message)


def test_own_password(charlie: Person, as_: As) -> None:
    path, me = f"/users/{user_id(charlie)}/password", as_(charlie)
    for sent, status, message in (
        ({"old_password": "Wrong-1234", "new_password": "Secret-1234"}, 403, "Current password is incorrect"),
        ({"new_password": "Secret-1234"}, 403, "Current password is incorrect"),
        ({"old_password": "Wrong-1234", "new_password": "weak"}, 403, "Current password is incorrect"),
        ({"old_password": PASSWORD, "new_password": "weak"}, 400, RULE),
        (
            {"old_password": PASSWORD, "new_password": PASSWORD},
            400,
            "New password is identical to old password",
        ),
    ):
        reply = me.put(path, sent)
        assert (reply.status, reply.message) == (status, message)
    assert me.put(path, {"old_password": PASSWORD, "new_password": "Secret-1234"}).status == 200
    assert Api(Person("charlie", "Secret-1234").basic).get("/users/current").status == 200
    assert me.get("/users/current").status == 401


def test_the_password_of_another(admin: Api, charlie: Person, bob: Person, anonymous: Api, as_: As) -> None:
    path, sent = f"/users/{user_id(bob)}/password", {"old_password": "x", "new_password": "Secret-9012"}
    reply = as_(charlie).put(path, sent)
    assert (reply.status, reply.message) == (403, "charlie")
    assert anonymous.put(path, sent).status == 401
    assert admin.put(path, sent).status == 200
    assert admin.put(path, sent).message == "New password is identical to old password"
    assert admin.put("/users/99999999/password", sent).status == 404


def test_sysadmin(admin: Api, charlie: Person, anonymous: Api, as_: As) -> None:
    path, me = f"/users/{user_id(charlie)}/sysadmin", as_(charlie)
    reply = me.put(path, {"sysadmin_flag": True})
    assert (reply.status, reply.message) == (403, "charlie")
    assert anonymous.put(path, {"sysadmin_flag": True}).status == 401
    assert admin.put(path, {"sysadmin_flag": "true"}).status == 422
    assert admin.put(path, {"sysadmin_flag": True}).status == 200
    assert me.get("/users/current").body["sysadmin_flag"] is True
    assert me.get("/users?username=charlie").status == 200
    assert me.put(path, {}).status == 200  # an empty body revokes
    assert me.get("/users").status == 403
    assert admin.put("/users/99999999/sysadmin", {"sysadmin_flag": True}).status == 404


def test_delete(admin: Api, charlie: Person, bob: Person, anonymous: Api, as_: As) -> None:
    for number in (user_id(bob), user_id(charlie)):
        reply = as_(charlie).delete(f"/users/{number}")
        assert (reply.status, reply.message) == (403, "charlie")
    assert anonymous.delete(f"/users/{user_id(bob)}").status == 401
    reply = admin.delete("/users/1")
    assert (reply.status, reply.message) == (403, "User with ID 1 cannot be deleted")
    assert admin.delete(f"/users/{user_id(charlie)}").status == 200
    for number in (user_id(charlie), 0, 99999999):
        reply = admin.delete(f"/users/{number}")
        assert (reply.status, reply.message) == (404, f"user {number} not found")
    assert as_(charlie).get("/users/current").status == 401
    assert admin.post("/users", new("charlie")).status == 201  # the name is free again


def test_an_administrator_does_not_delete_himself(charlie: Person, as_: As) -> None:
    assert charlie.user is not None
    actions.set_sysadmin(ADMIN, charlie.user, flag=True)
    reply = as_(charlie).delete(f"/users/{user_id(charlie)}")
    assert (reply.status, reply.message) == (403, f"User with ID {user_id(charlie)} cannot be deleted")


def test_cli_secret_is_for_oidc(anonymous: Api, charlie: Person) -> None:
    reply = anonymous.put(f"/users/{user_id(charlie)}/cli_secret", {"secret": "Passw0rd-1x"})
    assert (reply.status, reply.code) == (412, "PRECONDITION")
    assert reply.message == "unable to update CLI secret under authmode: db_auth"


# -- permissions


def pairs(reply: Any) -> set[tuple[str, str]]:
    return {(entry["resource"], entry["action"]) for entry in reply.body}


def test_permissions_in_a_project(charlie: Person, bob: Person, library: Project, as_: As) -> None:
    public = {
        (".", "read"),
        ("label", "list"),
        ("label", "read"),
        ("repository", "list"),
        ("repository", "pull"),
        ("scan", "read"),
        ("scanner", "read"),
        ("artifact", "list"),
        ("artifact", "read"),
        ("artifact-addition", "read"),
        ("tag", "list"),
        ("accessory", "list"),
    }
    path = f"/users/current/permissions?scope=/project/{library.pk}&relative=true"
    assert pairs(as_(charlie).get(path)) == public
    assert len(pairs(as_(bob).get(path))) == 36
    private = make_person("dora")
    make_member(library, private, Member.Role.PROJECT_ADMIN)
    assert len(pairs(as_(private).get(path))) == 75


def test_forms_of_the_scope(charlie: Person, library: Project, as_: As) -> None:
    me, root = as_(charlie), f"/project/{library.pk}"
    base = "/users/current/permissions?scope="
    assert (root, "read") in pairs(me.get(base + root))
    assert (f"{root}/repository", "pull") in pairs(me.get(base + root + "&relative=x"))
    assert pairs(me.get(f"{base}{root}/repository&relative=true")) == {(".", "list"), (".", "pull")}
    assert (".", "read") not in pairs(me.get(f"{base}{root}/&relative=true"))
    for scope in ("", "/nothing", "/project/library", "/project/99999999", "/system"):
        assert me.get(base + scope).body == []
    assert me.get("/users/current/permissions").body == []


def test_permissions_of_a_system_administrator(admin: Api, anonymous: Api) -> None:
    base = "/users/current/permissions?scope="
    assert len(pairs(admin.get(base + "/system"))) == 53
    assert admin.get(base + "/system&relative=true").body == []
    assert len(pairs(admin.get(base + "/project/99999999"))) == 75
    assert anonymous.get(base + "/system").status == 401


def test_permissions_of_a_robot(library: Project) -> None:
    robot = Api(make_robot(("library", ["artifact:list"])).basic)
    assert ("artifact", "list") in pairs(
        robot.get(f"/users/current/permissions?scope=/project/{library.pk}&relative=true")
    )
    assert robot.get("/users/current/permissions?scope=/system").body == []


def test_the_first_password_works(admin: Api) -> None:
    assert Api(Person("admin", ADMIN_PASSWORD).basic).get("/users/current").body["user_id"] == 1
