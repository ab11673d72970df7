"""Fixtures of the tests about who may do what."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import hot
from tests.builders import alice, bob, charlie, library

__all__ = ["alice", "bob", "charlie", "library"]


@pytest.fixture(autouse=True)
def new_process() -> Iterator[None]:
    """Each test starts as a process does: it knows nothing yet. Databases are replaced between tests."""
    hot.forget_everything()
    yield
    hot.forget_everything()
