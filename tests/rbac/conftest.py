"""Fixtures of the tests about who may do what."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rbac import sessions
from rbac.authn import local, lockout
from registry_core import configuration, epochs, keys
from tests.builders import alice, bob, charlie, library

__all__ = ["alice", "bob", "charlie", "library"]


@pytest.fixture(autouse=True)
def new_process() -> Iterator[None]:
    """Each test starts as a process does: it knows nothing yet. Databases are replaced between tests."""
    forget_everything()
    yield
    forget_everything()


def forget_everything() -> None:
    sessions._sessions.clear()
    sessions.nobody.rights.clear()
    local._good.clear()
    lockout._table()[:] = bytes(len(lockout._table()))
    configuration._kept = None
    epochs._known = epochs._Known()
    keys._public, keys._signing, keys._read_at = {}, None, float("-inf")
