"""What the table says, computed by hand; what /proc and the generator say, in their own words."""

from __future__ import annotations

from tests.bench.reads import memory_idle
from tests.bench.rows import Goal, Measure, Result, Row
from tests.bench.table import duration, line
from tests.bench.usage import parse_pss, parse_ticks


def result(goal: Goal, ours: list[float], peer: list[float]) -> Result:
    """Rounds of one second with so many operations, which cost ours 1 ms each and the peer 10 ms."""
    rounds = {
        "breakwater": [Measure(n, 1.0, n * 0.001) for n in ours],
        "dreg": [Measure(n, 1.0, n * 0.01) for n in peer],
    }
    return Result(Row("one", "one row", "read", memory_idle, goal, "", 0), rounds)


def test_a_ratio_is_the_median_of_the_rounds() -> None:
    # 10, 4 and 5 times; the medians of the rates alone would give 400 / 50.
    assert result(Goal(), [500, 400, 100], [50, 100, 20]).rate_ratio("dreg") == 5


def test_a_goal_holds_for_throughput_and_for_cpu() -> None:
    assert result(Goal(dreg=10), [1000], [100]).verdict() == "met"
    assert result(Goal(dreg=10), [900], [100]).verdict() == "MISSED: op/s 9× dreg"
    assert result(Goal(dreg=11), [1100], [100]).verdict() == "MISSED: CPU 10× dreg"


def test_a_peer_that_was_not_measured_meets_nothing() -> None:
    assert result(Goal(v3=1), [1000], [100]).verdict() == ""


def test_a_limit() -> None:
    assert result(Goal(cpu_ms=0.9), [10], [10]).verdict() == "MISSED: 1 ms"
    assert result(Goal(cpu_ms=1.1), [10], [10]).verdict() == "met"


def test_a_wrong_answer_leaves_no_figures() -> None:
    failed = result(Goal(dreg=1), [1000], [100])
    failed.failure = "1 wrong digest"
    assert line(failed) == ["one row", *[""] * 7, "≥ 1× dreg", "FAILED: 1 wrong digest"]


def test_cpu_counts_children_that_ended() -> None:
    stat = "7 (a ) b) S 1 7 7 0 -1 4194560 900 0 0 0 " + "11 12 13 14 20 0 4 0 5000 1 2"
    assert parse_ticks(stat) == 11 + 12 + 13 + 14


def test_shared_memory_counts_once() -> None:
    rollup = "5581-7ffc ---p 00000000 00:00 0 [rollup]\nRss:  4000 kB\nPss:  1500 kB\nPss_Anon:  900 kB\n"
    assert parse_pss(rollup) == 1500 * 1024


def test_durations() -> None:
    assert [duration(s) for s in (42e-6, 0.0109, 1.5)] == ["42 µs", "10.9 ms", "1.5 s"]
