"""The decision: users by role, robots by what they were given, anybody on public projects, and the reasons of a no."""

from __future__ import annotations

import dataclasses

import pytest

from projects.models import Project
from rbac import robots
from rbac.catalogue import Permission
from rbac.models import Member
from rbac.permissions import (
    NOBODY,
    Identity,
    absent_project,
    can,
    held,
    is_from,
    parse_robot_grants,
    require,
    roles_in,
    standing_in,
)
from registry_core import errors
from tests.builders import ADMIN, Person, make_member, make_person, make_project, make_robot
from tests.rbac.asking import identify

pytestmark = pytest.mark.django_db
P = Permission


def identity_of(robot: Person) -> Identity:
    return identify(robot.basic, "192.0.2.1")


# -- users


def test_alice_administers_bob_develops_and_charlie_may_nothing(
    alice: Person, bob: Person, charlie: Person
) -> None:
    project = make_project()
    make_member(project, alice, Member.Role.PROJECT_ADMIN)
    make_member(project, bob, Member.Role.DEVELOPER)
    wanted = (P.MEMBER_CREATE, P.REPOSITORY_PUSH, P.REPOSITORY_PULL, P.PROJECT_READ)
    answers = {p.name: [can(p.identity, w, project) for w in wanted] for p in (alice, bob, charlie)}
    assert answers == {
        "alice": [True, True, True, True],
        "bob": [False, True, True, True],
        "charlie": [False, False, False, False],
    }


def test_a_role_holds_in_its_project_only(bob: Person) -> None:
    assert not can(bob.identity, P.REPOSITORY_PULL, make_project())


def test_a_system_administrator_may_everything(library: Project) -> None:
    root = make_person(sysadmin=True)
    assert all(can(root.identity, permission, library) for permission in P)
    assert all(can(root.identity, permission) for permission in P)


def test_an_ordinary_user_holds_nothing_of_the_system(alice: Person) -> None:
    assert not any(can(alice.identity, permission) for permission in P)


# Contract 4.2, last column: what anybody holds on a public project.
PUBLIC = {
    "project:read", "label:read", "label:list", "repository:list", "repository:pull", "scan:read", "scanner:read",
    "artifact:read", "artifact:list", "artifact-addition:read", "tag:list", "accessory:list",
}  # fmt: skip


def test_anybody_holds_the_public_column(library: Project, charlie: Person) -> None:
    for identity in (NOBODY, charlie.identity):
        assert {str(p) for p in P if can(identity, p, library)} == PUBLIC
        assert not any(can(identity, p, make_project()) for p in P)


def test_the_public_column_adds_to_a_role(bob: Person, library: Project) -> None:
    guest = make_person()
    make_member(library, guest, Member.Role.LIMITED_GUEST)
    assert can(guest.identity, P.LABEL_LIST, library)  # limitedGuest has none of labels


def test_only_a_system_administrator_lists_metadata(alice: Person, library: Project) -> None:
    assert not can(alice.identity, P.METADATA_LIST, library)
    assert can(ADMIN, P.METADATA_LIST, library)


@pytest.mark.parametrize("role", [0, 6, 9, -1])
def test_a_role_that_does_not_exist_grants_nothing(role: int) -> None:
    project, person = make_project(), make_person()
    member = make_member(project, person, Member.Role.GUEST)
    Member.objects.filter(pk=member.pk).update(role=role)
    assert not any(can(person.identity, p, project) for p in P)
    assert roles_in(person.identity, project) == []


# -- robots (contract 4.5; the answers are those of a real Harbor's token service)


def test_a_project_robot_that_pushes_also_pulls() -> None:
    project = make_project()
    bot = identity_of(make_robot((project.name, ["repository:push"])))
    assert can(bot, P.REPOSITORY_PULL, project)


def test_a_system_robot_that_pushes_does_not_pull() -> None:
    project = make_project()
    bot = identity_of(make_robot((project.name, ["repository:push"]), level="system"))
    assert can(bot, P.REPOSITORY_PUSH, project)
    assert not can(bot, P.REPOSITORY_PULL, project)


def test_a_robot_holds_nothing_elsewhere() -> None:
    project, other = make_project(), make_project()
    bot = identity_of(make_robot((project.name, ["repository:pull"])))
    assert not any(can(bot, p, other) for p in P)
    assert not any(can(bot, p) for p in P)


def test_a_robot_of_all_projects() -> None:
    bot = identity_of(make_robot(("*", ["repository:pull"]), level="system"))
    assert can(bot, P.REPOSITORY_PULL, make_project())
    assert not can(bot, P.REPOSITORY_PUSH, make_project())


def test_public_projects_are_open_to_robots_of_projects_and_not_of_the_system(library: Project) -> None:
    of_project = identity_of(make_robot((make_project().name, ["tag:list"])))
    of_system = identity_of(make_robot(("/", ["catalog:read"]), level="system"))
    assert can(of_project, P.REPOSITORY_PULL, library)
    assert not can(of_system, P.REPOSITORY_PULL, library)
    assert can(of_system, P.CATALOG_READ)


def test_a_robot_of_a_deleted_project_does_not_get_its_successor() -> None:
    from rbac import actions

    project = make_project("short-lived")
    bot = make_robot(("short-lived", ["repository:pull"]), level="system")
    actions.delete_project(ADMIN, project)
    successor = make_project("short-lived")
    assert not can(identity_of(bot), P.REPOSITORY_PULL, successor)
    assert bot.robot
    assert robots.shown_permissions([bot.robot]) == [[]]


def test_a_denied_access_is_not_granted() -> None:
    access = [
        {"resource": "repository", "action": "pull"},
        {"resource": "repository", "action": "push", "effect": "deny"},
    ]
    entry = {"kind": "project", "namespace": "x", "namespace_id": 5, "access": access}
    assert parse_robot_grants("system", [entry]).namespaces[5] == {P.REPOSITORY_PULL}


def test_what_the_catalogue_does_not_know_grants_nothing() -> None:
    entry = {"kind": "system", "namespace": "/", "access": [{"resource": "moon", "action": "land"}]}
    assert not parse_robot_grants("system", [entry]).system


# -- networks


@pytest.mark.parametrize(
    ("networks", "address", "inside"),
    [((), "", True), (("10.0.0.0/8",), "10.2.3.4", True), (("10.0.0.0/8",), "11.0.0.1", False),
     (("10.0.0.0/8", "::1/128"), "::1", True), (("10.0.0.0/8",), "::ffff:10.1.1.1", True), (("10.0.0.0/8",), "", False),
     (("nonsense",), "10.0.0.1", False), (("0.0.0.0/0",), "192.0.2.1", True), (("0.0.0.0/0",), "2001:db8::1", False)],
)  # fmt: skip
def test_networks(networks: tuple[str, ...], address: str, inside: bool) -> None:
    assert is_from(networks, address) is inside


def test_a_project_limited_to_networks(alice: Person, library: Project) -> None:
    library.networks = ["10.0.0.0/8"]
    near = dataclasses.replace(alice.identity, address="10.1.2.3")
    far = dataclasses.replace(alice.identity, address="192.0.2.1")
    assert can(near, P.REPOSITORY_PULL, library)
    assert not can(far, P.REPOSITORY_PULL, library)
    assert not can(dataclasses.replace(NOBODY, address="192.0.2.1"), P.REPOSITORY_PULL, library)
    assert can(ADMIN, P.PROJECT_UPDATE, library)  # or nobody could mend it


# -- reasons


def test_a_refusal_names_rule_principal_fix_and_who(bob: Person, library: Project) -> None:
    with pytest.raises(errors.Forbidden) as info:
        require(bob.identity, P.MEMBER_CREATE, library)
    assert info.value.message == "forbidden"
    assert info.value.detail == {
        "rule": "member:create in project library",
        "principal": "user bob",
        "fix": "a role in project library that holds member:create: projectAdmin",
        "who": "an administrator of project library, if there is such a project, or a system administrator",
    }


def test_a_refusal_by_the_system_says_the_callers_name(bob: Person) -> None:
    with pytest.raises(errors.Forbidden) as info:
        require(bob.identity, P.USER_LIST)
    assert (info.value.message, info.value.code, info.value.status) == ("bob", "FORBIDDEN", 403)


def test_anonymous_is_told_to_sign_in(library: Project) -> None:
    with pytest.raises(errors.Unauthorized) as info:
        require(NOBODY, P.REPOSITORY_PUSH, library)
    assert (info.value.message, info.value.status) == ("unauthorized", 401)
    assert info.value.detail["fix"].startswith("sign in")


def test_absent_and_hidden_projects_are_told_the_same(charlie: Person) -> None:
    hidden = make_project()
    with pytest.raises(errors.RegistryError) as info:
        require(charlie.identity, P.PROJECT_READ, hidden)
    absent = absent_project(charlie.identity, P.PROJECT_READ, hidden.name)
    assert type(info.value) is type(absent)
    assert (info.value.message, info.value.detail) == (absent.message, absent.detail)
    with pytest.raises(errors.Unauthorized) as unknown:
        require(NOBODY, P.PROJECT_READ, hidden)
    absent = absent_project(NOBODY, P.PROJECT_READ, hidden.name)
    assert (unknown.value.message, unknown.value.detail) == (absent.message, absent.detail)


def test_a_system_administrator_learns_that_a_project_is_absent() -> None:
    error = absent_project(ADMIN, P.PROJECT_READ, "gone")
    assert (error.status, error.message) == (404, "project gone not found")


def test_standing_and_decision_are_separate(bob: Person, library: Project) -> None:
    standing = standing_in(bob.identity, library)
    assert (standing.namespace_id, standing.public, standing.roles) == (library.namespace_id, True, (2,))
    assert P.REPOSITORY_PUSH in held(bob.identity, standing)
