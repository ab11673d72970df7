"""Statements that PostgreSQL plans once a connection and not each time: planning is half the price of a small one."""

from __future__ import annotations

import re
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

from django.conf import settings
from django.db import transaction

# A row that says where a session stands need not outlive the database server: what was lost with it is asked for
# again, and no answer promised it. Added to a condition; it holds until the end of the transaction.
UNHURRIED = "(SELECT set_config('synchronous_commit', 'off', true)) = 'off'"

_PARAMETER = re.compile(r"%\((\w+)\)s")
_known: weakref.WeakKeyDictionary[Any, set[str]] = weakref.WeakKeyDictionary()


class Statement:
    """`name` is what the server's log and tests see; parameters are `%(so)s`. Types that PostgreSQL cannot infer are
    written as casts."""

    def __init__(self, name: str, sql: str, *, under: str = "") -> None:
        """`under`: settings of the planner, set before each time, since it may plan anew at any."""
        self.name, self.sql = name, f"{under}{sql}"
        parameters = list(dict.fromkeys(_PARAMETER.findall(sql)))
        numbers = {parameter: f"${i}" for i, parameter in enumerate(parameters, 1)}
        # By format, because the driver undoubles %% only where it has arguments.
        self._prepare = f"PREPARE {name} AS " + _PARAMETER.sub(lambda m: numbers[m[1]], sql).replace(
            "%%", "%"
        )
        inner = ", ".join(f"%({p})s" for p in parameters)
        self._execute = f"{under}EXECUTE {name} ({inner})" if inner else f"{under}EXECUTE {name}"

    def run(self, cursor: Any, arguments: Mapping[str, Any]) -> None:
        if settings.PGBOUNCER:  # hands a statement to a connection that has not prepared it
            cursor.execute(self.sql, arguments)
            return
        self.prepare(cursor)
        cursor.execute(self._execute, arguments)

    def prepare(self, cursor: Any) -> None:
        # Not through `connection`, which looks for the thread's own one each time.
        database = cursor.db
        known = _known.get(database.connection)
        if known is None:
            known = _known.setdefault(database.connection, set())
        if self.name not in known:
            # Beside the wrappers: it is no statement of anybody's transaction.
            with database.wrap_database_errors:
                cursor.cursor.execute(self._prepare)
            known.add(self.name)

    def text(self, cursor: Any, arguments: Mapping[str, Any]) -> str:
        """The prepared one with its arguments in it."""
        self.prepare(cursor)
        return str(cursor.cursor.mogrify(self._execute, arguments).decode())


Step = tuple[Statement, Mapping[str, Any]]


def run_all(cursor: Any, steps: Sequence[Step]) -> None:
    """One after the other, each with a snapshot of its own, in one round trip; the cursor has the last one's rows.

    Outside a transaction they are one.
    """
    if settings.PGBOUNCER:
        with transaction.atomic(savepoint=False):
            for statement, arguments in steps:
                statement.run(cursor, arguments)
        return
    cursor.execute("; ".join(statement.text(cursor, arguments) for statement, arguments in steps))
