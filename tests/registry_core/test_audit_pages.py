"""Any page of the audit log is what the whole list has there, whatever was counted before."""

from __future__ import annotations

import datetime
import random

import pytest
from django.db import connection

from registry_core import audit_months, audit_pages
from registry_core.audit_pages import Part

pytestmark = pytest.mark.django_db

BEGIN = datetime.datetime(2031, 11, 28, 7, tzinfo=datetime.UTC)
ROWS = 400


@pytest.fixture
def at() -> list[datetime.datetime]:
    """400 rows over five days, some at one moment, of namespaces 7, 8, 9 and none; when each was."""
    chosen = random.Random(5)
    moments = sorted(BEGIN + datetime.timedelta(minutes=chosen.randrange(5 * 24 * 60)) for _ in range(ROWS))
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM registry_core_auditlog")
        cursor.execute(
            "INSERT INTO registry_core_auditlog "
            "(username, operation, resource_type, resource, description, namespace_id, occurred_at) "
            "SELECT 'u', 'create', 'tag', 'r', 'd', nullif(namespace, 0), at FROM "
            "unnest(%s::bigint[], %s::timestamptz[]) AS new (namespace, at)",
            [[chosen.choice((7, 7, 8, 9, 0)) for _ in moments], moments],
        )
    return moments


def everything(namespaces: list[int] | None) -> list[int]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id FROM registry_core_auditlog WHERE %s OR namespace_id = ANY(%s) "
            "ORDER BY occurred_at DESC, id DESC",
            [namespaces is None, namespaces or []],
        )
        return [pk for (pk,) in cursor.fetchall()]


@pytest.mark.parametrize("counted_hours", [0, 30, 31, 75, 119, 500])
@pytest.mark.parametrize("namespaces", [None, [7], [7, 9], []])
def test_every_page_in_both_orders(
    at: list[datetime.datetime], counted_hours: int, namespaces: list[int] | None
) -> None:
    if counted_hours:
        audit_months.count_finished(BEGIN + datetime.timedelta(hours=counted_hours))
    part, whole = Part(namespaces), everything(namespaces)
    tally = part.tally()
    assert tally.total == len(whole)
    for size in (1, 7, 100, 1000):
        for offset in {0, 1, size, len(whole) // 2, max(len(whole) - size, 0), max(len(whole) - 3, 0), len(whole)}:
            found = [row.pk for row in part.read(tally, offset, size)]
            assert found == whole[offset : offset + size], (offset, size)
            found = [row.pk for row in part.read(tally, offset, size, oldest_first=True)]
            assert found == whole[::-1][offset : offset + size], (offset, size)


def test_what_comes_between_the_two_questions_moves_no_counted_page(at: list[datetime.datetime]) -> None:
    audit_months.count_finished(BEGIN + datetime.timedelta(hours=75))
    part, whole = Part(), everything(None)
    tally = part.tally()
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO registry_core_auditlog "
            "(username, operation, resource_type, resource, description, occurred_at) "
            "VALUES ('late', 'create', 'tag', 'r', 'd', %s)",
            [at[-1] + datetime.timedelta(days=1)],
        )
    assert [row.pk for row in part.read(tally, len(whole) - 50, 50)] == whole[-50:]


def test_a_crowd_of_new_rows_makes_the_total_an_estimate(
    at: list[datetime.datetime], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_pages, "MAX_OPEN", 50)
    part, whole = Part(), everything(None)
    tally = part.tally()
    assert (tally.is_exact, tally.total) == (False, 51)
    assert [row.pk for row in part.read(tally, 10, 20)] == whole[10:30]
    assert [row.pk for row in part.read(tally, 40, 10)] == whole[40:50]


def test_far_pages_look_at_few_rows(at: list[datetime.datetime]) -> None:
    """Beyond the middle of what is read the query runs from the other end."""
    audit_months.count_finished(BEGIN + datetime.timedelta(days=6))
    part = Part()
    window = part._window(part.tally(), ROWS - 10, ROWS)
    assert window.rows <= 20
    assert window.before + window.rows == ROWS
