"""The conformance suite of the OCI distribution-spec, with authentication on and every optional API asked for."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.components.breakwater import Breakwater
from tests.components.go_tools import require_go_tool

pytestmark = pytest.mark.slow

# What the spec lets a registry leave out. Nothing is left out here, so nothing may be skipped.
MAY_BE_SKIPPED: frozenset[str] = frozenset()
CASES = 1000


@dataclasses.dataclass(frozen=True)
class Outcome:
    exit_status: int
    output: str
    results: dict[str, Any]
    suite: ET.Element

    def cases(self, status: str) -> list[str]:
        """Failures are told by an attribute; the message is in <system-out>."""
        return [
            f"{case.get('name')}: {(case.findtext('system-out') or '').strip()}"
            for case in self.suite.iter("testcase")
            if case.get("status") == status
        ]


@pytest.fixture(scope="module")
def outcome(registry: Breakwater, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    results = tmp_path_factory.mktemp("conformance")
    # A token is good for the repositories that it names, and the suite asks for one at a time: a mount from the other
    # repository works without a second scope because anybody may read it.
    project = registry.create_project(public=True)
    robot = registry.create_robot(project)
    registry.configure(allow_sparse=True)
    environment = {
        "OCI_REGISTRY": registry.host,
        "OCI_TLS": "disabled",
        "OCI_USERNAME": robot.username,
        "OCI_PASSWORD": robot.secret,
        "OCI_REPO1": f"{project}/repo1",
        "OCI_REPO2": f"{project}/repo2",
        "OCI_VERSION": "dev",
        "OCI_DATA_SPARSE": "true",
        "OCI_RESULTS_DIR": str(results),
        "OCI_LOG": "error",
    }
    done = subprocess.run(
        [require_go_tool("conformance")],
        env={**os.environ, **environment},
        cwd=results,
        check=False,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=600,
    )
    registry.configure(allow_sparse=False)
    # A wrong configuration ends with status 0 and no report: that must not look like success.
    assert (results / "results.yaml").exists(), done.stdout
    _keep_report(results)
    return Outcome(
        done.returncode,
        done.stdout,
        yaml.safe_load((results / "results.yaml").read_text()),
        ET.parse(results / "junit.xml").getroot(),  # noqa: S314 (written by the program that was just run)
    )


def _keep_report(results: pathlib.Path) -> None:
    """report.html shows every request and answer; it is what one reads after a failure."""
    reports = pathlib.Path(__file__).resolve().parents[2] / "reports" / "conformance"
    reports.mkdir(parents=True, exist_ok=True)
    for file in results.iterdir():
        (reports / file.name).write_bytes(file.read_bytes())


def test_every_optional_api_was_asked_for(outcome: Outcome) -> None:
    config = outcome.results["config"]
    assert config["version"] == "dev"
    off = [
        name for name, value in _leaves({"apis": config["apis"], "data": config["data"]}) if value is not True
    ]
    assert off == []


def _leaves(tree: dict[str, Any], path: str = "") -> Iterator[tuple[str, object]]:
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{path}{name}.")
        else:
            yield f"{path}{name}", value


def test_nothing_fails(outcome: Outcome) -> None:
    assert outcome.cases("failure") == []
    assert outcome.cases("error") == []
    assert outcome.exit_status == 0, outcome.output[-2000:]


def test_nothing_is_skipped_that_the_spec_does_not_let_be_skipped(outcome: Outcome) -> None:
    verdicts = {**outcome.results["apis"], **outcome.results["data"]}
    assert {name for name, verdict in verdicts.items() if verdict != "Pass"} <= MAY_BE_SKIPPED
    assert [case for case in outcome.cases("skipped") if case.partition(":")[0] not in MAY_BE_SKIPPED] == []


def test_the_whole_suite_was_run(outcome: Outcome) -> None:
    totals = next(outcome.suite.iter("testsuite"))
    assert int(totals.get("tests", "0")) >= CASES
    assert (totals.get("failures"), totals.get("errors")) == ("0", "0")
