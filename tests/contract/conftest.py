"""What the tests of the contract share: the replay of a real Harbor's answers, and the registry that it drives."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from tests.components.breakwater import Breakwater
from tests.contract import replaying
from tests.contract.replaying import Replay


@pytest.fixture(scope="session")
def replay() -> Iterator[Replay]:
    yield from replaying.load()


@contextlib.contextmanager
def running() -> Iterator[Breakwater]:
    server = Breakwater()
    try:
        server.start()
        yield server
        assert server.failures() == []
    finally:
        server.remove()


@pytest.fixture(scope="session")
def used_server() -> Iterator[Breakwater]:
    """One for all scenes: they clean up after themselves."""
    with running() as server:
        yield server


@pytest.fixture
def new_server() -> Iterator[Breakwater]:
    with running() as server:
        yield server
