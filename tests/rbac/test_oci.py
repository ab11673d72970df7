"""Who may do what on /v2: challenges, roles, anonymous, what is hidden, read-only mode."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from rbac import actions, oci, robots
from rbac.models import Member, User
from registry_core import configuration, errors
from registry_core.hooks import Action, Caller
from tests import hot
from tests.builders import ADMIN, Person, make_member, make_person, make_project, make_robot
from tests.rbac.asking import (
    BASE,
    BASIC,
    HOME,
    ask,
    authorize,
    bearer,
    caller,
    challenge_of,
    doubled,
    no_right,
    refused,
    token_of,
)

pytestmark = pytest.mark.django_db(transaction=True)


# -- challenges (contract 3.1)


@pytest.mark.parametrize(
    ("action", "method", "scope"), [("pull", "GET", "pull"), ("pull", "HEAD", "pull"), ("push", "POST", "pull,push"),
                                    ("push", "PUT", "pull,push"), ("delete", "DELETE", "delete")]
)  # fmt: skip
@pytest.mark.parametrize("kind", ["public", "private", "absent"])
def test_without_credentials_everything_is_challenged(
    action: Action, method: str, scope: str, kind: str
) -> None:
    project = "absent" if kind == "absent" else make_project(public=kind == "public").name
    error = refused("", f"{project}/a/b", action, method=method)
    assert error.status == 401
    assert challenge_of(error) == bearer(f"repository:{project}/a/b:{scope}")
    expected = no_right(f"{project}/a/b", action)
    if method in ("GET", "HEAD"):
        expected = doubled("authorize header needed to send HEAD to repository")
    assert error.message == expected


def test_a_mount_adds_a_scope_for_its_source() -> None:
    who = Caller("", HOME, BASE, "POST", mount_from="library/base")
    with pytest.raises(errors.Unauthorized) as info:
        hot.run(lambda: authorize(who, "library/app", "push"))
    assert challenge_of(info.value) == bearer("repository:library/app:pull,push repository:library/base:pull")


@pytest.mark.parametrize(
    "authorization",
    ["Bearer nonsense", "Digest x", "Basic !", "Basic " + base64.b64encode(b"bob:wrong").decode(), "x"],
)
def test_bad_credentials_are_challenged_with_basic(bob: Person, authorization: str) -> None:
    project = make_project()
    error = refused(authorization, f"{project.name}/app")
    assert (error.status, challenge_of(error)) == (401, BASIC)
    assert error.detail["principal"] == "anonymous"
    assert "wrong, expired or revoked" in error.detail["fix"]


@pytest.mark.parametrize(
    "authorization", ["Bearer nonsense", "Basic " + base64.b64encode(b"bob:wrong").decode()]
)
def test_bad_credentials_pull_from_public_projects_as_anonymous(bob: Person, authorization: str) -> None:
    assert ask(authorization, "library/app").principal.kind == "anonymous"


def test_ping(bob: Person) -> None:
    async def ping(authorization: str) -> Any:
        try:
            return (await oci.authenticate(caller(authorization))).name
        except errors.Unauthorized as e:
            return e.message, challenge_of(e)

    def of(authorization: str) -> Any:
        return hot.run(lambda: ping(authorization))

    assert of("") == (doubled("unauthorized"), bearer())
    assert of("Basic " + base64.b64encode(b"bob:Wrong-1x").decode()) == (doubled("unauthorized"), BASIC)
    assert of("Bearer nonsense") == (doubled("unauthorized"), BASIC)
    assert of(token_of(None, "library/app")) == (doubled("unauthorized"), BASIC)
    alone = make_person()
    assert of(alone.basic) == alone.name
    assert of(token_of(alone)) == alone.name


def test_the_catalogue_takes_basic_of_administrators_and_of_robots_that_hold_it(bob: Person) -> None:
    root = make_person(sysadmin=True)
    robot = make_robot(("/", ["catalog:read"]), level="system")
    other = make_robot(("library", ["repository:pull"]))

    async def open_catalogue(authorization: str) -> Any:
        try:
            return (await oci.authorize_catalog(caller(authorization))).name
        except errors.Unauthorized as e:
            return e.message, challenge_of(e)

    def of(authorization: str) -> Any:
        return hot.run(lambda: open_catalogue(authorization))

    no = (doubled("unauthorized to list catalog"), BASIC)
    assert of(root.basic) == root.name
    assert of(robot.basic) == robot.name
    for authorization in ("", bob.basic, other.basic, token_of(root, "library/app"), "Bearer x"):
        assert of(authorization) == no


def test_the_catalogue_closes_when_the_right_to_it_is_taken_away() -> None:
    person, robot = make_person(sysadmin=True), make_robot(("/", ["catalog:read"]), level="system")

    async def is_open(authorization: str) -> bool:
        try:
            await oci.authorize_catalog(caller(authorization))
        except errors.Unauthorized:
            return False
        return True

    def both() -> list[bool]:
        return [hot.run(lambda: is_open(person.basic)), hot.run(lambda: is_open(robot.basic))]

    assert both() == [True, True]
    actions.set_sysadmin(ADMIN, User.objects.get(username=person.name), flag=False)
    assert both() == [False, True]
    assert robot.robot
    other = {"kind": "system", "namespace": "/", "access": [{"resource": "quota", "action": "read"}]}
    request = robots.parse_request("system", -1, [other])
    robots.update(ADMIN, robot.robot, request, description="", disable=False)
    assert both() == [False, False]


# -- roles


# Which of pull, push and delete each role holds (contract 4.2; v2 answers of a real Harbor).
ROLES = {
    Member.Role.PROJECT_ADMIN: {"pull", "push", "delete"},
    Member.Role.MAINTAINER: {"pull", "push", "delete"},
    Member.Role.DEVELOPER: {"pull", "push"},
    Member.Role.GUEST: {"pull"},
    Member.Role.LIMITED_GUEST: {"pull"},
}


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("by", ["basic", "token"])
def test_roles(role: int, by: str) -> None:
    project, person = make_project(), make_person()
    make_member(project, person, role)
    name = f"{project.name}/app"
    authorization = person.basic if by == "basic" else token_of(person, name)
    for action in ("pull", "push", "delete"):
        if action in ROLES[Member.Role(role)]:
            grant = ask(authorization, name, action)
            assert (grant.principal.name, grant.namespace_id) == (person.name, project.namespace_id)
            assert grant.actions == ROLES[Member.Role(role)]
        else:
            error = refused(authorization, name, action)
            assert (error.message, challenge_of(error)) == (no_right(name, action), BASIC)
            assert error.detail["principal"] == f"user {person.name}"


@pytest.mark.parametrize("by", ["basic", "token"])
def test_charlie_may_pull_public_and_nothing_else(charlie: Person, by: str) -> None:
    project = make_project()
    name = f"{project.name}/app"
    authorization = charlie.basic if by == "basic" else token_of(charlie, name, "library/app")
    assert ask(authorization, "library/app").actions == {"pull"}
    assert challenge_of(refused(authorization, "library/app", "push")) == BASIC
    for action in ("pull", "push", "delete"):
        assert challenge_of(refused(authorization, name, action)) == BASIC


@pytest.mark.parametrize("action", ["pull", "push", "delete"])
def test_absent_and_hidden_projects_are_answered_the_same(charlie: Person, action: Action) -> None:
    hidden = make_project("hidden-project")
    for authorization in (
        charlie.basic,
        token_of(charlie, "hidden-project/app"),
        token_of(None, "hidden-project/app"),
        "Basic x",
    ):
        before = refused(authorization, "hidden-project/app", action)
        actions.delete_project(ADMIN, hidden)
        after = refused(authorization, "hidden-project/app", action)
        assert (before.status, before.message, before.headers, before.detail) == (
            after.status,
            after.message,
            after.headers,
            after.detail,
        )
        assert "project hidden-project not found" in before.message
        hidden = make_project("hidden-project")


@pytest.mark.parametrize("by", ["basic", "token"])
def test_an_administrator_learns_that_a_project_is_absent(by: str) -> None:
    root = make_person(sysadmin=True)
    authorization = root.basic if by == "basic" else token_of(root, "absent/app")
    error = refused(authorization, "absent/app", "push")
    assert (error.status, error.message, challenge_of(error)) == (
        401,
        doubled("project absent not found"),
        "",
    )


# -- read-only mode (contract 1.7)


@pytest.mark.parametrize("action", ["push", "delete"])
def test_read_only_mode_refuses_writes_and_lets_pulls_go_on(alice: Person, action: Action) -> None:
    configuration.set_values({"read_only": True})
    for authorization in ("", alice.basic, token_of(alice, "library/app"), "Bearer x"):
        error = refused(authorization, "library/app", action, method="PUT")
        assert (error.status, error.code) == (403, "DENIED")
        assert error.message == "The system is in read only mode. Any modification is prohibited."
    ask(alice.basic, "library/app")
    configuration.set_values({"read_only": False})
    ask(alice.basic, "library/app", action)
