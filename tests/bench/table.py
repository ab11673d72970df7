"""The table of a run: ours in figures, the peers as how many times better we are, each goal beside it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tests.bench.rows import GROUPS, OURS, Result

_PEERS = ("dreg", "v3")
_HEADER = ["row", "ours", "CPU each", "× dreg", "CPU", "× v3", "CPU", "generator", "goal", ""]
_TITLES = {
    "cold": "Cold",
    "idle": "Idle",
    "read": "Warm reads",
    "write": "Writes",
    "crowd": "Beside crowds",
    "growth": "Growth",
    "rest": "Lists of the REST API",
    "end": "Idle again",
}
NOTES = """\
- ours, CPU each: operations/s, and server CPU of one operation, of the whole tree with PostgreSQL and Valkey.
- × dreg, × v3: how many times the peer's operations/s, and how many times less CPU; the median of the rounds' ratios.
- A row with a unit shows the peers' own values. –: the peer has no such operation. failed: the peer did not do it.
- generator: of one CPU; near 100 % it is the generator that was measured.
- Warm: what is read was asked for a second before, and nothing was changed for 30 s, after which it counts as settled.
- Cold: the processes that answer are new, and no request repeats a token, a tag or a digest.
- Beside crowds the peers are measured once.
- Nobody writes a line per request, but the peers in the row that says so.
- Growth: server CPU of an operation among 10,000 or 1,000,000 tags, whichever is dearer, against 100.
- Lists of the REST API: the 95th percentile of first → middle → last page of 100 rows, and of the slowest of them, in a
  registry of 200 projects × 50 repositories, one repository of 100,000 artifacts, 5,000,000 audit rows."""


def table(results: Iterable[Result]) -> str:
    return _aligned([_HEADER, *(line(result) for result in results)])


def document(results: Sequence[Result]) -> str:
    """A table for each group, then what the columns mean and what went wrong."""
    groups = {group: [r for r in results if r.row.group == group] for group in GROUPS}
    parts = [f"### {_TITLES[group]}\n\n{table(some)}\n" for group, some in groups.items() if some]
    return "\n".join([*parts, NOTES, *failures(results)])


def failures(results: Iterable[Result]) -> list[str]:
    return [
        f"{result.row.name}, {name}: {reason}"
        for result in results
        for name, reason in result.failures.items()
    ]


def line(result: Result) -> list[str]:
    row = result.row
    if OURS not in result.rounds:
        return [row.title, *[""] * 7, str(row.goal), result.verdict()]
    ours = (
        [f"{result.value(OURS):.4g} {row.unit}", _grown(result)] if row.unit else _rate_and_cpu(result, OURS)
    )
    peers = [cell for peer in _PEERS for cell in _peer(result, peer)]
    return [row.title, *ours, *peers, _generator(result), str(row.goal), result.verdict()]


def _rate_and_cpu(result: Result, registry: str) -> list[str]:
    return [f"{_short(result.rate(registry))}/s", duration(result.cpu_each(registry))]


def _grown(result: Result) -> str:
    """CPU at each size, smallest first, of a row of growth; of a list the three pages."""
    if result.row.group == "rest":
        return " → ".join(f"{result.note(OURS, f'{place}_ms'):.3g}" for place in ("first", "middle", "last"))
    sizes = [name for name in result.rounds[OURS][0].notes if name.startswith("cpu_us_")]
    return " → ".join(duration(result.note(OURS, name) / 1e6) for name in sizes)


def _peer(result: Result, peer: str) -> list[str]:
    if peer in result.failures:
        return ["failed", ""]
    if peer not in result.rounds:
        return ["–", "–"]
    if result.row.unit:
        return [f"{result.value(peer):.4g} {result.row.unit}", ""]
    return [f"{result.rate_ratio(peer):.3g}", f"{result.cpu_ratio(peer):.3g}"]


def _generator(result: Result) -> str:
    shares = [m.generator_cpu / m.seconds for m in result.rounds[OURS] if m.seconds]
    return f"{max(shares):.0%}" if any(shares) else ""


def duration(seconds: float) -> str:
    if seconds < 1e-3:
        return f"{seconds * 1e6:.0f} µs"
    return f"{seconds * 1e3:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def _short(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def _aligned(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(len(one[i]) for one in lines) for i in range(len(lines[0]))]
    shown = (" | ".join(cell.ljust(width) for cell, width in zip(one, widths, strict=True)) for one in lines)
    first, *rest = (f"| {text} |" for text in shown)
    return "\n".join([first, "|" + "|".join("-" * (width + 2) for width in widths) + "|", *rest])
