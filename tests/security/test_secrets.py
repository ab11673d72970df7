"""What was given as a secret is in no later answer, no line of the log and no row of the database."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator

import httpx
import psycopg2
import pytest

from api import contract
from tests.components.breakwater import ADMIN_PASSWORD, Breakwater
from tests.reporting import Report

pytestmark = pytest.mark.slow


def _mark(word: str) -> str:
    return f"Mark-{word}-{secrets.token_hex(8)}A1"


def _rows(server: Breakwater) -> Iterator[str]:
    connection = psycopg2.connect(server.database)
    try:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables "
                "WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
            )
            for (table,) in cursor.fetchall():
                cursor.execute(f"SELECT t::text FROM {table} t")  # noqa: S608  names from the catalogue
                yield from (f"{table}: {row}" for (row,) in cursor.fetchall())
    finally:
        connection.close()


def _given(server: Breakwater) -> dict[str, str]:
    """Each way in which a secret comes in or is made, and the secret."""
    given = {word: _mark(word) for word in ("password", "new password", "robot secret", "wrong password")}
    given = {word: mark.replace(" ", "-") for word, mark in given.items()}
    name = f"user-{secrets.token_hex(4)}"
    with server.rest() as rest:
        user = {"username": name, "email": f"{name}@example.org", "realname": name, "password": given["password"]}
        made = rest.post("/users", json=user)
        number = made.headers["Location"].rsplit("/", 1)[1]
        assert rest.put(f"/users/{number}/password", json={"new_password": given["new password"]}).is_success
        access = [{"resource": "label", "action": "read"}]
        robot = {
            "name": f"bot-{secrets.token_hex(4)}", "level": "system", "duration": 1,
            "permissions": [{"kind": "system", "namespace": "/", "access": access}],
        }  # fmt: skip
        made = rest.post("/robots", json=robot)
        given["made for a robot"] = made.json()["secret"]
        path = f"/robots/{made.json()['id']}"
        assert rest.patch(path, json={"secret": given["robot secret"]}).is_success
        given["made anew for a robot"] = rest.patch(path, json={"secret": ""}).json()["secret"]
    answer = httpx.get(f"{server.url}/service/token?service=harbor-registry", auth=(name, given["new password"]))
    given["a token"] = answer.json()["token"]
    httpx.get(f"{server.url}/v2/library/app/manifests/x", headers={"Authorization": f"Bearer {given['a token']}"})
    httpx.get(f"{server.url}/api/v2.0/users/current", auth=(name, given["wrong password"]))
    httpx.get(f"{server.url}/v2/", auth=(name, given["wrong password"]))
    return given | {"admin's first password": ADMIN_PASSWORD}


def test_secrets_go_nowhere(registry: Breakwater, report: Report) -> None:
    given = _given(registry)
    paths = [o.path for o in contract.operations() if o.method == "GET" and "{" not in o.path]
    shown: list[str] = []
    with registry.rest() as rest:
        shown += [f"{path}: {rest.get(path, params={'page_size': 100}).text}" for path in paths]
    time.sleep(11)  # what is written from memory is written by then (design 2.9)
    rows = list(_rows(registry))
    assert len(rows) > 20
    lines = [f"log: {line}" for line in registry.log.splitlines()]
    report(f"{len(given)} secrets, {len(shown)} answers, {len(rows)} rows, {len(lines)} lines of the log")
    found = [
        f"{word} in {text[:200]}"
        for word, secret in given.items()
        for text in (*shown, *rows, *lines)
        if secret in text or json.dumps(secret)[1:-1] in text
    ]
    assert found == []
