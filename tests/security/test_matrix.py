"""Every route, asked by everybody, for what is theirs, what is their neighbours', and what is not there.

Each cell is a request in a transaction that is undone afterwards. What it should answer is said in expected.py and
routes.py; a refusal changes nothing in the database, and for who may not know, absent and forbidden look the same.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.db import connection, transaction

from api import contract
from api.urls import OPERATIONS
from tests import hot
from tests.api.conftest import Api, Reply
from tests.reporting import Report
from tests.security import expected
from tests.security.routes import ANSWERED, BY_CALLER, IN_PROJECTS, IN_SYSTEM, Route
from tests.security.world import ABSENT, Values, World, build

pytestmark = [pytest.mark.django_db, pytest.mark.slow]
WITHOUT_EFFECT = {"setScannerOfProject"}  # of a scanner that is not there (contract 7)
ABSENT_PROJECT = {"project": "nowhere", "project_id": str(ABSENT)}


@dataclass(frozen=True)
class Cell:
    """`status`: what is expected. `values`: what stands for the names in the route's path and body."""

    route: Route
    caller: str
    what: str
    values: Values
    status: int

    def is_answered_by(self, status: int) -> bool:
        return status not in (401, 403) and status < 500 if self.status == ANSWERED else status == self.status

    def __str__(self) -> str:
        return f"{self.route.operation} of {self.what} by {self.caller}"


def cells(world: World) -> Iterator[Cell]:
    for caller in expected.CALLERS:
        for route in IN_PROJECTS:
            for place in ("mine", "other", "public"):
                yield from _with_others(route, caller, place, world.places[place])
            yield _of_nothing(route, caller, world.places["mine"])
        for route in IN_SYSTEM:
            values = {**world.places["mine"], **world.places["system"]}
            yield from _with_others(route, caller, "system", values)
        for route, given, otherwise in BY_CALLER:
            status = 401 if caller in expected.UNKNOWN else given.get(caller, otherwise)
            yield Cell(route, caller, "the system", {}, status)


def _of_nothing(route: Route, caller: str, values: Values) -> Cell:
    """An absent project; behind a path without one, an absent id, which is the system's to know."""
    name = next((name for name in ("label", "robot") if route.path == f"/{name}s/{{{name}}}"), "")
    instead = {name: str(ABSENT)} if name else ABSENT_PROJECT
    known = expected.holds(caller, route.permission, "system") if name else caller == "system admin"
    return Cell(route, caller, "nothing", {**values, **instead}, route.of_nothing if known else _refused(caller))


def _with_others(route: Route, caller: str, place: str, values: Values) -> Iterator[Cell]:
    may = _may(route, caller, place)
    yield Cell(route, caller, place, values, route.ok if may else _refused(caller))
    for what, (instead, status) in route.others.items():
        yield Cell(
            route, caller, f"{what} in {place}", {**values, **instead}, status if may else _refused(caller)
        )


def _may(route: Route, caller: str, place: str) -> bool:
    if route.permission == "nothing":
        return True
    if route.permission == "admin":
        return caller == "system admin"
    if (route.permission == "sign-in" or route.needs_sign_in) and caller in expected.UNKNOWN:
        return False
    return route.permission == "sign-in" or expected.holds(caller, route.permission, place)


def _refused(caller: str) -> int:
    return 401 if caller in expected.UNKNOWN else 403


def fill(template: Any, values: Values) -> Any:
    """Text that is nothing but a number's name becomes the number: ids in bodies are numbers."""
    if isinstance(template, str):
        if template in ("{project_id}", "{free_label}"):
            return int(values[template.strip("{}")])
        for name, value in values.items():
            template = template.replace("{" + name + "}", value)
        return template
    if isinstance(template, dict):
        return {key: fill(value, values) for key, value in template.items()}
    return [fill(value, values) for value in template] if isinstance(template, list) else template


class State:
    """What the database holds, to the byte, in all tables of ours but the audit log, which refusals are told to."""

    def __init__(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT relname FROM pg_stat_user_tables WHERE relname ~ '^(registry_core|projects|rbac)_'"
            )
            tables = sorted(name for (name,) in cursor.fetchall() if "audit" not in name)
        assert len(tables) > 15
        self._query = " UNION ALL ".join(
            f"SELECT '{table}', md5(coalesce(string_agg(t::text, '|' ORDER BY t::text), '')) FROM {table} t"  # noqa: S608
            for table in tables
        )
        self.before = self.now()

    def now(self) -> Mapping[str, str]:
        with connection.cursor() as cursor:
            cursor.execute(self._query)
            return dict(cursor.fetchall())

    def changed(self) -> list[str]:
        now = self.now()
        return [table for table in now if now[table] != self.before[table]]


@dataclass
class Matrix:
    world: World
    wrong: list[str] = field(default_factory=list)
    refusals: dict[str, dict[str, str]] = field(default_factory=dict)
    statuses: Counter[int] = field(default_factory=Counter)

    def ask(self, cell: Cell, state: State) -> None:
        with transaction.atomic():
            reply = self._send(cell)
            changed = state.changed()
            transaction.set_rollback(True)
        self.statuses[reply.status] += 1
        if not cell.is_answered_by(reply.status):
            self.wrong.append(f"{cell}: {reply.status}, not {cell.status}: {reply.content[:200]!r}")
        elif changed and (cell.route.method in ("GET", "HEAD") or reply.status >= 400):
            self.wrong.append(f"{cell}: {reply.status}, but it changed {changed}")
        elif not changed and reply.status < 300 and self._should_change(cell):
            self.wrong.append(f"{cell}: {reply.status}, but nothing changed")
        if reply.status in (401, 403):
            self._keep_refusal(cell, reply)

    def _should_change(self, cell: Cell) -> bool:
        return (
            cell.what == "mine"
            and cell.route.method not in ("GET", "HEAD")
            and cell.route.operation not in WITHOUT_EFFECT
        )

    def _send(self, cell: Cell) -> Reply:
        path = fill(cell.route.path, cell.values)
        return self.world.callers[cell.caller].request(cell.route.method, path, fill(cell.route.body, cell.values))

    def _keep_refusal(self, cell: Cell, reply: Reply) -> None:
        """To who may not know, without the names that it sent, which may come back."""
        place = cell.what.rpartition(" ")[2]
        if place not in ("mine", "other", "nothing") or expected.holds(cell.caller, "project:read", place):
            return
        text = json.dumps(reply.body, sort_keys=True) if reply.content else ""
        for name in ("project", "project_id"):
            value = cell.values[name]
            text = text.replace(f'"{value}"', "«p»").replace(f"project {value}", "project «p»")
        key = f"{cell.route.method} {cell.route.path} {cell.route.body} by {cell.caller}"
        self.refusals.setdefault(key, {})[text] = cell.what


def test_who_may_what(admin: Api, report: Report) -> None:
    hot.forget_everything()
    world = build(admin)
    state = State()
    matrix = Matrix(world)
    asked = [cell for cell in cells(world) if cell.route.operation in OPERATIONS]
    for cell in asked:
        matrix.ask(cell, state)
    good = sum(count for status, count in matrix.statuses.items() if status < 300)
    report(f"{len(asked)} cells, {good} of them 2xx; {dict(sorted(matrix.statuses.items()))}")
    assert good > len(asked) / 6
    assert not matrix.wrong, "\n".join(matrix.wrong)
    told = [f"{key}: {texts}" for key, texts in matrix.refusals.items() if len(texts) > 1]
    assert not told, "refusals that tell what is there:\n" + "\n".join(told)


def test_the_matrix_asks_for_every_operation() -> None:
    routes = {route.operation for route in (*IN_PROJECTS, *IN_SYSTEM, *(row[0] for row in BY_CALLER))}
    assert set(OPERATIONS) - routes == set()
    assert routes <= {operation.id for operation in contract.operations()}
