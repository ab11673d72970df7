"""The audit log's months, each a partition of its own (design 2.10)."""

from __future__ import annotations

import datetime

import pytest
from django.db import connection

from registry_core import audit

pytestmark = pytest.mark.django_db

DECEMBER = datetime.date(2031, 12, 15)


def partition_of(at: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO registry_core_auditlog "
            "(username, operation, resource_type, resource, description, occurred_at) "
            "VALUES ('u', 'create', 'tag', 'r', 'd', %s) RETURNING tableoid::regclass::text",
            [at],
        )
        name: str = cursor.fetchone()[0]
    return name


def test_this_month_and_the_next_two_are_there_before_they_begin() -> None:
    assert audit.ensure_partitions(DECEMBER) == ["2031_12", "2032_01", "2032_02"]
    assert partition_of("2031-12-31 23:59:59.999+00") == "registry_core_auditlog_2031_12"
    assert partition_of("2032-01-01 00:00:00+00") == "registry_core_auditlog_2032_01"
    assert partition_of("2032-02-29 12:00:00+00") == "registry_core_auditlog_2032_02"


def test_a_second_time_makes_nothing() -> None:
    audit.ensure_partitions(DECEMBER)
    assert audit.ensure_partitions(DECEMBER) == []
    assert audit.ensure_partitions(datetime.date(2032, 1, 1)) == ["2032_03"]


def test_rows_of_a_month_that_nobody_expected_are_kept() -> None:
    assert partition_of("2031-12-05 00:00:00+00") == "registry_core_auditlog_default"
    assert audit.ensure_partitions(DECEMBER) == ["2032_01", "2032_02"]
    assert partition_of("2031-12-06 00:00:00+00") == "registry_core_auditlog_default"


def test_a_new_registry_has_the_month_that_runs() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass(format('registry_core_auditlog_%s', to_char(now(), 'YYYY_MM'))) IS NOT NULL")
        assert cursor.fetchone()[0]
