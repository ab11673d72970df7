"""Counters of this process (contract 6.10, core metrics); the page adds up what every process wrote.

prometheus_client keeps them in mapped files below PROMETHEUS_MULTIPROC_DIR. A request only adds to numbers in memory;
`flush` brings them there once a second, since the library's own way costs a sixth of a manifest's whole answer.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Sequence

from prometheus_client import Counter, Histogram, values
from prometheus_client.mmap_dict import MmapedDict

_RESERVED = 1 << 20  # bytes of a file: some thousand label sets


class _Reserved(MmapedDict):
    """Has its room on the disk before it is mapped: a page without any ends the process when it is first touched
    (SIGBUS). On a full disk the numbers stay in memory, where only this process sees them."""

    def __init__(self, filename: str, read_mode: bool = False) -> None:
        try:
            fd = os.open(filename, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(fd, 0, _RESERVED)
            finally:
                os.close(fd)
        except OSError:
            self._memory = os.memfd_create("metrics")
            filename = f"/proc/self/fd/{self._memory}"
        super().__init__(filename, read_mode)  # type: ignore[no-untyped-call]


values.MmapedDict = _Reserved  # type: ignore[attr-defined]

BOUNDS = (0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10, 60)


class _Histogram(Histogram):
    def add(self, counts: Sequence[int], total: float) -> None:
        """As many observations in each bucket, `total` seconds together."""
        self._raise_if_not_observable()  # type: ignore[no-untyped-call]
        self._sum.inc(total)
        for bucket, count in zip(self._buckets, counts, strict=True):
            if count:
                bucket.inc(count)


REQUESTS = Counter(
    "harbor_core_http_request_total", "Requests answered", ["method", "code", "operation"]
)
SECONDS = _Histogram(
    "harbor_core_http_request_duration_seconds", "Time until the answer was sent", ["method", "operation"],
    buckets=BOUNDS,
)  # fmt: skip
DAMAGED = Counter("breakwater_damaged_objects_total", "Stored objects that were found missing or short")

# Anybody can send any word as a method, and each label is kept for ever.
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class _Answered:
    """Requests of one method, status and operation since the last flush."""

    __slots__ = ("counts", "seconds")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.seconds = 0.0


_answered: dict[tuple[str, int, str], _Answered] = {}


def count(method: str, status: int, operation: str, seconds: float) -> None:
    """Call from the event loop's thread."""
    key = (method, status, operation)
    if (entry := _answered.get(key)) is None:
        if method not in _METHODS:
            key = ("OTHER", status, operation)
        entry = _answered.setdefault(key, _Answered())
    entry.counts[bisect_left(BOUNDS, seconds)] += 1
    entry.seconds += seconds


def flush() -> None:
    """Call from the event loop's thread."""
    global _answered
    taken, _answered = _answered, {}
    for (method, status, operation), entry in taken.items():
        REQUESTS.labels(method, str(status), operation).inc(sum(entry.counts))
        SECONDS.labels(method, operation).add(entry.counts, entry.seconds)
