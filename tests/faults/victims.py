"""The processes of `manage.py up`, to be killed by what they are."""

from __future__ import annotations

import contextlib
import os
import pathlib
import random
import signal
import time

from tests.components.breakwater import Breakwater, arguments_of, web_workers
from tests.components.process import descendants

WHOLE_TREE = "whole tree"
KINDS = ("web worker", "web server", "job worker", "PostgreSQL backend", "PostgreSQL", "Valkey", WHOLE_TREE)


def parent(pid: int) -> int:
    with contextlib.suppress(OSError):
        return int(pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return 0


def find(registry: Breakwater, kind: str) -> list[int]:
    """Pids, none while it is being started again."""
    tree = {pid: arguments_of(pid) for pid in descendants(registry.pid)}
    tops = {pid: said for pid, said in tree.items() if parent(pid) == registry.pid}
    of = {
        "web server": [pid for pid, said in tops.items() if "config.web_server" in said],
        "job worker": [pid for pid, said in tops.items() if "manage.py\0worker" in said],
        "PostgreSQL": [pid for pid, said in tops.items() if "/postgres\0-D" in said],
        "Valkey": [pid for pid, said in tops.items() if "valkey-server" in said],
    }
    if kind == "web worker":
        return [pid for server in of["web server"] for pid in web_workers(server)]
    if kind == "PostgreSQL backend":
        return [
            pid
            for pid, said in tree.items()
            if parent(pid) in of["PostgreSQL"] and said.startswith("postgres: breakwater breakwater")
        ]
    return of[kind]


def kill(registry: Breakwater, kind: str, chance: random.Random) -> None:
    """kill -9; the whole tree is started again, anything else comes back by itself."""
    if kind == WHOLE_TREE:
        registry.kill_tree()
        registry.start()
        return
    deadline = time.monotonic() + 30
    while not (pids := find(registry, kind)):
        assert time.monotonic() < deadline, f"no {kind} to kill"
        time.sleep(0.02)
    with contextlib.suppress(ProcessLookupError):
        os.kill(chance.choice(pids), signal.SIGKILL)
