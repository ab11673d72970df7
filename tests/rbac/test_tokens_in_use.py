"""A token in use: the names it is good for, the rights of the moment, and the networks of each request."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from projects import actions as project_actions
from projects.models import Project
from rbac import actions, oci, robots, sessions
from rbac.models import Member, Robot, User
from registry_core import configuration, epochs, errors, keys, tokens
from registry_core.hooks import Grant
from registry_core.references import parse_repository
from tests import hot
from tests.builders import ADMIN, Person, make_member, make_person, make_project
from tests.rbac.asking import (
    AWAY,
    BASIC,
    HOME,
    Case,
    Counted,
    ask,
    authorize,
    bearer,
    caller,
    challenge_of,
    claims_of,
    refused,
    token_of,
)

pytestmark = pytest.mark.django_db(transaction=True)


# -- what a token is good for (design 3, Tokens)


def test_a_token_is_good_for_the_repositories_it_names() -> None:
    project, person = make_project(), make_person()
    make_member(project, person, Member.Role.DEVELOPER)
    token = token_of(person, f"{project.name}/app")
    assert ask(token, f"{project.name}/app").actions == {"pull", "push"}
    for other in (f"{project.name}/app2", f"{project.name}/ap", f"{project.name}/app/x"):
        error = refused(token, other, "push")
        assert challenge_of(error) == bearer(f"repository:{other}:pull,push") + ',error="insufficient_scope"'
        ask(token_of(person, other), other)


def test_a_right_given_later_is_not_in_an_old_token() -> None:
    project, person = make_project(), make_person()
    member = make_member(project, person, Member.Role.GUEST)
    name = f"{project.name}/app"
    token = token_of(person, name)
    actions.change_role(ADMIN, member, Member.Role.DEVELOPER)
    assert "insufficient_scope" in challenge_of(refused(token, name, "push"))
    assert ask(token, name).actions == {"pull"}
    ask(token_of(person, name), name, "push")


def test_find_pull_grant_is_a_plain_no(charlie: Person, bob: Person) -> None:
    project = make_project()

    async def find(authorization: str, name: str) -> Grant | None:
        return await oci.find_pull_grant(caller(authorization), parse_repository(name))

    assert hot.run(lambda: find(charlie.basic, f"{project.name}/app")) is None
    assert hot.run(lambda: find(charlie.basic, "absent/app")) is None
    grant = hot.run(lambda: find(bob.basic, "library/app"))
    assert grant is not None
    assert "pull" in grant.actions
    # A token that does not name the source cannot read a private one.
    make_member(project, bob, Member.Role.DEVELOPER)
    token = token_of(bob, "library/app")
    assert hot.run(lambda: find(token, f"{project.name}/app")) is None


def forge(**changes: Any) -> str:
    """A token that is signed by the right key, with claims of our choice."""
    now = int(time.time())
    claims = {
        "iss": "harbor-token-issuer",
        "sub": "admin",
        "aud": "harbor-registry",
        "exp": now + 600,
        "nbf": now,
        "iat": now,
        "access": [{"type": "repository", "name": "library/app", "actions": ["pull", "push"]}],
        **changes,
    }
    key = keys.signing_key()
    return "Bearer " + tokens.sign(claims, key.private, key.kid)


@pytest.mark.parametrize(
    "own",
    [None, {}, {"s": "u:1", "q": 0}, {"s": "u:1", "n": {}},
     {"s": "u:1", "q": None, "n": {"library/app": 1}}, {"s": "u:1", "q": 0, "n": {}}],
)  # fmt: skip
def test_a_token_without_our_own_claims_is_nobodys(own: Any) -> None:
    error = refused(forge(bw=own) if own is not None else forge(), "library/app", "push")
    assert error.detail["principal"] == "anonymous"


def test_a_forged_token_is_nobodys(bob: Person) -> None:
    header, body, signature = token_of(bob, "library/app").removeprefix("Bearer ").split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    claims["bw"]["s"] = "u:1"
    changed = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    for token in (
        f"{header}.{changed}.{signature}",
        f"{header}.{body}.",
        f"{header}.{body}.{signature[:-4]}AAAA",
    ):
        assert refused(f"Bearer {token}", "library/app", "push").detail["principal"] == "anonymous"


# -- revocation: each cause ends, or reduces, a token that this process has used already


def disable_robot(case: Case) -> None:
    request = robots.parse_request("project", -1, robots.shown_permissions([case.robot_row])[0])
    robots.update(ADMIN, case.robot_row, request, description="", disable=True)


def take_push_from_robot(case: Case) -> None:
    pull = {
        "kind": "project",
        "namespace": "secret-project",
        "access": [{"resource": "repository", "action": "pull"}],
    }
    robots.update(
        ADMIN, case.robot_row, robots.parse_request("project", -1, [pull]), description="", disable=False
    )


def limit_networks(row: User | Robot) -> None:
    type(row).objects.filter(pk=row.pk).update(networks=["172.16.0.0/12"])
    epochs.raise_epoch(row.subject)


def limit_project(case: Case) -> None:
    Project.objects.filter(pk=case.project.pk).update(networks=["172.16.0.0/12"])
    epochs.raise_epoch(f"n:{case.project.namespace_id}")


def replace_project(case: Case) -> None:
    actions.delete_project(ADMIN, case.project)
    successor = make_project("secret-project")
    make_member(successor, case.person, Member.Role.DEVELOPER)


CAUSES: dict[str, tuple[str, Callable[[Case], object]]] = {
    "robot disabled": ("robot", disable_robot),
    "robot deleted": ("robot", lambda c: robots.delete(ADMIN, c.robot_row)),
    "robot re-keyed": ("robot", lambda c: robots.renew_secret(ADMIN, c.robot_row)),
    "robot reduced": ("robot", take_push_from_robot),
    "robot's networks": ("robot", lambda c: limit_networks(c.robot_row)),
    "project of the robot deleted": ("robot", lambda c: actions.delete_project(ADMIN, c.project)),
    "user deleted": ("user", lambda c: actions.delete_user(ADMIN, c.user)),
    "password": ("user", lambda c: actions.change_password(ADMIN, c.user, "Another-1x")),
    "role": ("user", lambda c: actions.change_role(ADMIN, c.member, Member.Role.GUEST)),
    "membership": ("user", lambda c: actions.remove_member(ADMIN, c.member)),
    "user's networks": ("user", lambda c: limit_networks(c.user)),
    "project deleted": ("user", lambda c: actions.delete_project(ADMIN, c.project)),
    "project replaced by one of its name": ("user", replace_project),
    "project's networks": ("user", limit_project),
    "admin flag": (
        "root",
        lambda c: actions.set_sysadmin(ADMIN, c.root_user, flag=False),
    ),
    "read-only mode": ("user", lambda _: configuration.set_values({"read_only": True})),
}


@pytest.mark.parametrize("cause", CAUSES)
def test_revocation_reaches_a_token_in_use(cause: str) -> None:
    who, change = CAUSES[cause]
    case = Case()
    person = {"user": case.person, "robot": case.robot, "root": case.root}[who]
    token = token_of(person, case.name)

    async def use_change_use() -> None:
        await authorize(caller(token, method="PUT"), case.name, "push")
        assert sessions.known(token, HOME) is not None
        await hot.elsewhere(lambda: change(case))
        with pytest.raises((errors.Unauthorized, errors.Denied)):
            await authorize(caller(token, method="PUT"), case.name, "push")

    hot.run(use_change_use)


# Whoever is a member of the new project may push there with a password, under whatever name.
@pytest.mark.parametrize(
    "cause", [cause for cause in CAUSES if cause != "project replaced by one of its name"]
)
def test_revocation_reaches_basic_credentials_in_use(cause: str) -> None:
    who, change = CAUSES[cause]
    case = Case()
    person = {"user": case.person, "robot": case.robot, "root": case.root}[who]

    async def use_change_use() -> None:
        await authorize(caller(person.basic, method="PUT"), case.name, "push")
        await hot.elsewhere(lambda: change(case))
        with pytest.raises((errors.Unauthorized, errors.Denied)):
            await authorize(caller(person.basic, method="PUT"), case.name, "push")

    hot.run(use_change_use)


@pytest.mark.parametrize("who", ["user", "anonymous"])
def test_a_project_that_becomes_private_is_closed_to_tokens(charlie: Person, who: str) -> None:
    project = make_project(public=True)
    name = f"{project.name}/app"
    token = token_of(charlie if who == "user" else None, name)

    async def use_change_use() -> None:
        await authorize(caller(token), name, "pull")
        await hot.elsewhere(lambda: project_actions.update_metadata(project, {"public": "false"}, by="admin"))
        with pytest.raises(errors.Unauthorized):
            await authorize(caller(token), name, "pull")

    hot.run(use_change_use)


def test_a_token_of_before_a_change_is_refused_by_a_process_that_sees_it_first() -> None:
    case = Case()
    token = token_of(case.person, case.name)
    actions.remove_member(ADMIN, case.member)
    assert challenge_of(refused(token, case.name, "push")) == BASIC


def test_a_change_of_somebody_else_is_no_reason_to_ask_again() -> None:
    case = Case()
    token, root = token_of(case.person, case.name), case.root_user

    async def use_change_use() -> None:
        await authorize(caller(token), case.name, "push")
        before = sessions.known(token, HOME)
        await hot.elsewhere(lambda: actions.set_sysadmin(ADMIN, root, flag=False))
        with Counted() as counted:
            await authorize(caller(token), case.name, "push")
        assert sessions.known(token, HOME) is before
        assert counted.reads == ["registry_core_epochchange"]

    hot.run(use_change_use)


def test_a_token_of_a_robot_ends_with_the_robot() -> None:
    case = Case()
    Robot.objects.filter(pk=case.robot_row.pk).update(expires_at=int(time.time()) + 2)
    claims = claims_of(token_of(case.robot, case.name))
    assert claims["exp"] <= claims["iat"] + 2


def test_a_token_made_with_the_older_of_two_secrets_lives_as_long_as_it() -> None:
    case = Case()
    robots.renew_secret(ADMIN, case.robot_row, keep_old=True)
    token = token_of(case.robot, case.name)  # the old secret, which is still good
    ask(token, case.name, "push")
    robots.renew_secret(ADMIN, case.robot_row)
    assert refused(token, case.name, "push").detail["principal"] == "anonymous"


# -- networks of each request, whatever is cached


def test_one_token_from_two_addresses() -> None:
    case = Case()
    Project.objects.filter(pk=case.project.pk).update(networks=["10.0.0.0/8"])
    token = token_of(case.person, case.name)

    async def alternate() -> None:
        for _ in range(2):
            await authorize(caller(token, HOME), case.name, "push")
            with pytest.raises(errors.Denied) as info:
                await authorize(caller(token, AWAY), case.name, "push")
            assert info.value.status == 403
            assert AWAY in info.value.detail["rule"]

    hot.run(alternate)


def test_a_limited_credential_from_two_addresses() -> None:
    case = Case()
    Robot.objects.filter(pk=case.robot_row.pk).update(networks=["10.0.0.0/8"])
    token = token_of(case.robot, case.name)
    for authorization in (token, case.robot.basic):
        ask(authorization, case.name, "push", address=HOME)
        assert refused(authorization, case.name, "push", address=AWAY).status == 403
    # Elsewhere the credential gets no token at all.
    assert claims_of(token_of(case.robot, case.name, address=AWAY))["access"][0]["actions"] == []


def test_a_public_project_limited_to_networks() -> None:
    project = make_project(public=True)
    Project.objects.filter(pk=project.pk).update(networks=["10.0.0.0/8"])
    token = token_of(None, f"{project.name}/app")
    ask(token, f"{project.name}/app", address=HOME)
    assert refused(token, f"{project.name}/app", address=AWAY).status == 403
