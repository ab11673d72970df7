"""The table "Call by call" of docs/deviations.md, as the replay reads it.

A row names scenes, calls of them, what differs there, and why it stays. Each name stands between backticks, `*` in it
is any text. A row covers a difference that fits one of its names in each of the three columns.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection
from dataclasses import dataclass

from tests.contract.shared import ROOT

_HEAD = "| scene | call | what differs | why |"
_CELL = re.compile(r"(?<!\\)\|")
_NAME = re.compile(r"`([^`]+)`")


@dataclass(frozen=True)
class Difference:
    """A hard one: what a client of Harbor would see as different in the answer to one call of a scene."""

    scene: str
    call: str
    text: str

    def __str__(self) -> str:
        return f"{self.scene}: {self.call}: {self.text}"


@dataclass(frozen=True)
class Deviation:
    scenes: tuple[str, ...]
    calls: tuple[str, ...]
    texts: tuple[str, ...]
    why: str

    def covers(self, difference: Difference) -> bool:
        return (
            any(fits(name, difference.scene) for name in self.scenes)
            and any(fits(name, difference.call) for name in self.calls)
            and any(fits(name, difference.text) for name in self.texts)
        )

    def idle(self, differences: Collection[Difference]) -> list[str]:
        """Names in this row that none of the differences of a whole replay needs."""
        own = [d for d in differences if self.covers(d)]
        return [
            *(name for name in self.scenes if not any(fits(name, d.scene) for d in own)),
            *(name for name in self.calls if not any(fits(name, d.call) for d in own)),
            *(name for name in self.texts if not any(fits(name, d.text) for d in own)),
        ]


def fits(name: str, text: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, name.split("*"))), text, re.DOTALL) is not None


def listed() -> list[Deviation]:
    lines = (ROOT / "docs" / "deviations.md").read_text(encoding="utf-8").splitlines()
    rows = itertools.takewhile(lambda line: line.startswith("|"), lines[lines.index(_HEAD) + 2 :])
    return [_deviation(row) for row in rows]


def _deviation(row: str) -> Deviation:
    _, *cells, why, _ = _CELL.split(row)
    scenes, calls, texts = (tuple(_NAME.findall(cell.replace("\\|", "|"))) for cell in cells)
    assert scenes and calls and texts, f"a column without a name: {row}"  # noqa: PT018
    assert why.strip(), f"no reason: {row}"
    return Deviation(scenes, calls, texts, why.strip())
