"""So many requests of a kind, from one seed. `FUZZ_SEED=7` tries others, and brings back what failed with it."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import HypothesisWarning

T = TypeVar("T")
SEED = int(os.environ.get("FUZZ_SEED", "1"))
# A run of all files makes at least as many requests; the tests of this folder hold themselves to it.
REQUESTS = {
    "reads": 8000, "pushes": 3500, "uploads": 4000, "deletions": 1000,
    "frames": 3000, "proxied": 1200, "tokens": 1000, "rest": 2000,
}  # fmt: skip
BATCH = 10


class Batch(Generic[T]):
    """Shown by its length: the request that failed is in the failure, byte for byte."""

    def __init__(self, requests: list[T]) -> None:
        self.requests = requests

    def __repr__(self) -> str:
        return f"{len(self.requests)} requests"


def _batch(requests: list[T]) -> Batch[T]:
    return Batch(requests)


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
    @given(st.lists(each, min_size=batch, max_size=batch).map(_batch))
    def examples(found: Batch[T]) -> None:
        examine(found.requests)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HypothesisWarning)  # that what it shows of a failure is long
        examples()
