"""One line for each step of a run, and how long the run has taken by then."""

from __future__ import annotations

import time

_began = time.monotonic()


def say(text: str) -> None:
    minutes, seconds = divmod(time.monotonic() - _began, 60)
    print(f"{minutes:3.0f}:{seconds:02.0f}  {text}", flush=True)
