"""How writers of content stay out of each other's way.

Lock order everywhere: repository, names of digests and tags (advisory), tag, artifacts by id, blobs by id, ledger pairs
by digest, quota row last. What PostgreSQL still breaks off is tried again (design 3, Locks).
"""

from __future__ import annotations

import contextlib
import functools
import zlib
from collections.abc import Callable, Iterable
from typing import ParamSpec, TypeVar

from django.db import DatabaseError, InterfaceError, OperationalError, transaction

from registry_core import errors

P = ParamSpec("P")
T = TypeVar("T")

ATTEMPTS = 4
# serialization failure, deadlock, and a row that went away between two statements
_AGAIN = frozenset({"40001", "40P01", "23503"})


# Before a statement that asks whether anything holds a few blobs. Where some blobs have very many edges the planner
# expects to meet one soon and reads the table of edges from its front; of a blob without any it then reads all.
BY_INDEX = "SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off;"


class Vanished(Exception):
    """A row that this transaction had found is gone; the whole of it is worth another try."""


def retrying(function: Callable[P, T]) -> Callable[P, T]:
    """Run in a transaction of its own; again when a race broke it off, three times at most, then 503.

    Inside somebody else's transaction it is part of that one: only the whole can be tried again.
    """

    return _again(function, transaction.atomic)


def alone(function: Callable[P, T]) -> Callable[P, T]:
    """`retrying` for what changes rows in one statement: it is a transaction by itself, and spares two round trips."""
    return _again(function, contextlib.nullcontext)


def _again(
    function: Callable[P, T], frame: Callable[[], contextlib.AbstractContextManager[object]]
) -> Callable[P, T]:
    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        if transaction.get_connection().in_atomic_block:
            return function(*args, **kwargs)
        cause: Exception | None = None
        for _ in range(ATTEMPTS):
            try:
                with frame():
                    return function(*args, **kwargs)
            except Vanished as e:
                cause = e
            except DatabaseError as e:
                if sqlstate(e) not in _AGAIN:
                    raise as_registry_error(e) from e
                cause = e
            except InterfaceError as e:  # the connection was closed under us
                raise as_registry_error(e) from e
        raise errors.Unavailable(
            "others change the same content; try again", {"attempts": ATTEMPTS}
        ) from cause

    return run


def reading(function: Callable[P, T]) -> Callable[P, T]:
    """For a read of one statement, which needs no transaction: a database that is away is a sentence here too."""

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except (DatabaseError, InterfaceError) as e:
            raise as_registry_error(e) from e

    return run


def sqlstate(e: BaseException) -> str:
    return getattr(e.__cause__, "pgcode", None) or ""


def as_registry_error(e: Exception) -> Exception:
    """A database that cannot be reached or is full, as a sentence; anything else as it is (a defect)."""
    state = sqlstate(e)
    if state == "53100":
        return errors.InsufficientStorage("database")
    if isinstance(e, OperationalError | InterfaceError):
        return errors.Unavailable("the database does not answer; try again", {"component": "database"})
    return e


def name_keys(repository_id: int, digests: Iterable[str]) -> list[int]:
    """64-bit advisory keys of digests in a repository, sorted."""
    return sorted({(repository_id & 0x7FFFFFFF) << 32 | zlib.crc32(d.encode()) for d in digests})


def tag_keys(repository_id: int, tags: Iterable[str]) -> list[int]:
    """Of tags, in the same space: no digest begins with a colon."""
    return name_keys(repository_id, (f":{tag}" for tag in tags))
