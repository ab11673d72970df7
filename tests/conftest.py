"""Fixtures of the whole suite, and what it says at its end about components that were missing."""

from __future__ import annotations

import collections
from collections.abc import Generator, Iterator

import pytest
from django.db import connections
from django.test import TransactionTestCase
from pytest_django.plugin import DjangoDbBlocker

from tests.components.availability import SKIPPED
from tests.components.breakwater import Breakwater, registry
from tests.components.postgres import Postgres, database_name, django_database, postgres
from tests.components.valkey import Valkey, valkey

__all__ = ["django_database", "postgres", "registry", "valkey"]


@pytest.fixture(scope="session")
def django_db_setup(
    postgres: Postgres, valkey: Valkey, django_database: str, django_db_blocker: DjangoDbBlocker
) -> Iterator[None]:
    """Tests with the database use this worker's clone of the migrated template.

    After a test with real transactions it is replaced by a fresh clone: emptying tables, as Django would do,
    also removes the rows that migrations made, and leaves those of unmanaged tables.
    """

    def replace_database(case: TransactionTestCase) -> None:
        connections.close_all()
        postgres.clone(database_name(django_database))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, "_fixture_teardown", replace_database)
        yield
    with django_db_blocker.unblock():
        connections.close_all()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Function) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failed test shows what the registry said meanwhile."""
    report = yield
    if report.failed:
        for value in list(item.funcargs.values()):
            server = getattr(value, "registry", value)
            if isinstance(server, Breakwater):
                report.sections.append(("log of the registry", server.log[-8000:]))
                break
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    missing: collections.Counter[str] = collections.Counter()
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
        if SKIPPED in reason:
            missing[reason.partition(SKIPPED)[2]] += 1
    if missing:
        terminalreporter.section("Not run, because a component is missing on this machine")
        for component, count in sorted(missing.items()):
            terminalreporter.line(f"{count:4} tests: {component}")
