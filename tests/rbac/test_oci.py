"""Who may do what on /v2: challenges, tokens against the rights of the moment, networks, and what it costs."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Callable
from typing import Any, Self

import pytest
from django.test import Client

from projects import actions as project_actions
from projects.models import Project
from rbac import actions, oci, robots, sessions
from rbac.models import Member, Robot, User
from registry_core import configuration, epochs, errors, hot_reads, keys, threads, tokens
from registry_core.hooks import Action, Caller, Grant
from registry_core.references import parse_repository
from tests import hot
from tests.builders import ADMIN, Person, make_member, make_person, make_project, make_robot

pytestmark = pytest.mark.django_db(transaction=True)

BASE = "https://registry.example.com"
HOME, AWAY = "10.1.2.3", "192.0.2.9"
BASIC = 'Basic realm="harbor"'


def bearer(scope: str = "") -> str:
    challenge = f'Bearer realm="{BASE}/service/token",service="harbor-registry"'
    return f'{challenge},scope="{scope}"' if scope else challenge


def caller(authorization: str = "", address: str = HOME, method: str = "GET") -> Caller:
    return Caller(authorization, address, BASE, method)


def token_of(person: Person | None, *repositories: str, address: str = HOME) -> str:
    """An Authorization header with a token of the real token service."""
    headers = {"authorization": person.basic} if person else {}
    scopes = [f"repository:{name}:pull" for name in repositories]
    answer = Client(REMOTE_ADDR=address).get(
        "/service/token", {"service": "harbor-registry", "scope": scopes}, headers=headers
    )
    assert answer.status_code == 200, answer.content
    return f"Bearer {answer.json()['token']}"


async def _ask(who: Caller, name: str, action: Action) -> Grant:
    return await oci.authorize(who, parse_repository(name), action)


def ask(
    authorization: str, name: str, action: Action = "pull", *, address: str = HOME, method: str = "GET"
) -> Grant:
    return hot.run(lambda: _ask(caller(authorization, address, method), name, action))


def refused(
    authorization: str, name: str, action: Action = "pull", *, address: str = HOME, method: str = "GET"
) -> errors.RegistryError:
    with pytest.raises((errors.Unauthorized, errors.Denied)) as info:
        ask(authorization, name, action, address=address, method=method)
    assert set(info.value.detail) == {"rule", "principal", "fix", "who"}
    return info.value


def challenge_of(error: errors.RegistryError) -> str:
    return error.headers["www-authenticate"]


def doubled(text: str) -> str:
    return f"{text}: {text}"


def no_right(name: str, action: str) -> str:
    return doubled(f"unauthorized to access repository: {name}, action: {action}")


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
        hot.run(lambda: _ask(who, "library/app", "push"))
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


class Case:
    """A private project, somebody in it, a token that was used, and the change that must reach it."""

    def __init__(self) -> None:
        self.project = make_project("secret-project")
        self.name = "secret-project/app"
        self.person = make_person("dora")
        self.member = make_member(self.project, self.person, Member.Role.DEVELOPER)
        self.robot = make_robot(("secret-project", ["repository:push"]))
        self.root = make_person("root", sysadmin=True)

    @property
    def user(self) -> User:
        return User.objects.get(username__startswith="dora")

    @property
    def root_user(self) -> User:
        return User.objects.get(username="root")

    @property
    def robot_row(self) -> Robot:
        assert self.robot.robot
        return Robot.objects.get(pk=self.robot.robot.pk)


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
        await _ask(caller(token, method="PUT"), case.name, "push")
        assert sessions.known(token, HOME) is not None
        await hot.elsewhere(lambda: change(case))
        with pytest.raises((errors.Unauthorized, errors.Denied)):
            await _ask(caller(token, method="PUT"), case.name, "push")

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
        await _ask(caller(person.basic, method="PUT"), case.name, "push")
        await hot.elsewhere(lambda: change(case))
        with pytest.raises((errors.Unauthorized, errors.Denied)):
            await _ask(caller(person.basic, method="PUT"), case.name, "push")

    hot.run(use_change_use)


@pytest.mark.parametrize("who", ["user", "anonymous"])
def test_a_project_that_becomes_private_is_closed_to_tokens(charlie: Person, who: str) -> None:
    project = make_project(public=True)
    name = f"{project.name}/app"
    token = token_of(charlie if who == "user" else None, name)

    async def use_change_use() -> None:
        await _ask(caller(token), name, "pull")
        await hot.elsewhere(lambda: project_actions.update_metadata(project, {"public": "false"}, by="admin"))
        with pytest.raises(errors.Unauthorized):
            await _ask(caller(token), name, "pull")

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
        await _ask(caller(token), case.name, "push")
        before = sessions.known(token, HOME)
        await hot.elsewhere(lambda: actions.set_sysadmin(ADMIN, root, flag=False))
        with Counted() as counted:
            await _ask(caller(token), case.name, "push")
        assert sessions.known(token, HOME) is before
        assert counted.reads == ["registry_core_epochchange"]

    hot.run(use_change_use)


def test_a_token_of_a_robot_ends_with_the_robot() -> None:
    case = Case()
    Robot.objects.filter(pk=case.robot_row.pk).update(expires_at=int(time.time()) + 2)
    claims = tokens_claims(token_of(case.robot, case.name))
    assert claims["exp"] <= claims["iat"] + 2


def tokens_claims(header: str) -> dict[str, Any]:
    body = header.removeprefix("Bearer ").split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(body + "=="))
    return claims


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
            await _ask(caller(token, HOME), case.name, "push")
            with pytest.raises(errors.Denied) as info:
                await _ask(caller(token, AWAY), case.name, "push")
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
    assert tokens_claims(token_of(case.robot, case.name, address=AWAY))["access"][0]["actions"] == []


def test_a_public_project_limited_to_networks() -> None:
    project = make_project(public=True)
    Project.objects.filter(pk=project.pk).update(networks=["10.0.0.0/8"])
    token = token_of(None, f"{project.name}/app")
    ask(token, f"{project.name}/app", address=HOME)
    assert refused(token, f"{project.name}/app", address=AWAY).status == 403


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


# -- what it costs


class Counted:
    """What was asked of PostgreSQL by hot reads, and how often a thread was taken."""

    def __enter__(self) -> Self:
        self.reads: list[str] = []
        self.hops = 0
        self._run, self._submit = hot_reads._run, threads._pool.submit

        async def counted_run(method: Any, sql: str, args: Any) -> Any:
            self.reads.append(next(table for table in _TABLES if table in sql))
            return await self._run(method, sql, args)

        def counted_submit(*args: Any, **kwargs: Any) -> Any:
            self.hops += 1
            return self._submit(*args, **kwargs)

        hot_reads._run, threads._pool.submit = counted_run, counted_submit  # type: ignore[method-assign]
        return self

    def __exit__(self, *_: object) -> None:
        hot_reads._run, threads._pool.submit = self._run, self._submit  # type: ignore[method-assign]

    @property
    def cost(self) -> tuple[int, int]:
        return len(self.reads), self.hops


_TABLES = (
    "registry_core_epochchange",
    "registry_core_tokenkey",
    "registry_core_setting",
    "rbac_user",
    "rbac_robot",
    "projects_project",
)


@pytest.mark.parametrize("by", ["token", "basic", "robot", "limited"])
def test_a_known_caller_costs_no_round_trip_and_no_thread(by: str) -> None:
    case = Case()
    if by == "limited":
        Project.objects.filter(pk=case.project.pk).update(networks=["10.0.0.0/8"])
    authorization = {
        "token": lambda: token_of(case.person, case.name),
        "limited": lambda: token_of(case.person, case.name),
        "basic": lambda: case.person.basic,
        "robot": lambda: case.robot.basic,
    }[by]()

    async def use() -> None:
        await _ask(caller(authorization), case.name, "push")
        with Counted() as counted:
            for action in ("pull", "push"):
                await _ask(caller(authorization), case.name, action)
            await oci.authenticate(caller(authorization))
        assert counted.cost == (0, 0)

    hot.run(use)


def test_a_new_token_costs_nothing_once_keys_and_settings_are_known() -> None:
    case = Case()
    first, second = token_of(case.person, case.name), token_of(case.robot, case.name)

    async def use() -> None:
        await _ask(caller(first), case.name, "pull")
        with Counted() as counted:
            await _ask(caller(second), case.name, "push")
        assert counted.cost == (0, 0)

    hot.run(use)


def test_a_robot_signs_in_without_a_thread() -> None:
    case = Case()

    async def use() -> None:
        await _ask(caller(token_of_thread), case.name, "pull")
        with Counted() as counted:
            await _ask(caller(case.robot.basic), case.name, "push")
        assert counted.hops == 0
        assert counted.reads == ["rbac_robot", "rbac_robot"]

    token_of_thread = token_of(case.person, case.name)
    hot.run(use)


def test_a_password_is_computed_in_one_thread_and_then_known() -> None:
    case = Case()

    async def use() -> None:
        with Counted() as counted:
            await asyncio.gather(*(_ask(caller(case.person.basic), case.name, "push") for _ in range(10)))
        assert counted.hops <= 10
        with Counted() as counted:
            await _ask(caller(case.person.basic), case.name, "push")
        assert counted.cost == (0, 0)

    hot.run(use)


def test_a_failure_refuses_the_known_password_from_there_and_not_a_token() -> None:
    case = Case()
    token = token_of(case.person, case.name)
    wrong = "Basic " + base64.b64encode(f"{case.person.name}:Wrong-1x".encode()).decode()

    async def use() -> None:
        await _ask(caller(case.person.basic), case.name, "push")
        await _ask(caller(case.person.basic, AWAY), case.name, "push")
        for authorization in (wrong, case.person.basic):
            with pytest.raises(errors.Unauthorized):
                await _ask(caller(authorization), case.name, "push")
        await _ask(caller(token), case.name, "push")
        await _ask(caller(case.person.basic, AWAY), case.name, "push")

    hot.run(use)


def test_sessions_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "MAX_SESSIONS", 5)
    headers = [token_of(None, f"library/app{i}") for i in range(8)]

    async def use() -> None:
        for i, header in enumerate(headers):
            await _ask(caller(header), f"library/app{i}", "pull")
        assert len(sessions._sessions) == 5
        await _ask(caller(headers[0]), "library/app0", "pull")

    hot.run(use)


def test_rights_of_one_session_are_bounded(bob: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "MAX_RIGHTS", 3)
    projects = [make_project(public=True) for _ in range(5)]

    async def use() -> None:
        for project in projects:
            await _ask(caller(bob.basic), f"{project.name}/app", "pull")
        session = sessions.known(bob.basic, HOME)
        assert session is not None
        assert len(session.rights) <= 3

    hot.run(use)


def test_secrets_are_not_kept_in_memory(bob: Person) -> None:
    async def use() -> None:
        await _ask(caller(bob.basic), "library/app", "pull")
        assert not any(isinstance(k, str) and "Basic" in k for k in sessions._sessions)

    hot.run(use)


def test_many_sign_ins_at_once_are_told_to_come_back(bob: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    from rbac.authn import basic

    monkeypatch.setattr(basic, "MAX_WAITING", 4)

    async def flood() -> list[Any]:
        guesses = ["Basic " + base64.b64encode(f"user{i}:Wrong-1x".encode()).decode() for i in range(30)]
        return await asyncio.gather(
            *(_ask(caller(guess), "library/app", "push") for guess in guesses), return_exceptions=True
        )

    answers = hot.run(flood)
    assert {type(a) for a in answers} == {errors.TooManyRequests, errors.Unauthorized}


def test_nothing_cached_decides_when_postgresql_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case()
    token = token_of(case.person, case.name)

    async def use() -> None:
        await _ask(caller(token), case.name, "pull")
        monkeypatch.setattr(epochs, "STALE", 0.0)

        async def away(*_: Any) -> Any:
            raise errors.Unavailable

        monkeypatch.setattr(hot_reads, "_run", away)
        with pytest.raises(errors.Unavailable):
            await _ask(caller(token), case.name, "pull")

    hot.run(use)
