"""The worker sends the audit log to a syslog server: after the answer, again when the server was away, never in a
request."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator

import pytest

from tests.collectors import Collector
from tests.components import process
from tests.components.breakwater import Breakwater


@pytest.fixture
def settings(registry: Breakwater) -> Iterator[Callable[..., int]]:
    """Changes settings, and answers with the status."""
    with registry.rest() as rest:
        yield lambda **values: rest.put("/configurations", json=values).status_code
        rest.put("/configurations", json={"skip_audit_log_database": False}).raise_for_status()
        rest.put("/configurations", json={"audit_log_forward_endpoint": ""}).raise_for_status()


def arrives(collector: Collector, text: str, *, seconds: float = 40) -> bool:
    deadline = time.monotonic() + seconds
    while not any(message.endswith(text) for message in collector.messages):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def logged(registry: Breakwater, name: str) -> int:
    with registry.rest() as rest:
        return len(rest.get("/auditlog-exts", params={"q": f"resource={name}"}).raise_for_status().json())


def test_a_change_reaches_the_server_and_waits_while_it_is_away(
    registry: Breakwater, settings: Callable[..., int]
) -> None:
    collector = Collector()
    endpoint = f"127.0.0.1:{collector.port}"
    assert settings(audit_log_forward_endpoint=endpoint) == 200
    first, second = f"p{secrets.token_hex(4)}", f"p{secrets.token_hex(4)}"
    registry.create_project(first)
    assert arrives(collector, f"create project: {first}")
    collector.close()
    began = time.monotonic()
    registry.create_project(second)
    assert time.monotonic() - began < 5  # nobody waits for the server
    time.sleep(6)  # the worker has tried at least once
    collector = Collector(collector.port)
    assert arrives(collector, f"create project: {second}")
    collector.close()
    assert (logged(registry, first), logged(registry, second)) == (1, 1)


def test_rows_may_go_to_the_server_only(registry: Breakwater, settings: Callable[..., int]) -> None:
    assert settings(skip_audit_log_database=True) == 400
    collector = Collector()
    assert settings(audit_log_forward_endpoint=f"tcp://127.0.0.1:{collector.port}", skip_audit_log_database=True) == 200
    name = registry.create_project()
    assert arrives(collector, f"create project: {name}")
    assert logged(registry, name) == 0
    collector.close()


def test_an_endpoint_that_nobody_listens_on_is_refused(registry: Breakwater, settings: Callable[..., int]) -> None:
    assert settings(audit_log_forward_endpoint=f"127.0.0.1:{process.free_port()}") == 400
    with registry.rest() as rest:
        assert rest.get("/configurations").json()["audit_log_forward_endpoint"]["value"] == ""
