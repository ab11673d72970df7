"""What the table says, computed by hand; what /proc and the generator say, in their own words."""

from __future__ import annotations

import json
import pathlib

import pytest

from tests.bench import record
from tests.bench.memory import memory_idle
from tests.bench.rows import Bench, Goal, Measure, Result, Row
from tests.bench.table import document, duration, failures, line
from tests.bench.usage import parse_memory, parse_ticks


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
    failed.fail("breakwater", "1 wrong digest")
    assert line(failed) == ["one row", *[""] * 7, "≥ 1× dreg", "FAILED"]
    assert failures([failed]) == ["one, breakwater: 1 wrong digest"]


def test_a_peer_that_failed_is_named_and_meets_nothing() -> None:
    failed = result(Goal(dreg=1), [1000], [100])
    failed.fail("dreg", "of 1500, 900 were served")
    assert line(failed)[3:5] == ["failed", ""]
    assert failed.verdict() == ""


def test_cpu_counts_children_that_ended() -> None:
    stat = "7 (a ) b) S 1 7 7 0 -1 4194560 900 0 0 0 " + "11 12 13 14 20 0 4 0 5000 1 2"
    assert parse_ticks(stat) == 11 + 12 + 13 + 14


def test_shared_memory_counts_once() -> None:
    rollup = "5581-7ffc ---p 00000000 00:00 0 [rollup]\nRss:  4000 kB\nPss:  1500 kB\nPss_Anon:  900 kB\n"
    assert parse_memory(rollup) == 1500 * 1024


def test_durations() -> None:
    assert [duration(s) for s in (42e-6, 0.0109, 1.5)] == ["42 µs", "10.9 ms", "1.5 s"]


def test_growth_shows_the_cpu_at_each_size() -> None:
    notes = {"cpu_us_100": 100.0, "cpu_us_10000": 110.0, "cpu_us_1000000": 1200.0, "p99_ms": 3.0}
    row = Row("one", "one row", "growth", memory_idle, Goal(most=1.3), "×", 0)
    grown = Result(row, {"breakwater": [Measure(value=12.0, notes=notes)]})
    assert line(grown)[:3] == ["one row", "12 ×", "100 µs → 110 µs → 1.2 ms"]
    assert grown.verdict() == "MISSED: 12 ×"


def test_a_list_shows_its_three_pages() -> None:
    notes = {"total": 9.0, "first_ms": 9.61, "middle_ms": 145.6, "last_ms": 301.0}
    row = Row("one", "one row", "rest", memory_idle, Goal(most=300), "ms", 1)
    listed = Result(row, {"breakwater": [Measure(value=301.0, notes=notes)]})
    assert line(listed)[:3] == ["one row", "301 ms", "9.61 → 146 → 301"]
    assert listed.verdict() == "MISSED: 301 ms"


def test_a_run_comes_back_from_its_record() -> None:
    """Through JSON: the tables of the page are those that were printed."""
    bench = Bench(pathlib.Path(), {}, seconds=1.5, rounds=3, idle=300)
    results = [result(Goal(dreg=10, v3=2), [500, 400, 100], [50, 100, 20])]
    results[0].fail("v3", "1 wrong digest")
    kept = json.loads(json.dumps(record.record(bench, results, 61)))
    assert document(record.results_of(kept)) == document(results)
    assert "3 rounds of 1.5 s, the whole run 1 minutes" in record.markdown(kept)


def test_figures_go_between_the_marks_of_a_page(tmp_path: pathlib.Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{record.BEGIN}\nold \\1\n{record.END}\nafter\n")
    record.put_into(page, "new \\1")
    assert page.read_text() == f"before\n{record.BEGIN}\n\nnew \\1\n{record.END}\nafter\n"
    page.write_text("no marks")
    with pytest.raises(ValueError, match="once each"):
        record.put_into(page, "new")
