"""The lock that a killed PostgreSQL leaves behind, and when it is one."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.embedded import disown_lock

REST = "/data\n1764000000\n5432\n\n127.0.0.1\n  1234 5678\nready   \n"
SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]


def lock(data: Path, pid: int) -> Path:
    file = data / "postmaster.pid"
    file.write_text(f"{pid}\n{REST}")
    return file


@pytest.fixture
def server(tmp_path: Path) -> Iterator[int]:
    """A process that works in the directory, as PostgreSQL does."""
    process = subprocess.Popen(SLEEP, cwd=tmp_path)
    yield process.pid
    process.kill()
    process.wait()


def test_a_zombie_holds_no_lock(tmp_path: Path) -> None:
    process = subprocess.Popen(["true"], cwd=tmp_path)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    file = lock(tmp_path, process.pid)
    disown_lock(tmp_path)
    process.wait()
    assert file.read_text() == f"{os.getpid()}\n{REST}"


def test_a_number_that_another_program_has_by_now_holds_no_lock(tmp_path: Path, server: int) -> None:
    (tmp_path / "other").mkdir()
    file = lock(tmp_path / "other", server)
    disown_lock(tmp_path / "other")
    assert file.read_text() == f"{os.getpid()}\n{REST}"


def test_a_server_that_runs_keeps_its_lock(tmp_path: Path, server: int) -> None:
    file = lock(tmp_path, server)
    disown_lock(tmp_path)
    assert file.read_text() == f"{server}\n{REST}"


@pytest.mark.parametrize("content", ["", "no number\n", "-7\n"])
def test_what_is_no_lock_is_left_to_postgresql(tmp_path: Path, content: str) -> None:
    (tmp_path / "postmaster.pid").write_text(content)
    disown_lock(tmp_path)
    assert (tmp_path / "postmaster.pid").read_text() == content
