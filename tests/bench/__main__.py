"""`make bench`: the same work on this registry and its peers, alternating, in one run; a table of ratios.

make bench                                          everything
make bench ARGS="--rows 'manifest_*' --rounds 1"    a part
make bench ARGS="--rows manifest_get_tag --peers none --keep"    ours alone, on the store of the last such run
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import fnmatch
import importlib
import json
import os
import pathlib
import platform
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec

from tests.bench.registries import PEERS, Breakwater, Peer, Registry
from tests.bench.rows import GROUPS, ROWS, Bench, Result, Row, RowFailed
from tests.bench.table import table
from tests.components import process
from tests.components.breakwater import ROOT

MODULES = tuple(
    name for name in ("reads", "writes", "crowds", "growth") if find_spec(f"tests.bench.{name}") is not None
)
BUILD = ROOT / "build"


def main(arguments: Sequence[str]) -> int:
    options = _parse(arguments)
    rows = _chosen(options.rows)
    process.begin_run()
    directory = BUILD / "bench" if options.keep else process.run_directory()
    registries = _registries(directory, options.peers)
    bench = Bench(directory, registries, options.seconds, options.rounds)
    try:
        for registry in registries.values():
            registry.start()
        results = [_run(bench, row) for row in rows]
    finally:
        for registry in registries.values():
            if registry.pid:
                registry.stop()
        process.end_run()
    print(table(results))
    _write(results)
    return 1 if any(result.failure for result in results) else 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__.splitlines()[0])
    parser.add_argument("--rows", default="*", help="names with wildcards, separated by commas; groups too")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="of one measurement")
    parser.add_argument("--peers", default="dreg,v3", help="of dreg, v3, or none")
    parser.add_argument(
        "--keep", action="store_true", help="keep what is stored, in build/bench, for the next"
    )
    parser.add_argument("--list", action=_List, nargs=0, help="the rows, and nothing is run")
    return parser.parse_args(arguments)


class _List(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        for row in _chosen("*"):
            print(f"{row.group:7} {row.name:26} {row.title:44} {row.goal}")
        parser.exit()


def _chosen(patterns: str) -> list[Row]:
    for module in MODULES:
        importlib.import_module(f"tests.bench.{module}")
    wanted = patterns.split(",")
    rows = [row for row in ROWS if any(fnmatch.fnmatch(n, w) for w in wanted for n in (row.name, row.group))]
    if not rows:
        sys.exit(f"no row is called {patterns}; --list names them")
    return sorted(rows, key=lambda row: GROUPS.index(row.group))


def _registries(directory: pathlib.Path, peers: str) -> dict[str, Registry]:
    registries: list[Registry] = [Breakwater(directory / Breakwater.name)]
    for kind in PEERS:
        if kind.name in peers.split(","):
            registries.extend(_peer(kind, directory))
    return {registry.name: registry for registry in registries}


def _peer(kind: type[Peer], directory: pathlib.Path) -> list[Registry]:
    peer = kind(directory / kind.name)
    if os.access(peer.program, os.X_OK):
        return [peer]
    print(f"{kind.name} is not measured: there is no {peer.program} (tests/components/install.sh bench)")
    return []


def _run(bench: Bench, row: Row) -> Result:
    """The rounds of a row, alternating over the registries."""
    result = Result(row)
    try:
        for _ in range(row.rounds or bench.rounds):
            for registry in bench.registries.values():
                measure = row.measure(bench, registry)
                if measure is not None:
                    result.rounds.setdefault(registry.name, []).append(measure)
    except RowFailed as e:
        result.failure = str(e)
    print(table([result]).splitlines()[-1], flush=True)
    return result


def _write(results: Sequence[Result]) -> None:
    """build/bench.json: every round, for those who compare runs."""
    BUILD.mkdir(exist_ok=True)
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, check=False, capture_output=True, text=True
    )
    document = {
        "commit": commit.stdout.strip(),
        "when": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Linux {platform.release()}",
        "rows": {
            result.row.name: {
                "goal": str(result.row.goal),
                "unit": result.row.unit,
                "verdict": result.verdict(),
                "rounds": {
                    name: [dataclasses.asdict(measure) for measure in rounds]
                    for name, rounds in result.rounds.items()
                },
            }
            for result in results
        },
    }
    (BUILD / "bench.json").write_text(json.dumps(document, indent=1))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
