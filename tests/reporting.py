"""What a test has done, shown at the end of the run though it passed: a bad day that never came proves nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest

Report = Callable[[str], None]
_NAME = "what the bad days did"


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Report:
    """`report("200 pushes, 12 kills")`: a line of the run's last section, whatever the verbosity and pass or fail."""

    def add(text: str) -> None:
        # pytest-xdist carries the properties of an item to the process that prints.
        request.node.user_properties.append((_NAME, text))

    return add


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    lines: dict[str, list[str]] = {}
    for results in terminalreporter.stats.values():
        for result in results:
            # One each of setup, call and teardown: the last says all.
            if isinstance(result, pytest.TestReport):
                texts = [str(text) for name, text in result.user_properties if name == _NAME]
                lines[result.nodeid] = max(lines.get(result.nodeid, []), texts, key=len)
    if any(lines.values()):
        terminalreporter.section(_NAME)
        for test, texts in sorted(lines.items()):
            for text in texts:
                terminalreporter.line(f"{test}: {text}")
