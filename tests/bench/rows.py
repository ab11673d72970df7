"""What a row of the benchmark is: how it is measured, what it must reach, and what its rounds come to.

A module of rows (reads.py, writes.py, ...) says

    @row("manifest_get_tag", "manifest GET by tag", group="read", goal=Goal(dreg=18, v3=7))
    def manifest_get_tag(bench: Bench, registry: Registry) -> Measure | None: ...

and returns None for a registry that has no such operation. It raises RowFailed when an answer was wrong.
"""

from __future__ import annotations

import pathlib
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from tests.bench.registries import Registry

# In this order: what is to stand idle does so while other registries, or other rows, have their time.
GROUPS = ("cold", "idle", "read", "write", "crowd", "growth", "rest", "end")
LOADED = ("cold", "read", "crowd")  # these find what stored.py puts there
OURS = "breakwater"


class RowFailed(Exception):
    """An answer was wrong: a status, a digest, a missing operation. That registry has no figures in the row."""


@dataclass(frozen=True)
class Goal:
    """At least so many times a peer, in operations/s and in server CPU; or at most so much."""

    dreg: float = 0.0
    v3: float = 0.0
    cpu_ms: float = 0.0  # server CPU of one operation
    most: float = 0.0  # the value of a row that has a unit

    def __str__(self) -> str:
        parts = [f"≥ {least:g}× {peer}" for peer, least in self.ratios().items()]
        if self.cpu_ms:
            parts.append(f"≤ {self.cpu_ms:g} ms CPU")
        if self.most:
            parts.append(f"≤ {self.most:g}")
        return ", ".join(parts)

    def ratios(self) -> dict[str, float]:
        return {peer: least for peer, least in (("dreg", self.dreg), ("v3", self.v3)) if least}


@dataclass(frozen=True)
class Measure:
    """One round on one registry. `value` is for rows with a unit of their own (MB, s, ms): less is better."""

    operations: float = 0.0
    seconds: float = 0.0
    cpu: float = 0.0  # of the server, in seconds
    generator_cpu: float = 0.0
    value: float = 0.0
    notes: Mapping[str, float] = field(default_factory=dict)  # shown as they are: p99_ms, checked, ...

    @property
    def rate(self) -> float:
        return self.operations / self.seconds

    @property
    def cpu_each(self) -> float:
        return self.cpu / self.operations


@dataclass(frozen=True)
class Bench:
    """What every row gets beside the registry."""

    directory: pathlib.Path
    registries: Mapping[str, Registry]  # those that run, by name; ours first
    seconds: float  # of one measurement
    rounds: int
    idle: float  # seconds before what is idle is measured

    @property
    def ours(self) -> Registry:
        return self.registries[OURS]


Measuring = Callable[[Bench, Registry], Measure | None]


@dataclass(frozen=True)
class Row:
    name: str
    title: str
    group: str
    measure: Measuring
    goal: Goal
    unit: str  # of `value`; empty where operations and CPU are what counts
    rounds: int  # 0: as many as the run has


@dataclass
class Result:
    """The rounds of a row, per registry; a registry without the operation is absent."""

    row: Row
    rounds: dict[str, list[Measure]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)  # by registry: what was wrong

    def fail(self, registry: str, reason: str) -> None:
        """What it did in earlier rounds does not count either."""
        self.failures[registry] = reason
        self.rounds.pop(registry, None)

    def rate(self, registry: str) -> float:
        return statistics.median(m.rate for m in self.rounds[registry])

    def cpu_each(self, registry: str) -> float:
        return statistics.median(m.cpu_each for m in self.rounds[registry])

    def value(self, registry: str) -> float:
        return statistics.median(m.value for m in self.rounds[registry])

    def note(self, registry: str, name: str) -> float:
        return statistics.median(m.notes[name] for m in self.rounds[registry])

    def rate_ratio(self, peer: str) -> float:
        """How many times the peer, round by round: what disturbs the machine disturbs both."""
        return statistics.median(ours.rate / other.rate for ours, other in self._pairs(peer))

    def cpu_ratio(self, peer: str) -> float:
        return statistics.median(
            other.cpu_each / ours.cpu_each if ours.cpu_each else float("inf")
            for ours, other in self._pairs(peer)
        )

    def _pairs(self, peer: str) -> Sequence[tuple[Measure, Measure]]:
        return list(zip(self.rounds[OURS], self.rounds[peer], strict=False))

    def misses(self) -> list[str]:
        """What falls short of the goal; nothing is said about a peer that was not measured."""
        goal, missed = self.row.goal, []
        for peer, least in goal.ratios().items():
            if peer not in self.rounds:
                continue
            for what, ratio in (("op/s", self.rate_ratio(peer)), ("CPU", self.cpu_ratio(peer))):
                if ratio < least:
                    missed.append(f"{what} {ratio:.3g}× {peer}")
        if goal.cpu_ms and self.cpu_each(OURS) * 1000 > goal.cpu_ms:
            missed.append(f"{self.cpu_each(OURS) * 1000:.3g} ms")
        if goal.most and self.value(OURS) > goal.most:
            missed.append(f"{self.value(OURS):.4g} {self.row.unit}")
        return missed

    def verdict(self) -> str:
        if OURS in self.failures:
            return "FAILED"
        if OURS not in self.rounds:
            return ""
        if missed := self.misses():
            return f"MISSED: {', '.join(missed)}"
        goal = self.row.goal
        known = [peer for peer in goal.ratios() if peer in self.rounds]
        return "met" if known or goal.cpu_ms or goal.most else ""


ROWS: list[Row] = []


def row(
    name: str, title: str, *, group: str, goal: Goal | None = None, unit: str = "", rounds: int = 0
) -> Callable[[Measuring], Measuring]:
    assert group in GROUPS, group

    def add(measure: Measuring) -> Measuring:
        ROWS.append(Row(name, title, group, measure, goal or Goal(), unit, rounds))
        return measure

    return add
