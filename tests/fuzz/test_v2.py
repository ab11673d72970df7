"""Every route of `/v2` with odd paths, parameters, headers, bodies, credentials: each is answered, none with 5xx.

Frames are honest here (tests/fuzz/test_frames.py lies about them).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import strategies as st

from tests.fuzz import strategies
from tests.fuzz.running import REQUESTS, SEED, fuzz
from tests.fuzz.wire import Line
from tests.fuzz.world import Ask, World
from tests.reporting import Report


@pytest.fixture
def line(world: World) -> Iterator[Line]:
    line = Line(world.server.port)
    yield line
    line.close()


def run(
    world: World, line: Line, report: Report, name: str, each: st.SearchStrategy[Ask], least: float
) -> None:
    """`least`: the share of requests that must have come through: what lies behind the first checks was tried."""

    def examine(asks: list[Ask]) -> None:
        if name == "uploads":
            world.ensure_sessions(line)
        for ask in asks:
            world.ask(line, _with_own_digest(world, ask))

    fuzz(name, each, examine)
    report(f"seed {SEED}")
    for text in world.tally.lines():
        report(text)
    assert world.tally.total >= REQUESTS[name]
    assert world.tally.share("2xx") >= least
    assert world.tally.share("4xx") >= 0.1
    assert world.tally.share("closed") <= 0.02


def _with_own_digest(world: World, ask: Ask) -> Ask:
    """`<<own>>` and `<<body>>` are the digest of the body, which is known when the names in it are filled in."""
    if ask.body is None or b"<<" not in ask.target:
        return ask
    body = world.resolve(ask.body)
    target = ask.target.replace(b"<<own>>", b"sha256:" + hashlib.sha256(body).hexdigest().encode())
    target = target.replace(b"<<body>>", b"sha256:" + hashlib.sha256(body).hexdigest().encode())
    return replace(
        ask, target=target.replace(b"<<own512>>", b"sha512:" + hashlib.sha512(body).hexdigest().encode())
    )


def test_reads(world: World, line: Line, report: Report) -> None:
    run(world, line, report, "reads", strategies.reads(), 0.2)


def test_pushes_of_manifests(world: World, line: Line, report: Report) -> None:
    run(world, line, report, "pushes", strategies.manifest_pushes(), 0.1)


def test_uploads(world: World, line: Line, report: Report) -> None:
    run(world, line, report, "uploads", strategies.uploads(), 0.2)


def test_deletions(world: World, line: Line, report: Report) -> None:
    run(world, line, report, "deletions", strategies.deletions(), 0.02)


def test_a_run_makes_enough_requests() -> None:
    assert sum(REQUESTS.values()) >= 20_000
