"""What a server and everything below it used, read from /proc."""

from __future__ import annotations

import contextlib
import os
import pathlib

from tests.components import process

_TICK = os.sysconf("SC_CLK_TCK")
_PSS, _SHARED = "Pss:", "Pss_Shmem:"


def cpu_seconds(pid: int) -> float:
    """Of the whole tree so far. What ended is counted by whoever waited for it, and that is one of the tree."""
    return sum(_ticks(one) for one in [pid, *process.descendants(pid)]) / _TICK


def pss_bytes(pid: int) -> int:
    """Memory of the whole tree; a page that several share is counted once."""
    return sum(_memory(one, _PSS) for one in [pid, *process.descendants(pid)])


def shared_bytes(pid: int) -> int:
    """Of that: memory that is shared by design, with PostgreSQL the pool of buffers, which fills and stays."""
    return sum(_memory(one, _SHARED) for one in [pid, *process.descendants(pid)])


def parse_ticks(stat: str) -> int:
    """utime, stime, and the same of children that were waited for. The name before may hold anything."""
    fields = stat.rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:15])


def parse_memory(rollup: str, name: str = _PSS) -> int:
    line = next(line for line in rollup.splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024


def _ticks(pid: int) -> int:
    with contextlib.suppress(OSError):
        return parse_ticks(pathlib.Path(f"/proc/{pid}/stat").read_text())
    return 0


def _memory(pid: int, name: str) -> int:
    with contextlib.suppress(OSError, StopIteration):
        return parse_memory(pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text(), name)
    return 0
