"""The table of a run: ours in figures, the peers as how many times better we are, each goal beside it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tests.bench.rows import OURS, Result

_PEERS = ("dreg", "v3")
_HEADER = ["row", "ours", "CPU each", "× dreg", "CPU", "× v3", "CPU", "generator", "goal", ""]


def table(results: Iterable[Result]) -> str:
    return _aligned([_HEADER, *(line(result) for result in results)])


def line(result: Result) -> list[str]:
    row = result.row
    if result.failure or OURS not in result.rounds:
        return [row.title, *[""] * 7, str(row.goal), result.verdict()]
    ours = [f"{result.value(OURS):.4g} {row.unit}", ""] if row.unit else _rate_and_cpu(result, OURS)
    peers = [cell for peer in _PEERS for cell in _peer(result, peer)]
    return [row.title, *ours, *peers, _generator(result), str(row.goal), result.verdict()]


def _rate_and_cpu(result: Result, registry: str) -> list[str]:
    return [f"{_short(result.rate(registry))}/s", duration(result.cpu_each(registry))]


def _peer(result: Result, peer: str) -> list[str]:
    if peer not in result.rounds:
        return ["–", "–"]
    if result.row.unit:
        return [f"{result.value(peer):.4g} {result.row.unit}", ""]
    return [f"{result.rate_ratio(peer):.3g}", f"{result.cpu_ratio(peer):.3g}"]


def _generator(result: Result) -> str:
    """Of one CPU, while ours was measured: near 100 % it is the generator that was measured."""
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
