"""What the decision costs: no round trip and no thread for whoever is known, and bounds on what is kept."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest

from projects.models import Project
from rbac import oci, sessions
from rbac.authn import basic
from registry_core import epochs, errors, hot_reads
from tests import hot
from tests.builders import Person, make_project
from tests.rbac.asking import AWAY, HOME, Case, Counted, authorize, caller, token_of

pytestmark = pytest.mark.django_db(transaction=True)


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
        await authorize(caller(authorization), case.name, "push")
        with Counted() as counted:
            for action in ("pull", "push"):
                await authorize(caller(authorization), case.name, action)
            await oci.authenticate(caller(authorization))
        assert counted.cost == (0, 0)

    hot.run(use)


def test_a_new_token_costs_nothing_once_keys_and_settings_are_known() -> None:
    case = Case()
    first, second = token_of(case.person, case.name), token_of(case.robot, case.name)

    async def use() -> None:
        await authorize(caller(first), case.name, "pull")
        with Counted() as counted:
            await authorize(caller(second), case.name, "push")
        assert counted.cost == (0, 0)

    hot.run(use)


def test_a_robot_signs_in_without_a_thread() -> None:
    case = Case()

    async def use() -> None:
        await authorize(caller(token_of_thread), case.name, "pull")
        with Counted() as counted:
            await authorize(caller(case.robot.basic), case.name, "push")
        assert counted.hops == 0
        assert counted.reads == ["rbac_robot", "rbac_robot"]

    token_of_thread = token_of(case.person, case.name)
    hot.run(use)


def test_a_password_is_computed_in_one_thread_and_then_known() -> None:
    case = Case()

    async def use() -> None:
        with Counted() as counted:
            await asyncio.gather(
                *(authorize(caller(case.person.basic), case.name, "push") for _ in range(10))
            )
        assert counted.hops <= 10
        with Counted() as counted:
            await authorize(caller(case.person.basic), case.name, "push")
        assert counted.cost == (0, 0)

    hot.run(use)


def test_a_failure_refuses_the_known_password_from_there_and_not_a_token() -> None:
    case = Case()
    token = token_of(case.person, case.name)
    wrong = "Basic " + base64.b64encode(f"{case.person.name}:Wrong-1x".encode()).decode()

    async def use() -> None:
        await authorize(caller(case.person.basic), case.name, "push")
        await authorize(caller(case.person.basic, AWAY), case.name, "push")
        for authorization in (wrong, case.person.basic):
            with pytest.raises(errors.Unauthorized):
                await authorize(caller(authorization), case.name, "push")
        await authorize(caller(token), case.name, "push")
        await authorize(caller(case.person.basic, AWAY), case.name, "push")

    hot.run(use)


def test_sessions_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "MAX_SESSIONS", 5)
    headers = [token_of(None, f"library/app{i}") for i in range(8)]

    async def use() -> None:
        for i, header in enumerate(headers):
            await authorize(caller(header), f"library/app{i}", "pull")
        assert len(sessions._sessions) == 5
        await authorize(caller(headers[0]), "library/app0", "pull")

    hot.run(use)


def test_rights_of_one_session_are_bounded(bob: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "MAX_RIGHTS", 3)
    projects = [make_project(public=True) for _ in range(5)]

    async def use() -> None:
        for project in projects:
            await authorize(caller(bob.basic), f"{project.name}/app", "pull")
        session = sessions.known(bob.basic, HOME)
        assert session is not None
        assert len(session.rights) <= 3

    hot.run(use)


def test_secrets_are_not_kept_in_memory(bob: Person) -> None:
    async def use() -> None:
        await authorize(caller(bob.basic), "library/app", "pull")
        assert not any(isinstance(k, str) and "Basic" in k for k in sessions._sessions)

    hot.run(use)


def test_many_sign_ins_at_once_are_told_to_come_back(bob: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(basic, "MAX_WAITING", 4)

    async def flood() -> list[Any]:
        guesses = ["Basic " + base64.b64encode(f"user{i}:Wrong-1x".encode()).decode() for i in range(30)]
        return await asyncio.gather(
            *(authorize(caller(guess), "library/app", "push") for guess in guesses), return_exceptions=True
        )

    answers = hot.run(flood)
    assert {type(a) for a in answers} == {errors.TooManyRequests, errors.Unauthorized}


def test_nothing_cached_decides_when_postgresql_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case()
    token = token_of(case.person, case.name)

    async def use() -> None:
        await authorize(caller(token), case.name, "pull")
        monkeypatch.setattr(epochs, "STALE", 0.0)

        async def away(*_: Any) -> Any:
            raise errors.Unavailable

        monkeypatch.setattr(hot_reads, "_run", away)
        with pytest.raises(errors.Unavailable):
            await authorize(caller(token), case.name, "pull")

    hot.run(use)


def test_a_credential_that_nobody_used_between_two_looks_is_forgotten_and_another_costs_nothing() -> None:
    case = Case()
    used, left = token_of(case.person, case.name), token_of(case.robot, case.name)

    async def use() -> None:
        for token in (used, left):
            await authorize(caller(token), case.name, "pull")
        sessions.forget_unused()
        assert len(sessions._sessions) == 2
        with Counted() as counted:
            await authorize(caller(used), case.name, "pull")
        assert counted.cost == (0, 0)
        sessions.forget_unused()
        assert set(sessions._sessions) == {used}
        await authorize(caller(left), case.name, "push")
        sessions.forget_unused()
        sessions.forget_unused()
        assert sessions._sessions == {}

    hot.run(use)
