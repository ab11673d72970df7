"""The audit log's months, each a partition that is made ahead and dropped whole, and how many rows it holds.

What is over is counted once, so that no request counts it: hours for the log as a whole, days for each namespace.
"""

from __future__ import annotations

import datetime
from typing import Any

from django.conf import settings
from django.db import connection, transaction

MONTHS_AHEAD = 2
# Months come and go under the lock of the whole log. Who waits for it stands before all who write: it gives up soon,
# and is tried again the next time.
_PATIENCE = "SET LOCAL lock_timeout = '1s'"
_PARTITION = """
CREATE TABLE IF NOT EXISTS registry_core_auditlog_{name} PARTITION OF registry_core_auditlog
FOR VALUES FROM ('{first}') TO ('{end}')
"""


def ensure_partitions(today: datetime.date) -> list[str]:
    """Partitions of this month and the next ones; the names of those that were made now.

    A month whose first rows went into the default partition already stays there: nothing is lost, it is only not a
    table of its own.
    """
    return [name for ahead in range(MONTHS_AHEAD + 1) if (name := ensure_partition(month(today, ahead)))]


def ensure_partition(first: datetime.date) -> str:
    """The partition of the month that begins then; its name if it was made now."""
    end, name = month(first, 1), f"{first:%Y_%m}"
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass(%s) IS NULL", [f"registry_core_auditlog_{name}"])
        if not cursor.fetchone()[0] or _is_in_default(cursor, first, end):
            return ""
        cursor.execute(_PATIENCE)
        cursor.execute(_PARTITION.format(name=name, first=first, end=end))
    return name


def month(day: datetime.date, ahead: int) -> datetime.date:
    """The first day of the month that is so many after that of `day`."""
    months = day.year * 12 + day.month - 1 + ahead
    return datetime.date(months // 12, months % 12 + 1, 1)


def _is_in_default(cursor: Any, first: datetime.date, end: datetime.date) -> bool:
    cursor.execute(
        "SELECT EXISTS (SELECT 1 FROM registry_core_auditlog_default WHERE occurred_at >= %s AND occurred_at < %s)",
        [first, end],
    )
    return bool(cursor.fetchone()[0])


# -- retention

_OLD = """
SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = 'registry_core_auditlog'::regclass AND c.relname ~ '^registry_core_auditlog_[0-9]{4}_[0-9]{2}$'
    AND right(c.relname, 7) < %s ORDER BY 1
"""


def drop_old(today: datetime.date) -> list[str]:
    """Whole months older than the setting allows; the names of those that went."""
    if not settings.AUDIT_MONTHS:
        return []
    first = month(today, -settings.AUDIT_MONTHS)
    with connection.cursor() as cursor:
        cursor.execute(_OLD, [f"{first:%Y_%m}"])
        names = [name for (name,) in cursor.fetchall()]
    for name in names:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(_PATIENCE)
            cursor.execute(f"DROP TABLE {name}")
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM registry_core_auditlog_default WHERE occurred_at < %s", [first])
        cursor.execute("DELETE FROM registry_core_auditcount WHERE start < %s", [first])
    return [name[-7:] for name in names]


# -- counts

# namespace ids of rows that count no namespace: the whole log by hours, and the mark up to which days are counted.
WHOLE, DAYS_DONE = 0, -1
# Pulls are written late, by seconds; a web process that could not reach the database for longer has given up on lines.
SETTLE = datetime.timedelta(minutes=10)
HOUR, DAY = datetime.timedelta(hours=1), datetime.timedelta(days=1)

_HOURS = """
INSERT INTO registry_core_auditcount (namespace_id, start, rows)
SELECT 0, h, coalesce(n, 0)
FROM generate_series(%(from)s::timestamptz, %(until)s::timestamptz - interval '1 hour', interval '1 hour') AS h
LEFT JOIN (
    SELECT date_trunc('hour', occurred_at, 'UTC') AS hour, count(*) AS n FROM registry_core_auditlog
    WHERE occurred_at >= %(from)s AND occurred_at < %(until)s GROUP BY 1
) AS found ON found.hour = h
ON CONFLICT (namespace_id, start) DO UPDATE SET rows = excluded.rows
"""
_DAYS = """
INSERT INTO registry_core_auditcount (namespace_id, start, rows)
SELECT namespace_id, date_trunc('day', occurred_at, 'UTC'), count(*) FROM registry_core_auditlog
WHERE occurred_at >= %(from)s AND occurred_at < %(until)s AND namespace_id > 0 GROUP BY 1, 2
UNION ALL SELECT -1, %(until)s::timestamptz - interval '1 day', 0
ON CONFLICT (namespace_id, start) DO UPDATE SET rows = excluded.rows
"""
_BEGIN = """
SELECT coalesce(
    (SELECT max(start) + %s::interval FROM registry_core_auditcount WHERE namespace_id = %s),
    (SELECT date_trunc('day', min(occurred_at), 'UTC') FROM registry_core_auditlog))
"""


def count_finished(now: datetime.datetime) -> None:
    """Count the hours and days that are over and were not counted yet. Twice is once."""
    over = now.astimezone(datetime.UTC) - SETTLE
    hour = over.replace(minute=0, second=0, microsecond=0)
    for kind, length, until, count in ((WHOLE, HOUR, hour, _HOURS), (DAYS_DONE, DAY, hour.replace(hour=0), _DAYS)):
        with transaction.atomic(), connection.cursor() as cursor:
            # One counts at a time.
            cursor.execute("SELECT pg_advisory_xact_lock(hashtext('audit counts'))")
            cursor.execute(_BEGIN, [str(length), kind])
            begin = cursor.fetchone()[0]
            if begin is not None and begin < until:
                cursor.execute(count, {"from": begin, "until": until})
