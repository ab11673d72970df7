"""Processes that do what a test says and stop between statements, so that a race happens the same way each time."""

from __future__ import annotations

import json
import select
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from tests.components.postgres import ROOT


class Refused(Exception):
    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


class Actor:
    """One process of the registry (tests/deeds.py), which does one deed at a time."""

    def __init__(self, environment: Mapping[str, str], within: Sequence[str] = ()) -> None:
        self._process = subprocess.Popen(
            [*within, sys.executable, "-m", "tests.deeds"],
            cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._answer: dict[str, Any] | None = None
        self.backend = int(self.do("backend"))

    def do(self, deed: str, *arguments: Any) -> Any:
        """To its end; Refused when the registry refuses."""
        self.begin(deed, *arguments)
        return self.end()

    def begin(self, deed: str, *arguments: Any, after: int = 0) -> None:
        """Start; stop after so many statements (0: not at all, -1: after each)."""
        self._say({"deed": deed, "arguments": arguments, "after": after})

    def stops(self) -> str | None:
        """The statement after which it stopped; None when it came to its end before."""
        answer = self._hear()
        if "stopped" in answer:
            return str(answer["stopped"])
        self._answer = answer
        return None

    def go_on(self) -> None:
        self._say({})

    def has_ended(self, seconds: float) -> bool:
        return self._answer is not None or bool(select.select([self._out], [], [], seconds)[0])

    def end(self) -> Any:
        answer, self._answer = self._answer or self._hear(), None
        if "refused" in answer:
            raise Refused(answer["refused"], answer["message"])
        return answer["result"]

    def close(self) -> None:
        self._process.communicate(timeout=20)

    @property
    def _out(self) -> Any:
        return self._process.stdout

    def _say(self, what: dict[str, Any]) -> None:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()

    def _hear(self) -> dict[str, Any]:
        line = self._out.readline()
        if not line:
            raise RuntimeError(f"a process of the registry ended: {self._process.wait()}")
        return dict(json.loads(line))
