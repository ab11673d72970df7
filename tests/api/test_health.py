"""GET /health, /ping (contract 6.10)."""

from __future__ import annotations

import time

import pytest

from api import health
from tests.api.conftest import Api

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def just_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_started", time.monotonic())


def test_anybody_may_ask_and_components_are_sorted_by_name(anonymous: Api) -> None:
    reply = anonymous.get("/health")
    assert reply.status == 200
    assert reply.body == {
        "status": "healthy",
        "components": [
            {"name": name, "status": "healthy"}
            for name in ("core", "database", "jobservice", "redis", "registry")
        ],
    }


def test_a_component_that_hangs_is_unhealthy_within_its_time(
    anonymous: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(health.CHECKS, "registry", lambda: time.sleep(3))
    for _ in range(2):  # the second does not wait for the first one's check
        started = time.monotonic()
        reply = anonymous.get("/health")
        assert time.monotonic() - started < 2
        assert reply.status == 200
        assert reply.body["status"] == "unhealthy"
        (registry,) = [c for c in reply.body["components"] if c["name"] == "registry"]
        assert registry == {"name": "registry", "status": "unhealthy", "error": "no answer within 1 s"}
    time.sleep(2.5)


def test_a_component_that_fails_says_why(anonymous: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise ConnectionRefusedError("nobody listens")

    monkeypatch.setitem(health.CHECKS, "redis", refuse)
    (redis,) = [c for c in anonymous.get("/health").body["components"] if c["name"] == "redis"]
    assert redis == {
        "name": "redis",
        "status": "unhealthy",
        "error": "ConnectionRefusedError: nobody listens",
    }


def test_no_worker_is_unhealthy_once_one_had_time_to_start(
    anonymous: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "_started", time.monotonic() - 61)
    reply = anonymous.get("/health")
    assert reply.body["status"] == "unhealthy"
    assert {"name": "jobservice", "status": "unhealthy", "error": "RuntimeError: no worker"} in reply.body[
        "components"
    ]


def test_ping(anonymous: Api) -> None:
    reply = anonymous.get("/ping")
    assert (reply.status, reply.content, reply.headers["Content-Type"]) == (200, b"Pong", "text/plain")
