"""What a request for a robot must look like, in the contract's order and words (contract 4.5)."""

from __future__ import annotations

from typing import Any

import pytest

from projects.models import Project
from rbac import robots
from rbac.models import Robot
from registry_core import errors
from tests.builders import ADMIN, make_project, make_robot
from tests.rbac.asking import identify

pytestmark = pytest.mark.django_db
PULL = {"resource": "repository", "action": "pull"}
LIST_PROJECTS = {"resource": "project", "action": "list"}


def entry(kind: str = "project", namespace: str = "library", access: Any = (PULL,)) -> dict[str, Any]:
    return {"kind": kind, "namespace": namespace, "access": list(access)}


# Messages as a real Harbor gives them.
@pytest.mark.parametrize("name", ["R", "", "a+b", "a b", "a..b", "a/b", "-a", "a-", "x" * 191])
def test_names(name: str) -> None:
    with pytest.raises(errors.BadRequest, match="robot name is not in lower case or contains illegal"):
        robots.check_name(name)


@pytest.mark.parametrize("name", ["r", "a.b", "a_b-c.d", "0", "x" * 190])
def test_good_names(name: str) -> None:
    robots.check_name(name)


@pytest.mark.parametrize("duration", [0, -2, 2147483647])
def test_durations(duration: int) -> None:
    with pytest.raises(errors.BadRequest, match=f"error duration input: {duration},"):
        robots.parse_request("project", duration, [entry()])


@pytest.mark.parametrize("duration", [-1, 1, 2147483646])
def test_good_durations(duration: int) -> None:
    assert robots.parse_request("project", duration, [entry()]).duration == duration


@pytest.mark.parametrize(
    ("level", "permissions", "message"),
    [
        ("", [entry()], "bad request error level input: $"),
        ("nonsense", [entry()], "bad request error level input: nonsense"),
        ("project", None, "bad request empty permission"),
        ("project", [], "bad request empty permission"),
        ("project", [None], "bad request empty permission"),
        ("project", [entry(access=[])], "bad request empty access"),
        ("project", [{"kind": "project", "namespace": "library"}], "bad request empty access"),
        ("project", [entry(access=[None])], "bad request empty access"),
        ("project", [entry(), entry()], "bad request permission$"),
        (
            "project",
            [entry(access=[{"resource": "nonsense", "action": "pull"}])],
            "permission: nonsense:pull",
        ),
        (
            "project",
            [entry(access=[{"resource": "repository", "action": "scanner-pull"}])],
            "repository:scanner-pull",
        ),
        (
            "project",
            [entry(access=[{"resource": "audit-log", "action": "list"}])],
            "permission: audit-log:list",
        ),
        ("project", [entry(access=[{"resource": "robot", "action": "update"}])], "permission: robot:update"),
        ("project", [entry(kind="nonsense")], "permission level: nonsense"),
        ("project", [{"namespace": "library", "access": [PULL]}], "permission level: $"),
        ("system", [entry(kind="system", namespace="/")], "permission: repository:pull"),
        ("system", [entry(kind="system", access=[LIST_PROJECTS])], "unknown namespace"),
    ],
)
def test_faults(level: str, permissions: Any, message: str) -> None:
    with pytest.raises(errors.BadRequest, match=message):
        robots.parse_request(level, 1, permissions)


@pytest.mark.parametrize(
    ("level", "one"),
    [
        ("project", entry(namespace="*")),
        ("project", entry(namespace="absent")),
        ("project", entry(namespace="")),
        ("project", entry(kind="system", namespace="/", access=[LIST_PROJECTS])),
        ("system", entry(namespace="absent")),
    ],
)
def test_projects_that_are_not_there(level: str, one: dict[str, Any]) -> None:
    with pytest.raises(
        errors.NotFound, match=f"project {one['namespace'] if one['namespace'] != '*' else '.'} not found"
    ):
        robots.parse_request(level, 1, [one])


def test_the_order_of_faults() -> None:
    with pytest.raises(errors.BadRequest, match="duration"):
        robots.parse_request("nonsense", 0, None)
    with pytest.raises(errors.BadRequest, match="level"):
        robots.parse_request("nonsense", 1, None)


def test_names_are_taken_once_per_place(library: Project) -> None:
    request = robots.parse_request("project", 1, [entry()])
    robots.create(ADMIN, "ci", request)
    with pytest.raises(errors.Conflict, match=f"robot account {library.pk}:ci already exists"):
        robots.create(ADMIN, "ci", request)
    robots.create(
        ADMIN,
        "ci",
        robots.parse_request("system", 1, [entry(kind="system", namespace="/", access=[LIST_PROJECTS])]),
    )
    assert set(Robot.objects.values_list("name", flat=True)) == {"library+ci", "ci"}


def test_a_robot_gives_no_more_than_it_holds(library: Project) -> None:
    other = make_project()
    creator = identify(make_robot(("library", ["robot:create", "repository:pull"])).basic, "192.0.2.1")

    def create(one: dict[str, Any], level: str = "project") -> Robot:
        return robots.create(creator, "child", robots.parse_request(level, 1, [one]))[0]

    for greater in (
        entry(access=[{"resource": "repository", "action": "push"}]),
        entry(namespace=other.name),
    ):
        with pytest.raises(errors.Denied, match="permission scope is invalid"):
            create(greater)
    with pytest.raises(errors.Denied):
        create(entry(namespace="*"), "system")
    child = create(entry())
    assert (child.creator_type, child.creator_ref) == ("robot", int(creator.principal.subject[2:]))


def test_a_robot_of_all_projects_may_give_one(library: Project) -> None:
    creator = identify(
        make_robot(("*", ["robot:create", "repository:pull"]), level="system").basic, "192.0.2.1"
    )
    robots.create(creator, "child", robots.parse_request("project", 1, [entry()]))


def test_what_is_shown_is_what_was_asked(library: Project) -> None:
    asked = [
        entry(kind="system", namespace="/", access=[LIST_PROJECTS]),
        entry(),
        entry(namespace="*", access=[{"resource": "repository", "action": "pull", "effect": "deny"}]),
    ]
    robot, _ = robots.create(ADMIN, "shown", robots.parse_request("system", 1, asked))
    assert robots.shown_permissions([robot]) == [asked]


def test_an_update_replaces_and_recomputes_from_creation(library: Project) -> None:
    robot, _ = robots.create(ADMIN, "ci", robots.parse_request("project", 10, [entry()]), description="first")
    push = entry(access=[{"resource": "repository", "action": "push"}])
    robots.update(
        ADMIN, robot, robots.parse_request("project", 5, [push]), description="second", disable=True
    )
    robot.refresh_from_db()
    assert (robot.description, robot.disable, robot.duration) == ("second", True, 5)
    assert robot.expires_at == int(robot.created_at.timestamp() + 5 * 86400)
    assert robots.shown_permissions([robot]) == [[push]]


def test_an_update_keeps_the_project(library: Project) -> None:
    robot, _ = robots.create(ADMIN, "ci", robots.parse_request("project", 10, [entry()]))
    elsewhere = robots.parse_request("project", 10, [entry(namespace=make_project().name)])
    with pytest.raises(errors.BadRequest, match="cannot update the project id of robot"):
        robots.update(ADMIN, robot, elsewhere, description="", disable=False)


def test_a_robot_that_is_not_editable_stays(library: Project) -> None:
    robot, _ = robots.create(ADMIN, "ci", robots.parse_request("project", 10, [entry()]))
    robot.editable = False
    with pytest.raises(errors.Forbidden):
        robots.update(
            ADMIN, robot, robots.parse_request("project", 10, [entry()]), description="", disable=False
        )


@pytest.mark.parametrize("secret", ["Aa1", "Abcdefghij", "abcdefghi1", "ABCDEFGHI1", "Aa1" + "x" * 126])
def test_a_chosen_secret_follows_the_rule(library: Project, secret: str) -> None:
    robot, _ = robots.create(ADMIN, "ci", robots.parse_request("project", 10, [entry()]))
    with pytest.raises(errors.BadRequest, match="the secret must be 8-128, inclusively"):
        robots.renew_secret(ADMIN, robot, secret)
