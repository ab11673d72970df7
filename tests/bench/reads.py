"""The rows that only read."""

from __future__ import annotations

from tests.bench.registries import Registry
from tests.bench.rows import Bench, Goal, Measure, row

MIB = 1 << 20


@row("memory_idle", "memory, idle", group="start", unit="MB", goal=Goal(most=400), rounds=1)
def memory_idle(bench: Bench, registry: Registry) -> Measure:
    return Measure(value=registry.memory() / MIB)
