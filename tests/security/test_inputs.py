"""What a caller writes into paths, queries and bodies gives nothing that it does not hold."""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Callable

import pytest

from api.urls import OPERATIONS
from projects.models import Project
from rbac.models import Robot, User
from tests import hot
from tests.api.conftest import Api
from tests.builders import PASSWORD, Person, make_member, make_person, make_project, make_robot
from tests.reporting import Report
from tests.security.routes import BY_CALLER, IN_PROJECTS, IN_SYSTEM
from tests.security.test_matrix import fill
from tests.security.world import build

pytestmark = pytest.mark.django_db
SCRIPT = '<script>alert(1)</script>"><img src=x onerror=alert(1)>'


# -- mass assignment


def test_nobody_makes_an_administrator_by_naming_the_flag(admin: Api) -> None:
    flags = {
        "sysadmin_flag": True, "admin_role_in_auth": True, "Sysadmin_Flag": True, "is_superuser": True,
        "is_staff": True, "user_id": 1, "deleted": False,
    }  # fmt: skip
    new = {"username": "eve", "email": "eve@example.org", "realname": "eve", "password": PASSWORD, **flags}
    assert admin.post("/users", new).status == 201
    eve = User.objects.get(username="eve")
    assert (eve.sysadmin_flag, eve.pk == 1) == (False, False)
    own = Api(Person("eve", PASSWORD).basic)
    profile = {"email": "eve@example.org", "realname": "eve", "comment": "", **flags, "username": "admin"}
    assert own.put(f"/users/{eve.pk}", profile).status == 200
    assert own.put(f"/users/{eve.pk}/sysadmin", {"sysadmin_flag": True}).status == 403
    eve.refresh_from_db()
    assert (eve.username, eve.sysadmin_flag) == ("eve", False)
    assert own.get("/users/current").body["sysadmin_flag"] is False


def test_a_password_change_changes_nothing_else(admin: Api) -> None:
    person = make_person("eve")
    assert person.user is not None
    body = {"old_password": PASSWORD, "new_password": "0ther-Passw0rd", "sysadmin_flag": True, "user_id": 1}
    assert Api(person.basic).put(f"/users/{person.user.pk}/password", body).status == 200
    person.user.refresh_from_db()
    assert person.user.sysadmin_flag is False
    assert Api(Person("admin", "0ther-Passw0rd").basic).get("/users/current").status == 401


def test_a_project_belongs_to_who_made_it(admin: Api) -> None:
    person = make_person("eve")
    assert person.user is not None
    body = {"project_name": "hers", "owner_id": 1, "owner_name": "admin", "project_id": 1, "storage_limit": -1}
    assert Api(person.basic).post("/projects", body).status == 201
    project = Project.objects.get(namespace__name="hers")
    assert (project.owner_id, project.owner_name) == (person.user.pk, "eve")
    assert Api(person.basic).put("/projects/hers", {"owner_id": 1, "owner_name": "admin", "name": "mine"}).status == 200
    project.refresh_from_db()
    assert (project.owner_id, project.name) == (person.user.pk, "hers")


def test_a_robot_is_no_more_than_asked_for(admin: Api, library: Project) -> None:
    access = [{"resource": "repository", "action": "pull"}]
    body = {
        "name": "bot", "level": "project", "duration": 1, "editable": False, "expires_at": -1, "creator_type": "local",
        "creator_ref": 2, "id": 4711, "secret": "Chosen-Secret-1", "networks": ["0.0.0.0/0"],
        "permissions": [{"kind": "project", "namespace": "library", "access": access}],
    }  # fmt: skip
    reply = admin.post("/robots", body)
    assert reply.status == 201
    robot = Robot.objects.get(pk=reply.body["id"])
    assert robot.expires_at > 0
    assert (robot.editable, robot.creator_ref, robot.networks) == (True, 1, [])
    assert reply.body["secret"] != "Chosen-Secret-1"
    assert Api(Person("robot$library+bot", "Chosen-Secret-1").basic).get("/users/current").status == 401


# -- q and sort


SECRET_KEYS = (
    "password", "Password", "password__startswith", "password__icontains", "secret_hash", "SecretHash", "secret",
    "second_secret_hash", "user__password", "project__members__user__password", "robots__secret_hash", "networks",
    "namespace__project__owner_id", "pk", "id__regex", "username__regex", "_state", "objects", "payload", "key",
    "tags__artifact__payload", "__class__", "metadata__retention_id",
)  # fmt: skip


@pytest.mark.parametrize(
    "path",
    ["/users", "/projects", "/robots", "/repositories", "/projects/library/members", "/labels?scope=g",
     "/usergroups", "/projects/library/repositories"],
)  # fmt: skip
def test_no_query_reads_what_is_not_shown(admin: Api, library: Project, path: str) -> None:
    """A key that is not offered filters and orders nothing: the same rows in the same order."""
    for name in ("a", "b", "c"):
        person = make_person(f"rows-{name}")
        make_member(library, person, 3)
        make_project(f"rows-{name}")
        make_robot(("/", ["label:read"]), level="system")
    join = "&" if "?" in path else "?"
    plain = admin.get(path)
    assert plain.status == 200
    for key in SECRET_KEYS:
        for query in (f"q={key}=a", f"q={key}=~$argon2", f"q={key}={{x%20y}}", f"sort={key}", f"sort=-{key}"):
            reply = admin.get(f"{path}{join}{query}")
            assert (reply.status, reply.body) == (200, plain.body), query


def test_wildcards_are_letters(admin: Api, anonymous: Api) -> None:
    """In names and in whose things are listed: `%` and `_` fit themselves alone."""
    eve = Api(make_person("eve").basic)
    make_project("hidden", by=make_person("owner").identity)
    make_project("seen", public=True)
    for text in ("%25", "_____", "h%25", "%25%25", "o%25"):
        for query in (f"owner={text}", f"name={text}", f"q=name=~{text}", f"q=owner={text}", f"q=owner=~{text}"):
            for caller in (admin, eve, anonymous):
                assert caller.get(f"/projects?{query}").body == [], query
        assert admin.get(f"/users?username={text}").body == []
        assert eve.get(f"/users/search?username={text}").body == []
    assert [p["name"] for p in admin.get("/projects?owner=owner").body] == ["hidden"]
    assert eve.get("/projects?owner=owner").body == []


# -- paths


MUTATIONS: dict[str, Callable[[str], str]] = {
    "two slashes": lambda path: path.replace("/", "//"),
    "a dot segment": lambda path: path.replace("/", "/./"),
    "a slash at the end": lambda path: path + "/",
    "a dot at the end": lambda path: path + "/.",
    "up and down": lambda path: path + "/x/..",
    "up first": lambda path: "/x/.." + path,
    "an escaped slash": lambda path: "/" + path[1:].replace("/", "%2f"),
    "an escaped slash, twice": lambda path: "/" + path[1:].replace("/", "%252f"),
    "a semicolon": lambda path: path + ";x=y",
    "a semicolon inside": lambda path: path.replace("/", ";/", 2),
    "an escaped letter": lambda path: f"/%{ord(path[1]):02x}{path[2:]}",
    "capitals": str.upper,
    "a null": lambda path: path + "%00",
    "a blank": lambda path: path + "%20",
    "a hash": lambda path: path + "%23",
    "a question mark": lambda path: path + "%3f",
    "a backslash": lambda path: path.replace("/", "%5c"),
}


def test_no_spelling_of_a_path_opens_it(admin: Api, report: Report) -> None:
    """Where the plain path is refused, no other spelling of it is answered with 2xx, by any method."""
    hot.forget_everything()
    world = build(admin)
    values = {**world.places["other"], **{k: v for k, v in world.places["system"].items() if k in ("user", "group")}}
    routes = [r for r in (*IN_PROJECTS, *IN_SYSTEM, *(row[0] for row in BY_CALLER)) if r.operation in OPERATIONS]
    asked, opened = 0, []
    for route, caller in itertools.product(routes, ("anonymous", "outsider", "robot that pulls")):
        ask = functools.partial(world.callers[caller].request, body=fill(route.body, values))
        target = fill(route.path, values)
        path, _, query = target.partition("?")
        if ask(route.method, target).status not in (401, 403):
            continue
        for name, change in MUTATIONS.items():
            asked += 1
            reply = ask(route.method, change(path) + (f"?{query}" if query else ""))
            if reply.status < 400 or reply.status >= 500:
                opened.append(f"{route.operation} by {caller} with {name}: {reply.status}")
    report(f"{asked} spellings of {len(routes)} routes")
    assert asked > 1500
    assert opened == []


# -- text


def test_a_script_in_a_text_is_a_text(admin: Api, library: Project) -> None:
    """It comes back as JSON, which no browser runs, under a type that says so."""
    assert admin.put("/projects/library/repositories/nothing", {"description": SCRIPT}).status == 404
    user = {"username": "eve", "email": "eve@example.org", "realname": "<script>alert(1)</script>", "comment": "<b>"}
    made = admin.post("/users", {**user, "password": PASSWORD})
    assert made.status == 201
    label = admin.post("/labels", {"name": SCRIPT, "description": SCRIPT, "color": "<b>", "scope": "g"})
    group = admin.post("/usergroups", {"group_name": SCRIPT, "group_type": 3})
    robot = admin.post("/robots", {
        "name": "bot", "level": "system", "duration": 1, "description": SCRIPT,
        "permissions": [{"kind": "system", "namespace": "/", "access": [{"resource": "label", "action": "read"}]}],
    })  # fmt: skip
    assert (label.status, group.status, robot.status) == (201, 201, 201)
    for path in (
        f"/users/{made.id}", "/users", f"/labels/{label.id}", "/labels?scope=g", f"/usergroups/{group.id}",
        f"/robots/{robot.body['id']}", f"/projects/{SCRIPT.replace('/', '%2F')}", "/nothing<script>",
        "/users?q=<script>",
    ):  # fmt: skip
        reply = admin.get(path.replace("<", "%3C").replace(">", "%3E").replace('"', "%22").replace(" ", "%20"))
        assert reply.headers["Content-Type"].startswith("application/json")
        assert reply.headers["X-Content-Type-Options"] == "nosniff"
        json.loads(reply.content)


def test_no_page_shows_what_was_asked_for(anonymous: Api) -> None:
    for path in ("/nothing/<script>alert(1)</script>", "/c/<script>", "/api/<script>"):
        reply = anonymous.request("GET", path, prefix="")
        assert reply.status == 404
        assert b"<script>" not in reply.content


# -- who is there


def test_an_unknown_name_and_a_wrong_password_are_told_the_same(anonymous: Api) -> None:
    """And take as long: tests/rbac/test_sign_in.py."""
    make_person("known")
    replies = []
    for path in ("/users/current", "/projects", "/users", "/projects/hidden", "/robots"):
        for name in ("known", "unknown", "admin", "known@example.org", "unknown@example.org"):
            reply = Api(Person(name, "Wrong-Passw0rd").basic).get(path)
            shown = {k: v for k, v in reply.headers.items() if k != "X-Request-Id"}
            replies.append((path, reply.status, reply.content, str(shown)))
    assert len(set(replies)) == 5


def test_a_token_is_no_password(admin: Api) -> None:
    """A registry token opens /v2 alone: not the REST side, neither as bearer nor as password, of whoever it is."""
    token = admin.request(
        "GET", "/service/token?service=harbor-registry&scope=repository:library/app:pull", prefix=""
    ).body["token"]
    assert Api(f"Bearer {token}").get("/users/current").status == 401
    assert Api(f"Bearer {token}").get("/users").status == 401
    assert Api(Person("admin", token).basic).get("/users/current").status == 401
    robot = make_robot(("library", ["repository:pull"]))
    assert Api(Person("admin", robot.secret).basic).get("/users/current").status == 401
    assert Api(f"Bearer {robot.secret}").get("/users/current").status == 401
