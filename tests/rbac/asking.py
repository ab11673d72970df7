"""Asking /v2's decision as a web process would, and what it costs."""

from __future__ import annotations

import base64
import json
from typing import Any, Self

import pytest
from django.test import Client

from rbac import oci
from rbac.authn import basic
from rbac.models import Member, Robot, User
from rbac.permissions import Identity
from registry_core import errors, hot_reads, threads
from registry_core.hooks import Action, Caller, Grant
from registry_core.references import parse_repository
from tests import hot
from tests.builders import Person, make_member, make_person, make_project, make_robot

BASE = "https://registry.example.com"
HOME, AWAY = "10.1.2.3", "192.0.2.9"
BASIC = 'Basic realm="harbor"'


def bearer(scope: str = "") -> str:
    challenge = f'Bearer realm="{BASE}/service/token",service="harbor-registry"'
    return f'{challenge},scope="{scope}"' if scope else challenge


def identify(authorization: str, address: str = "192.0.2.1") -> Identity:
    """Who the REST side takes the sender of this header for."""
    account = basic.find_account(authorization, address)
    return account.identity(address) if account else Identity(address=address)


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


async def authorize(who: Caller, name: str, action: Action) -> Grant:
    """What is given without asking anybody is given by the whole decision as well."""
    known = oci.known_grant(who.authorization, who.address, parse_repository(name), action)
    try:
        grant = await oci.authorize(who, parse_repository(name), action)
    except errors.RegistryError:
        assert known is None
        raise
    assert known in (None, grant)
    return grant


def ask(
    authorization: str, name: str, action: Action = "pull", *, address: str = HOME, method: str = "GET"
) -> Grant:
    return hot.run(lambda: authorize(caller(authorization, address, method), name, action))


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


def claims_of(header: str) -> dict[str, Any]:
    body = header.removeprefix("Bearer ").split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(body + "=="))
    return claims


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
