"""schemathesis reads our own description of the API and asks for everything in it, with values that it makes up.

The description (api/openapi.py) comes from the data that requests are validated by; drf-spectacular checks that it is
OpenAPI 3. No answer is a 5xx.
"""

from __future__ import annotations

import collections
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from drf_spectacular.validation import validate_schema
from hypothesis import HealthCheck, Phase, given, settings

from api import openapi
from api.urls import OPERATIONS
from tests.components.breakwater import ADMIN, Breakwater
from tests.contract.conftest import running
from tests.reporting import Report

EXAMPLES = 25  # of each operation
# Values that would end the run: nobody could change anything any more, or sign in.
KEPT = {"read_only", "auth_mode", "primary_auth_mode"}


@pytest.fixture(scope="module")
def server() -> Iterator[Breakwater]:
    with running() as server:
        yield server


def test_our_description_is_openapi() -> None:
    validate_schema(openapi.document(OPERATIONS))  # type: ignore[no-untyped-call]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the libraries that schemathesis brings
def test_no_value_breaks_an_operation(server: Breakwater, report: Report) -> None:
    described = schemathesis.openapi.from_dict(openapi.document(OPERATIONS))
    statuses: collections.Counter[int] = collections.Counter()
    broken: list[str] = []
    operations: list[Any] = [result.ok() for result in described.get_all_operations()]  # type: ignore[union-attr]
    with httpx.Client(base_url=f"{server.url}/api/v2.0", auth=ADMIN.pair, timeout=30) as client:
        for operation in operations:
            _ask(operation, client, statuses, broken)
    groups = collections.Counter({f"{status // 100}xx": 0 for status in statuses})
    for status, count in statuses.items():
        groups[f"{status // 100}xx"] += count
    report(f"{len(operations)} operations, {statuses.total()} requests: {dict(sorted(groups.items()))}")
    assert broken == []
    assert len(operations) == len(OPERATIONS)
    assert statuses.total() >= 10 * len(operations)
    assert groups["2xx"] > statuses.total() / 20


def _ask(
    operation: Any, client: httpx.Client, statuses: collections.Counter[int], broken: list[str]
) -> None:
    @settings(
        max_examples=EXAMPLES, deadline=None, database=None, phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck), derandomize=True,
    )  # fmt: skip
    @given(case=operation.as_strategy())
    def ask(case: Any) -> None:
        sent = case.as_transport_kwargs(base_url=str(client.base_url))
        body = sent.get("json")
        if isinstance(body, dict):
            body = {key: value for key, value in body.items() if key not in KEPT}
        answer = client.request(
            sent["method"], sent["url"], params=sent.get("params"), headers=dict(sent.get("headers") or {}),
            json=body, cookies=sent.get("cookies"),
        )  # fmt: skip
        statuses[answer.status_code] += 1
        if answer.status_code >= 500:
            broken.append(f"{sent['method']} {sent['url']} {body!r:.300}: {answer.status_code}")

    ask()
