"""Verbs on users, members and projects: rows, audit, epochs; and what a new registry holds (contract 7)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import transaction

from projects.models import Project
from rbac import actions, robots
from rbac.models import Member, Robot, User, UserGroup
from registry_core import epochs, errors
from registry_core.models import AuditLog, EpochChange, Namespace, Repository
from tests.builders import ADMIN, PASSWORD, Person, make_member, make_person, make_project, make_robot
from tests.rbac.asking import identify

pytestmark = pytest.mark.django_db


def create(**changes: Any) -> User:
    fields = {
        "username": "dora",
        "email": "dora@example.org",
        "realname": "Dora",
        "password": PASSWORD,
    } | changes
    return actions.create_user(ADMIN, **fields)


def audit_rows() -> list[tuple[str, str, str, str, str]]:
    rows = AuditLog.objects.order_by("-id").values_list(
        "username", "operation", "resource_type", "resource", "description"
    )
    return list(rows)


# -- what a new registry holds


def test_a_new_registry(library: Project) -> None:
    admin, anonymous = User.objects.order_by("pk")
    assert (admin.pk, admin.username, admin.sysadmin_flag, admin.deleted) == (1, "admin", True, False)
    assert (anonymous.pk, anonymous.username, anonymous.deleted) == (2, "anonymous", True)
    assert (library.pk, library.public, library.owner_id, library.owner_name) == (1, True, 1, "admin")
    assert library.metadata == {"public": "true"}
    assert Member.objects.get(project=library).role == Member.Role.PROJECT_ADMIN


def test_the_next_ones_get_numbers_behind_those_of_the_seeds() -> None:
    assert make_person().user.pk > 2  # type: ignore[union-attr]
    assert make_project().pk > 1


def test_a_second_start_changes_nothing() -> None:
    before = User.objects.get(pk=1).password
    assert actions.ensure_seed("Another-1x") is False
    assert User.objects.get(pk=1).password == before
    assert User.objects.count() == 2


# -- users: messages as a real Harbor gives them


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"password": "weak"}, "the password or secret must be 8-128, inclusively"),
        ({"password": "weak", "email": ""}, "the password or secret"),  # the password comes first
        ({"email": ""}, "email can't be empty"),
        ({"email": "a.example.org"}, "email with illegal format"),
        ({"email": "a@example"}, "email with illegal format"),
        ({"email": "a b@example.org"}, "email with illegal format"),
        ({"email": "x" * 250 + "@example.org"}, "email with illegal format"),
        ({"realname": ""}, "realname with illegal length"),
        ({"realname": "r" * 256}, "realname with illegal length"),
        ({"realname": "a,b"}, "realname contains illegal characters"),
        ({"comment": "c" * 31}, "comment with illegal length"),
        ({"username": ""}, "username with illegal length"),
        ({"username": "n" * 256}, "username with illegal length"),
        *(({"username": f"a{sign}"}, "username contains illegal characters") for sign in ',"~#%$\0'),
    ],
)
def test_users_that_are_refused(changes: dict[str, str], message: str) -> None:
    with pytest.raises(errors.BadRequest, match=message):
        create(**changes)


@pytest.mark.parametrize(
    "changes",
    [{"username": "a b"}, {"username": "a@b"}, {"username": "n" * 255}, {"email": "d+x@example.org"},
     {"email": "d@[127.0.0.1]"}, {"comment": "c" * 30}, {"realname": "r" * 255}, {"password": "Aa1" + "x" * 125}],
)  # fmt: skip
def test_users_that_are_taken(changes: dict[str, str]) -> None:
    assert create(**changes).pk


def test_names_and_emails_are_taken_once_in_their_spelling() -> None:
    create()
    for changes in ({}, {"email": "x@example.org"}, {"username": "x"}):
        with pytest.raises(errors.Conflict):
            create(**changes)
    create(username="DORA", email="DORA@example.org")


def test_a_long_address_is_no_work() -> None:
    import time

    began = time.thread_time()
    for email in ("a." * 120 + "@", "!" * 250, '"' + '"' * 200 + "@", "a@" + "b." * 120, "a@" + "-" * 240):
        with pytest.raises(errors.BadRequest):
            create(email=email)
    assert time.thread_time() - began < 0.5


def test_a_deleted_user_leaves_name_email_and_projects(bob: Person, library: Project) -> None:
    assert bob.user
    actions.delete_user(ADMIN, bob.user)
    assert not Member.objects.filter(user=bob.user).exists()
    row = User.objects.get(pk=bob.user.pk)
    assert (row.username, row.email) == (f"bob#{row.pk}", f"bob@example.org#{row.pk}")
    create(username="bob", email="bob@example.org")


def test_admin_and_oneself_stay() -> None:
    root = make_person(sysadmin=True)
    assert root.user
    for by, user in ((root.identity, User.objects.get(pk=1)), (root.identity, root.user)):
        with pytest.raises(errors.Forbidden, match=f"User with ID {user.pk} cannot be deleted"):
            actions.delete_user(by, user)


# -- members


def test_members_are_there_once_and_roles_exist(charlie: Person, library: Project) -> None:
    make_member(library, charlie, 3)
    with pytest.raises(errors.Conflict, match="The project member specified already exist"):
        make_member(library, charlie, 99)  # asked before the role
    with pytest.raises(errors.BadRequest, match="role is not in 1,2,3"):
        make_member(library, make_person(), 6)


def test_groups_are_members_too(library: Project) -> None:
    group = UserGroup.objects.create(name="team", type=3)
    member = actions.add_member(ADMIN, library, 2, who=group)
    assert (member.user, member.group) == (None, group)
    with pytest.raises(errors.Conflict):
        actions.add_member(ADMIN, library, 2, who=group)
    group.delete()
    assert not Member.objects.filter(pk=member.pk).exists()


# -- projects


def test_the_creator_owns_and_administers(charlie: Person) -> None:
    project = make_project(by=charlie.identity)
    assert charlie.user
    assert (project.owner_id, project.owner_name, project.public) == (charlie.user.pk, "charlie", False)
    assert Member.objects.get(project=project).user == charlie.user


def test_a_robots_project_belongs_to_the_first_administrator() -> None:

    robot = identify(make_robot(("/", ["project:create"]), level="system").basic, "192.0.2.1")
    assert make_project(by=robot).owner_name == "admin"


@pytest.mark.parametrize("name", ["", "A", "a..b", "a/b", "a b", "-a", "a_", "x" * 256])
def test_project_names(name: str) -> None:
    with pytest.raises(
        errors.BadRequest, match="project name is not in lower case or contains illegal characters"
    ):
        actions.create_project(ADMIN, name, {})


def test_a_project_name_is_taken_once() -> None:
    make_project("once")
    with pytest.raises(errors.Conflict, match="once"):
        make_project("once")


def test_a_project_with_repositories_stays() -> None:
    project = make_project()
    Repository.objects.create(namespace=project.namespace, path="app", is_listed=True)
    with pytest.raises(errors.Precondition, match="the project contains repositories, can not be deleted"):
        actions.delete_project(ADMIN, project)
    assert Project.objects.filter(pk=project.pk).exists()


def test_a_deleted_project_takes_members_and_robots_with_it(charlie: Person) -> None:
    project = make_project("short-lived")
    make_member(project, charlie, 1)
    make_robot(("short-lived", ["repository:pull"]))
    actions.delete_project(ADMIN, project)
    assert not Robot.objects.exists()
    assert not Namespace.objects.filter(name="short-lived").exists()
    assert Member.objects.filter(user=charlie.user).count() == 0
    make_project("short-lived")


# -- audit: words of a real Harbor (contract 6.9)


def test_every_change_is_written_down(library: Project) -> None:
    project = make_project("noted")
    project_rows = audit_rows()[0]
    dora = create()
    actions.update_profile(ADMIN, dora, email="d@example.org", realname="D")
    actions.set_sysadmin(ADMIN, dora, flag=True)
    actions.change_password(ADMIN, dora, "Another-1x")
    member = make_member(project, Person("dora", "", dora), 3)
    actions.change_role(ADMIN, member, 2)
    actions.remove_member(ADMIN, member)
    bot = make_robot(("noted", ["repository:pull"]))
    assert bot.robot
    robots.delete(ADMIN, bot.robot)
    actions.delete_user(ADMIN, dora)
    actions.delete_project(ADMIN, project)
    assert project_rows == ("admin", "create", "project", "noted", "create project: noted")
    assert audit_rows()[10::-1] == [
        ("admin", "create", "user", "dora", "create user with name: dora"),
        ("admin", "update", "user", "dora", "update user with name: dora"),
        (
            "admin",
            "update",
            "user",
            "dora",
            "update user with name: dora, add/remove user as system administrator",
        ),
        ("admin", "update", "user", "dora", "update user with name: dora, change user password"),
        ("admin", "create", "member", "dora", "create user member dora in project noted"),
        ("admin", "update", "member", "dora", "update user member dora in project noted"),
        ("admin", "delete", "member", "dora", "delete user member dora from project noted"),
        ("admin", "create", "robot", bot.name, f"create robot: {bot.name}"),
        ("admin", "delete", "robot", bot.name, f"delete robot: {bot.name}"),
        ("admin", "delete", "user", "dora", "delete user with name: dora"),
        ("admin", "delete", "project", "noted", "delete project: noted"),
    ]


def test_a_refused_change_leaves_nothing(library: Project) -> None:
    create()
    before = len(audit_rows()), epochs.current_seq()
    with pytest.raises(errors.Conflict):
        create()
    with pytest.raises(errors.BadRequest):
        actions.change_password(ADMIN, User.objects.get(username="dora"), "weak")
    assert (len(audit_rows()), epochs.current_seq()) == before


def test_an_address_that_is_none_is_no_obstacle() -> None:
    import dataclasses

    for address in ("", "unix:", "192.0.2.1", "::ffff:192.0.2.1"):
        actions.set_sysadmin(dataclasses.replace(ADMIN, address=address), make_person().user, flag=False)  # type: ignore[arg-type]


# -- epochs: each of these reaches what processes keep about the subject (design 3, Revocation)


def changes_of(subject: str) -> int:
    row = EpochChange.objects.filter(subject=subject).first()
    return row.seq if row else 0


@pytest.mark.parametrize(
    "change",
    [
        lambda user: actions.change_password(ADMIN, user, "Another-1x"),
        lambda user: actions.set_sysadmin(ADMIN, user, flag=True),
        lambda user: actions.update_profile(ADMIN, user, email="n@example.org", realname="n"),
        lambda user: actions.delete_user(ADMIN, user),
        lambda user: make_member(make_project(), Person(user.username, "", user), 3),
        lambda user: actions.change_role(ADMIN, Member.objects.filter(user=user)[0], 4),
        lambda user: actions.remove_member(ADMIN, Member.objects.filter(user=user)[0]),
    ],
)
def test_a_change_of_rights_raises_the_users_epoch(bob: Person, change: Callable[[User], object]) -> None:
    assert bob.user
    before = changes_of(bob.user.subject)
    change(bob.user)
    assert changes_of(bob.user.subject) > before


def test_raising_is_in_the_transaction_of_the_change(bob: Person) -> None:
    assert bob.user
    before = changes_of(bob.user.subject)
    with transaction.atomic():
        actions.set_sysadmin(ADMIN, bob.user, flag=True)
        assert changes_of(bob.user.subject) > before
        transaction.set_rollback(True)
    assert changes_of(bob.user.subject) == before
