"""The audit log: where a row goes, its months and its counts (design 2.10, 5)."""

from __future__ import annotations

import datetime
import io
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import call_command
from django.db import OperationalError, connection

from registry_core import audit, audit_months, configuration
from registry_core.models import AuditForward, AuditLog, Setting

pytestmark = pytest.mark.django_db

DECEMBER = datetime.date(2031, 12, 15)


@pytest.fixture(autouse=True)
def read_anew() -> Iterator[None]:
    configuration._kept = None
    yield
    configuration._kept = None


def rows(sql: str, *values: Any) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        found: list[tuple[Any, ...]] = cursor.fetchall()
    return found


def partition_of(at: str, namespace: int | None = None) -> str:
    (found,) = rows(
        "INSERT INTO registry_core_auditlog "
        "(username, operation, resource_type, resource, description, namespace_id, occurred_at) "
        "VALUES ('u', 'create', 'tag', 'r', 'd', %s, %s) RETURNING tableoid::regclass::text",
        namespace,
        at,
    )
    return str(found[0])


# -- months


def test_this_month_and_the_next_two_are_there_before_they_begin() -> None:
    assert audit_months.ensure_partitions(DECEMBER) == ["2031_12", "2032_01", "2032_02"]
    assert partition_of("2031-12-31 23:59:59.999+00") == "registry_core_auditlog_2031_12"
    assert partition_of("2032-01-01 00:00:00+00") == "registry_core_auditlog_2032_01"
    assert partition_of("2032-02-29 12:00:00+00") == "registry_core_auditlog_2032_02"


def test_a_second_time_makes_nothing() -> None:
    audit_months.ensure_partitions(DECEMBER)
    assert audit_months.ensure_partitions(DECEMBER) == []
    assert audit_months.ensure_partitions(datetime.date(2032, 1, 1)) == ["2032_03"]


def test_rows_of_a_month_that_nobody_expected_are_kept() -> None:
    assert partition_of("2031-12-05 00:00:00+00") == "registry_core_auditlog_default"
    assert audit_months.ensure_partitions(DECEMBER) == ["2032_01", "2032_02"]
    assert partition_of("2031-12-06 00:00:00+00") == "registry_core_auditlog_default"


def test_a_new_registry_has_the_month_that_runs() -> None:
    ((is_there,),) = rows("SELECT to_regclass('registry_core_auditlog_' || to_char(now(), 'YYYY_MM')) IS NOT NULL")
    assert is_there


def test_months_older_than_the_setting_go_whole(settings: Any) -> None:
    settings.AUDIT_MONTHS = 2
    for first in ("2031-09-01", "2031-10-01", "2031-11-01", "2031-12-01"):
        audit_months.ensure_partition(datetime.date.fromisoformat(first))
        partition_of(f"{first} 10:00:00+00")
    assert partition_of("2031-08-03 10:00:00+00") == "registry_core_auditlog_default"
    gone = audit_months.drop_old(DECEMBER)
    assert "2031_09" in gone
    assert not {"2031_10", "2031_11", "2031_12"} & set(gone)
    left = rows("SELECT occurred_at::date::text FROM registry_core_auditlog WHERE resource = 'r' ORDER BY 1")
    assert [day for (day,) in left] == ["2031-10-01", "2031-11-01", "2031-12-01"]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("change", ["make", "drop"])
def test_a_month_waits_for_no_reader_and_so_no_writer_for_the_month(settings: Any, change: str) -> None:
    settings.AUDIT_MONTHS = 2
    audit_months.ensure_partition(datetime.date(2031, 9, 1))
    reader = connection.copy()
    try:
        reader.set_autocommit(False)
        with reader.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM registry_core_auditlog")
        with pytest.raises(OperationalError, match="lock timeout"):
            audit_months.drop_old(DECEMBER) if change == "drop" else audit_months.ensure_partitions(DECEMBER)
        audit.record("alice", "create", "project", "meanwhile")
        assert AuditLog.objects.filter(resource="meanwhile").exists()
    finally:
        reader.close()
    assert (audit_months.drop_old(DECEMBER) if change == "drop" else audit_months.ensure_partitions(DECEMBER)) != []


def test_without_a_setting_nothing_goes(settings: Any) -> None:
    settings.AUDIT_MONTHS = 0
    partition_of("2001-08-03 10:00:00+00")
    assert audit_months.drop_old(DECEMBER) == []
    assert rows("SELECT 1 FROM registry_core_auditlog WHERE occurred_at < '2002-01-01'")


# -- counts


def counts(namespace: int) -> dict[str, int]:
    found = rows(
        "SELECT to_char(start AT TIME ZONE 'UTC', 'MM-DD HH24'), rows FROM registry_core_auditcount "
        "WHERE namespace_id = %s ORDER BY start",
        namespace,
    )
    return dict(found)


def moment(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text).replace(tzinfo=datetime.UTC)


def test_hours_that_are_over_are_counted_once() -> None:
    rows("DELETE FROM registry_core_auditlog RETURNING 1")
    for at in ("10:05", "10:59:59.9", "12:00", "13:30"):
        partition_of(f"2031-12-05 {at}+00")
    audit_months.count_finished(moment("2031-12-05T13:05:00"))
    begun = {f"12-05 {hour:02}": 0 for hour in range(10)}
    assert counts(audit_months.WHOLE) == begun | {"12-05 10": 2, "12-05 11": 0}
    audit_months.count_finished(moment("2031-12-05T13:15:00"))
    assert counts(audit_months.WHOLE)["12-05 12"] == 1
    audit_months.count_finished(moment("2031-12-05T13:15:00"))
    assert sum(counts(audit_months.WHOLE).values()) == 3


def test_days_that_are_over_are_counted_for_each_namespace() -> None:
    rows("DELETE FROM registry_core_auditlog RETURNING 1")
    for at, namespace in (("05 10:00", 7), ("05 23:00", 7), ("05 23:30", 8), ("06 01:00", 7), ("05 01:00", None)):
        partition_of(f"2031-12-{at}+00", namespace)
    audit_months.count_finished(moment("2031-12-06T00:05:00"))
    assert counts(7) == {}
    audit_months.count_finished(moment("2031-12-06T02:00:00"))
    assert (counts(7), counts(8)) == ({"12-05 00": 2}, {"12-05 00": 1})
    audit_months.count_finished(moment("2031-12-07T02:00:00"))
    assert counts(7) == {"12-05 00": 2, "12-06 00": 1}


# -- where a row goes


def have(setting: str, value: object) -> None:
    Setting.objects.update_or_create(name=setting, defaults={"value": value})
    configuration._kept = None


def record(operation: str = "create", kind: str = "project") -> tuple[int, int]:
    """How many rows the log and the queue got."""
    before = AuditLog.objects.count(), AuditForward.objects.count()
    audit.record("alice", operation, kind, "thing", namespace_id=7, address="192.0.2.1")
    return AuditLog.objects.count() - before[0], AuditForward.objects.count() - before[1]


def test_a_row_says_who_did_what() -> None:
    assert record() == (1, 0)
    row = AuditLog.objects.latest("occurred_at", "id")
    assert (row.username, row.operation, row.resource_type, row.resource, row.description) == (
        "alice", "create", "project", "thing", "create project: thing",
    )  # fmt: skip
    assert (row.succeeded, row.namespace_id, row.address) == (True, 7, "192.0.2.1")


def test_an_event_that_is_switched_off_goes_nowhere() -> None:
    have("disabled_audit_log_event_types", "create_project, pull_artifact")
    have("audit_log_forward_endpoint", "h:514")
    assert record() == (0, 0)
    assert record("delete") == (1, 1)


@pytest.mark.parametrize(("skip", "expected"), [(False, (1, 1)), (True, (0, 1))])
def test_a_row_that_is_forwarded_may_skip_the_log(skip: bool, expected: tuple[int, int]) -> None:
    have("audit_log_forward_endpoint", "h:514")
    have("skip_audit_log_database", skip)
    assert record() == expected


def test_without_a_server_to_forward_to_nothing_is_skipped() -> None:
    have("skip_audit_log_database", True)
    assert record() == (1, 0)


@pytest.mark.parametrize("setting", ["pull_audit_log_disable", "disabled_audit_log_event_types"])
def test_pulls_can_be_left_out(setting: str) -> None:
    have(setting, True if setting.startswith("pull") else "pull_artifact")
    lines = [
        audit.Line("bob", operation, "artifact", "p/a:v1", "d", True, 7, None, moment("2031-12-05T10:00:00"))
        for operation in ("pull", "create")
    ]
    audit.write(lines)
    assert list(AuditLog.objects.filter(username="bob").values_list("operation", flat=True)) == ["create"]


def test_commands_of_the_operator_are_recorded_and_tell_no_value() -> None:
    AuditLog.objects.all().delete()
    call_command("setting", "ldap_search_password", "Secret-of-the-directory", stdout=io.StringIO())
    call_command("rotate_token_key", "--revoke", stdout=io.StringIO())
    found = AuditLog.objects.order_by("pk").values_list("username", "operation", "resource_type", "description")
    assert list(found) == [
        ("manage.py", "update", "configuration", "update configuration: ldap_search_password"),
        ("manage.py", "update", "token_key", "rotate token key, revoke those before it"),
    ]


def test_the_names_of_events_are_harbors() -> None:
    verbs, things = zip(*(name.split("_") for name in audit.EVENT_TYPES), strict=True)
    assert set(verbs) == {"create", "update", "delete", "pull", "login", "logout"}
    assert set(things) == {"artifact", "project", "repository", "user", "robot", "configuration", "member"}
    assert len(set(audit.EVENT_TYPES)) == 18
