"""`make bench`: the same work on this registry and its peers, alternating, in one run; a table of ratios.

make bench                                          everything, about 25 minutes
make bench ARGS="--rows 'manifest_*' --rounds 1"    a part
make bench ARGS="--rows manifest_get_tag --peers none --keep"    ours alone, on the store of the last such run
make bench ARGS="--markdown build/bench.json"       the figures of a run as Markdown; --into PAGE puts them there
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import pathlib
import sys
import time
from collections.abc import Sequence

from tests.bench import blobs, crowds, growth, memory, reads, record, rest, writes
from tests.bench.peers import PEERS, Peer
from tests.bench.progress import say
from tests.bench.registries import Breakwater, Registry
from tests.bench.rows import GROUPS, LOADED, OURS, ROWS, Bench, Result, Row, RowFailed
from tests.bench.stored import ensure_stored
from tests.bench.table import document, table
from tests.components import process
from tests.components.breakwater import ROOT

BUILD = ROOT / "build"
# Each adds its rows to ROWS as it is imported.
MODULES = (reads, blobs, writes, crowds, growth, rest, memory)


def main(arguments: Sequence[str]) -> int:
    options = _parse(arguments)
    if options.markdown:
        return _show(options.markdown, options.into)
    rows = _chosen(options.rows)
    began = time.monotonic()
    process.begin_run()
    directory = BUILD / "bench" if options.keep else process.run_directory()
    bench = Bench(
        directory, _registries(directory, options.peers), options.seconds, options.rounds, options.idle
    )
    results: list[Result] = []
    try:
        for registry in bench.registries.values():
            registry.start()
        if any(row.group == "idle" for row in rows):
            memory.stand_idle(bench)
        for row in rows:
            results.append(_run(bench, row))
            record.write(BUILD, record.record(bench, results, time.monotonic() - began))
    finally:
        memory.stop_standing()
        rest.stop_seeded()
        for registry in bench.registries.values():
            if registry.pid:
                registry.stop()
        process.end_run()
    print(f"\n{document(results)}\n")
    say(f"the figures are in {BUILD.name}/bench.json and, as Markdown, in {BUILD.name}/bench.md")
    return 1 if any(OURS in result.failures for result in results) else 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__.splitlines()[0])
    parser.add_argument("--rows", default="*", help="names with wildcards, separated by commas; groups too")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.5, help="of one measurement")
    parser.add_argument("--idle", type=float, default=300, help="seconds before idle memory is measured")
    parser.add_argument("--peers", default="dreg,v3", help="of dreg, v3, or none")
    parser.add_argument(
        "--keep", action="store_true", help="keep what is stored, in build/bench, for the next"
    )
    parser.add_argument("--list", action=_List, nargs=0, help="the rows, and nothing is run")
    parser.add_argument("--markdown", type=pathlib.Path, help="a bench.json to show, and nothing is run")
    parser.add_argument("--into", type=pathlib.Path, help="the page that --markdown goes into")
    return parser.parse_args(arguments)


class _List(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        for row in _chosen("*"):
            print(f"{row.group:7} {row.name:26} {row.title:44} {row.goal}")
        parser.exit()


def _show(file: pathlib.Path, page: pathlib.Path | None) -> int:
    text = record.markdown(json.loads(file.read_text()))
    if page:
        record.put_into(page, text)
    else:
        print(text)
    return 0


def _chosen(patterns: str) -> list[Row]:
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
    """The rounds of a row, alternating over the registries. One that failed is not asked again."""
    if row.group in LOADED:
        for registry in bench.registries.values():
            ensure_stored(registry)
        bench.ours.settle()
    result = Result(row)
    for _ in range(row.rounds or bench.rounds):
        for registry in bench.registries.values():
            if registry.name not in result.failures:
                _measure(bench, registry, result)
    say(table([result]).splitlines()[-1])
    for name, reason in result.failures.items():
        say(f"{name} failed: {reason}")
    return result


def _measure(bench: Bench, registry: Registry, result: Result) -> None:
    try:
        measure = result.row.measure(bench, registry)
    except RowFailed as e:
        result.fail(registry.name, str(e))
    else:
        if measure is not None:
            result.rounds.setdefault(registry.name, []).append(measure)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
