"""Counters of this process (contract 6.10, core metrics); the page adds up what every process wrote.

prometheus_client keeps them in mapped files below PROMETHEUS_MULTIPROC_DIR, so counting costs no round trip.
"""

from __future__ import annotations

import os

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

REQUESTS = Counter(
    "harbor_core_http_request_total", "Requests answered", ["method", "code", "operation"]
)
SECONDS = Histogram(
    "harbor_core_http_request_duration_seconds", "Time until the answer was sent", ["method", "operation"],
    buckets=(0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10, 60),
)  # fmt: skip
DAMAGED = Counter("breakwater_damaged_objects_total", "Stored objects that were found missing or short")

# Anybody can send any word as a method, and each label is kept for ever.
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

_counters: dict[tuple[str, int, str], Counter] = {}
_timers: dict[tuple[str, str], Histogram] = {}


def count(method: str, status: int, operation: str, seconds: float) -> None:
    method = method if method in _METHODS else "OTHER"
    key = (method, status, operation)
    if (counter := _counters.get(key)) is None:
        counter = _counters[key] = REQUESTS.labels(method, str(status), operation)
    if (timer := _timers.get((method, operation))) is None:
        timer = _timers[method, operation] = SECONDS.labels(method, operation)
    counter.inc()
    timer.observe(seconds)
