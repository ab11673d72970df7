"""So many requests of a kind, from one seed. `FUZZ_SEED=7` tries others, and brings back what failed with it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

T = TypeVar("T")
SEED = int(os.environ.get("FUZZ_SEED", "1"))
# A run of all files makes at least as many requests; the tests of this folder hold themselves to it.
REQUESTS = {
    "reads": 8000, "pushes": 3500, "uploads": 4000, "deletions": 1000,
    "frames": 3000, "proxied": 500, "tokens": 1000, "rest": 2000,
}  # fmt: skip
BATCH = 10


def fuzz(
    name: str, each: st.SearchStrategy[T], examine: Callable[[list[T]], Any], *, batch: int = BATCH
) -> None:
    """`examine` gets the requests in batches: what costs time around a request is shared by several."""

    @seed(SEED)
    @settings(
        max_examples=-(-REQUESTS[name] // batch),
        database=None,
        deadline=None,
        phases=(Phase.generate, Phase.shrink),
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )
    @given(st.lists(each, min_size=batch, max_size=batch))
    def examples(found: list[T]) -> None:
        examine(found)

    examples()
