"""A page of the audit log, wherever it lies: what is counted is skipped, the rest is read from its nearer end.

No request counts the log: what is over was counted by the worker (audit_months), and of what is newer no more than
MAX_OPEN rows are.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any, NamedTuple

from django.db import connection

from registry_core.audit_months import DAY, DAYS_DONE, HOUR, WHOLE
from registry_core.models import AuditLog

MAX_OPEN = 100_000
_BEGINNING = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)

_COUNTED = """
SELECT (SELECT max(start) FROM registry_core_auditcount WHERE namespace_id = %s), coalesce(sum(rows), 0)::bigint
FROM registry_core_auditcount WHERE namespace_id = ANY(%s)
"""
_OPEN = "SELECT count(*) FROM (SELECT 1 FROM registry_core_auditlog WHERE {where} LIMIT %s) AS newer"
# Positions are counted from the newest of what is counted.
_AROUND = """
WITH one AS (
    SELECT start, sum(rows)::bigint AS n FROM registry_core_auditcount WHERE namespace_id = ANY(%s) GROUP BY start
), placed AS (
    SELECT start, n, (sum(n) OVER (ORDER BY start DESC))::bigint AS upto FROM one
)
SELECT min(start), max(start), min(upto - n), sum(n)::bigint FROM placed WHERE n > 0 AND upto > %s AND upto - n < %s
"""


class Tally(NamedTuple):
    """`counted` rows lie before `until`, `newer` ones after it."""

    until: datetime.datetime
    counted: int
    newer: int

    @property
    def total(self) -> int:
        return self.counted + self.newer

    @property
    def is_exact(self) -> bool:
        return self.newer <= MAX_OPEN


class _Window(NamedTuple):
    """`before` rows are newer than all of its `rows`."""

    since: datetime.datetime
    until: datetime.datetime | None
    before: int
    rows: int


class Part:
    """The whole log, or what it tells of some namespaces."""

    def __init__(self, namespaces: Sequence[int] | None = None) -> None:
        self._namespaces = namespaces
        self._counts = [WHOLE] if namespaces is None else list(namespaces)
        self._mark, self._length = (WHOLE, HOUR) if namespaces is None else (DAYS_DONE, DAY)

    def tally(self) -> Tally:
        with connection.cursor() as cursor:
            cursor.execute(_COUNTED, [self._mark, self._counts])
            start, counted = cursor.fetchone()
            until = start + self._length if start else _BEGINNING
            where, arguments = self._where(until, None)
            cursor.execute(_OPEN.format(where=where), [*arguments, MAX_OPEN + 1])
            return Tally(until, counted, cursor.fetchone()[0])

    def read(self, tally: Tally, offset: int, size: int, *, oldest_first: bool = False) -> list[AuditLog]:
        """`size` rows after the first `offset`."""
        first, last = offset, min(offset + size, tally.total)
        if first >= last:
            return []
        if oldest_first:
            first, last = tally.total - last, tally.total - first
        rows = self._between(tally, first, last)
        return rows[::-1] if oldest_first else rows

    def _between(self, tally: Tally, first: int, last: int) -> list[AuditLog]:
        """Newest first; positions are counted from the newest."""
        window = self._window(tally, first, last)
        skip, wanted = first - window.before, last - first
        from_below = skip > window.rows // 2 and (tally.is_exact or window.until is not None)
        where, arguments = self._where(window.since, window.until)
        way = "ASC" if from_below else "DESC"
        rows = AuditLog.objects.raw(
            f"SELECT * FROM registry_core_auditlog WHERE {where} "
            f"ORDER BY occurred_at {way}, id {way} OFFSET %s LIMIT %s",
            [*arguments, max(window.rows - skip - wanted, 0) if from_below else skip, wanted],
        )
        return list(rows)[::-1] if from_below else list(rows)

    def _window(self, tally: Tally, first: int, last: int) -> _Window:
        if last <= tally.newer:
            return _Window(tally.until, None, 0, tally.newer)
        with connection.cursor() as cursor:
            cursor.execute(_AROUND, [self._counts, first - tally.newer, last - tally.newer])
            since, newest, before, count = cursor.fetchone()
        if first < tally.newer:
            return _Window(since, None, 0, tally.newer + count)
        return _Window(since, newest + self._length, tally.newer + before, count)

    def _where(self, since: datetime.datetime, until: datetime.datetime | None) -> tuple[str, list[Any]]:
        conditions: list[str] = ["occurred_at >= %s"]
        arguments: list[Any] = [since]
        if until is not None:
            conditions.append("occurred_at < %s")
            arguments.append(until)
        if self._namespaces is not None:
            one = len(self._namespaces) == 1
            conditions.append("namespace_id = %s" if one else "namespace_id = ANY(%s)")
            arguments.append(self._namespaces[0] if one else list(self._namespaces))
        return " AND ".join(conditions), arguments
