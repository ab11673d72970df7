"""Statements that are planned once a connection (registry_core/statements.py)."""

from __future__ import annotations

import pytest
from django.conf import LazySettings
from django.db import DataError, connection, transaction

from registry_core.statements import UNHURRIED, Statement, run_all

pytestmark = pytest.mark.django_db(transaction=True)

PUT = Statement(
    "test_put", "INSERT INTO registry_core_setting (name, value) VALUES (%(name)s, to_jsonb(%(value)s::int))"
)
SUM = Statement("test_sum", "SELECT sum(value::int), '100%%' FROM registry_core_setting")
PLANS = "SELECT count(*) FROM pg_prepared_statements WHERE name LIKE 'test_%'"


def plans() -> int:
    with connection.cursor() as cursor:
        cursor.execute(PLANS)
        return int(cursor.fetchone()[0])


def put_two_and_sum() -> tuple[int, str]:
    with connection.cursor() as cursor:
        run_all(cursor, [(PUT, {"name": "a'%s;", "value": 1}), (PUT, {"name": "b", "value": 2}), (SUM, {})])
        total, percent = cursor.fetchone()
    return total, percent


def test_those_that_travel_together_see_what_the_ones_before_did() -> None:
    assert put_two_and_sum() == (3, "100%")
    assert plans() == 2


def test_behind_a_pooler_nothing_is_prepared(settings: LazySettings) -> None:
    settings.PGBOUNCER = True
    assert put_two_and_sum() == (3, "100%")
    assert plans() == 0


def test_a_new_connection_prepares_anew() -> None:
    put_two_and_sum()
    connection.close()
    with connection.cursor() as cursor:
        SUM.run(cursor, {})
        assert cursor.fetchone() == (3, "100%")


def test_one_that_was_prepared_in_a_transaction_outlives_its_failure() -> None:
    with pytest.raises(DataError), transaction.atomic(), connection.cursor() as cursor:
        run_all(cursor, [(PUT, {"name": "a", "value": 1}), (PUT, {"name": "n" * 65, "value": 2})])
    assert put_two_and_sum() == (3, "100%")


def test_unhurried_lasts_for_its_transaction_only() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET synchronous_commit = on")
        cursor.execute(f"SELECT current_setting('synchronous_commit') WHERE {UNHURRIED}")
        assert cursor.fetchone() == ("off",)
        cursor.execute("SELECT current_setting('synchronous_commit')")
        assert cursor.fetchone() == ("on",)
