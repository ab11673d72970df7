"""Transactions that a race broke off are tried again; what cannot be mended so is a sentence (design 3, Locks)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import psycopg2.errors
import pytest
from django.db import DatabaseError, DataError, IntegrityError, InterfaceError, OperationalError, connection

from registry_core import errors
from registry_core.locks import Vanished, name_keys, retrying
from registry_core.models import Setting


class FakeCause(Exception):
    """psycopg's errors carry the state in an attribute that only the server can set."""

    def __init__(self, pgcode: str) -> None:
        self.pgcode = pgcode


def failure(kind: type[DatabaseError], pgcode: str) -> DatabaseError:
    error = kind("broken off")
    error.__cause__ = FakeCause(pgcode)
    return error


AGAIN = [
    failure(OperationalError, "40001"),  # serialization failure
    failure(OperationalError, "40P01"),  # deadlock detected
    failure(IntegrityError, "23503"),  # foreign key violation
    Vanished(),
]


@pytest.mark.django_db(transaction=True)
def test_it_is_tried_three_times_more() -> None:
    for cause in AGAIN:
        attempts = itertools.count(1)
        Setting.objects.all().delete()
        assert fail(attempts, cause, times=3) == 4
        # Each attempt was a transaction of its own, and those that were broken off left nothing.
        assert list(Setting.objects.values_list("name", flat=True)) == ["attempt 4"]


@retrying
def fail(attempts: Iterator[int], cause: Exception, times: int) -> int:
    """Do something, and break off as often as that."""
    number = next(attempts)
    Setting.objects.create(name=f"attempt {number}", value=number)
    if number <= times:
        raise cause
    return number


@pytest.mark.django_db(transaction=True)
def test_then_the_client_is_told_to_come_back() -> None:
    for cause in AGAIN:
        attempts = itertools.count(1)
        with pytest.raises(errors.Unavailable) as refusal:
            fail(attempts, cause, times=100)
        assert next(attempts) == 5
        assert (refusal.value.code, refusal.value.status) == ("UNAVAILABLE", 503)
        assert refusal.value.headers == {"retry-after": "1"}


ENDS: list[tuple[Exception, type[Exception]]] = [
    (failure(OperationalError, "53100"), errors.InsufficientStorage),
    (failure(OperationalError, "58030"), errors.Unavailable),
    (failure(OperationalError, "57P01"), errors.Unavailable),
    (OperationalError("could not connect"), errors.Unavailable),
    (InterfaceError("connection already closed"), errors.Unavailable),
    (failure(DataError, "22P02"), DataError),
    (failure(IntegrityError, "23505"), IntegrityError),
    (errors.ManifestUnknown(), errors.ManifestUnknown),
    (ZeroDivisionError(), ZeroDivisionError),
]


@pytest.mark.django_db(transaction=True)
def test_everything_else_ends_it_at_once() -> None:
    """A database that is gone or full is a sentence; a defect stays the exception that it is."""
    for cause, kind in ENDS:
        attempts = itertools.count(1)
        with pytest.raises(kind):
            fail(attempts, cause, times=1)
        assert next(attempts) == 2


@pytest.mark.django_db(transaction=True)
def test_within_another_transaction_only_the_whole_is_tried_again() -> None:
    inner, outer = itertools.count(1), itertools.count(1)

    @retrying
    def part() -> int:
        if next(inner) == 1:
            raise Vanished
        return 1

    @retrying
    def whole() -> int:
        next(outer)
        return part()

    assert whole() == 1
    assert (next(inner), next(outer)) == (3, 3)


@pytest.mark.django_db(transaction=True)
def test_a_real_foreign_key_is_checked_within_the_transaction() -> None:
    """Not at its end, where the answer would be decided already (design 3, Locks)."""
    reached = False

    @retrying
    def work() -> None:
        nonlocal reached
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO registry_core_tag (repository_id, name, artifact_id, pushed_at) VALUES (0, 'x', 0, now())"
            )
        reached = True

    with pytest.raises(errors.Unavailable) as refusal:
        work()
    assert not reached
    assert isinstance(refusal.value.__cause__, IntegrityError)
    assert isinstance(refusal.value.__cause__.__cause__, psycopg2.errors.ForeignKeyViolation)


@pytest.mark.django_db
def test_no_key_between_tables_of_content_is_deferred() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT conname FROM pg_constraint WHERE contype = 'f' AND condeferrable "
            "AND conrelid::regclass::text ~ '^(registry_core|projects|rbac)_'"
        )
        assert cursor.fetchall() == []


def test_names_are_locked_in_one_order() -> None:
    digests = [f"sha256:{i:064x}" for i in range(50)]
    assert name_keys(7, digests) == sorted(name_keys(7, reversed(digests)))
    assert not set(name_keys(7, digests)) & set(name_keys(8, digests))
    assert all(-(1 << 63) <= key < 1 << 63 for key in name_keys(1 << 40, digests))
