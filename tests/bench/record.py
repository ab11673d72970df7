"""build/bench.json: every round of a run, for those who compare runs; and the same as Markdown."""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import pathlib
import platform
import re
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

from tests.bench.registries import Registry
from tests.bench.rows import Bench, Goal, Measure, Result, Row
from tests.bench.table import document
from tests.components.breakwater import ROOT

BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"


def record(bench: Bench, results: Sequence[Result], seconds: float) -> dict[str, Any]:
    """`seconds`: what the whole run took."""
    return {
        "commit": _said("git", "rev-parse", "HEAD"),
        "when": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "took_seconds": round(seconds),
        "rounds": bench.rounds,
        "seconds": bench.seconds,
        "machine": _machine(),
        "programs": {name: _version(registry) for name, registry in bench.registries.items()},
        "rows": {result.row.name: _row(result) for result in results},
    }


def _row(result: Result) -> dict[str, Any]:
    row = result.row
    return {
        "title": row.title,
        "group": row.group,
        "goal": dataclasses.asdict(row.goal),
        "unit": row.unit,
        "verdict": result.verdict(),
        "failures": result.failures,
        "rounds": {
            name: [dataclasses.asdict(measure) for measure in rounds]
            for name, rounds in result.rounds.items()
        },
    }


def results_of(run: Mapping[str, Any]) -> list[Result]:
    """What `record` was given."""
    return [
        Result(
            Row(name, row["title"], row["group"], _not_measured, Goal(**row["goal"]), row["unit"], 0),
            {who: [Measure(**measure) for measure in rounds] for who, rounds in row["rounds"].items()},
            row["failures"],
        )
        for name, row in run["rows"].items()
    ]


def _not_measured(_: Bench, __: Registry) -> None:
    return None


def markdown(run: Mapping[str, Any]) -> str:
    programs = ", ".join(f"{name}: {version}" for name, version in run["programs"].items())
    return (
        f"Commit {run['commit'][:12]}, {run['when'][:16].replace('T', ' ')} UTC, {run['machine']}. {programs}. "
        f"{run['rounds']} rounds of {run['seconds']:g} s, the whole run {run['took_seconds'] / 60:.0f} minutes.\n\n"
        f"{document(results_of(run))}\n"
    )


def put_into(file: pathlib.Path, text: str) -> None:
    """Between the two marks of a page."""
    old = file.read_text()
    new, count = re.subn(f"{BEGIN}.*{END}", lambda _: f"{BEGIN}\n\n{text}\n{END}", old, flags=re.DOTALL)
    if count != 1:
        raise ValueError(f"{file} does not have {BEGIN} and {END} once each")
    file.write_text(new)


def write(directory: pathlib.Path, run: Mapping[str, Any]) -> None:
    """bench.json and bench.md."""
    directory.mkdir(exist_ok=True)
    (directory / "bench.json").write_text(json.dumps(run, indent=1))
    (directory / "bench.md").write_text(markdown(run))


def _version(registry: Registry) -> str:
    program = getattr(registry, "program", None)
    if program is None:
        return "this commit"
    return next((word for word in _said(program, "--version").split() if re.match(r"v?\d", word)), "?")


def _machine() -> str:
    model = re.search(r"^model name\s*: (.+)$", pathlib.Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / (1 << 30)
    return (
        f"{os.cpu_count()} cores ({model[1] if model else platform.machine()}), {memory:.0f} GiB, "
        f"Linux {platform.release()}, Python {platform.python_version()}"
    )


def _said(*command: str | os.PathLike[str]) -> str:
    return subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True).stdout.strip()
