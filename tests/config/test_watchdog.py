"""Who hangs is ended, who is only slow or was never looked at is not. Real processes, looks without the waiting."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator

import pytest

from config.watchdog import MISSES, Heart, Watchdog

StartProcess = Callable[[], int]


@pytest.fixture
def dog(monkeypatch: pytest.MonkeyPatch) -> Watchdog:
    monkeypatch.setattr("config.watchdog.PERIOD", 0.01)
    return Watchdog()


@pytest.fixture
def start(dog: Watchdog) -> Iterator[StartProcess]:
    pids: list[int] = []

    def start_one() -> int:
        pid = os.fork()
        if pid == 0:
            with contextlib.suppress(BaseException):
                asyncio.run(Heart(dog.pipe).beat())
            os._exit(1)
        pids.append(pid)
        return pid

    yield start_one
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def look(dog: Watchdog, times: int = 1) -> None:
    for _ in range(times):
        time.sleep(0.05)
        dog.look()


def ended_by(pid: int) -> int:
    """The signal, or 0 while it lives."""
    found, status = os.waitpid(pid, os.WNOHANG)
    return os.WTERMSIG(status) if found else 0


def stop(pid: int) -> None:
    os.kill(pid, signal.SIGSTOP)
    os.waitid(os.P_PID, pid, os.WSTOPPED)


def test_who_hangs_is_killed_and_nobody_else(dog: Watchdog, start: StartProcess) -> None:
    hangs, works = start(), start()
    look(dog, 3)
    stop(hangs)
    look(dog, MISSES - 1)  # the first of them may find what it wrote before
    assert ended_by(hangs) == 0
    look(dog, 2)
    time.sleep(0.1)
    assert ended_by(hangs) == signal.SIGKILL
    look(dog, MISSES)
    assert ended_by(works) == 0


def test_who_is_slow_lives(dog: Watchdog, start: StartProcess) -> None:
    """One beat in all the looks that it has."""
    slow = start()
    look(dog)
    for _ in range(3):
        stop(slow)
        look(dog, MISSES - 2)
        os.kill(slow, signal.SIGCONT)
        look(dog)
    assert ended_by(slow) == 0


def test_who_hangs_shows_its_stack_first(
    dog: Watchdog, start: StartProcess, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last but one look asks for it."""
    monkeypatch.setattr(Heart, "beat_once", lambda _: time.sleep(600))
    pid = start()
    os.write(dog.pipe.fileno(), pid.to_bytes(8, "little"))
    time.sleep(0.2)
    dog.look()
    look(dog, MISSES - 1)
    time.sleep(0.1)
    assert "watchdog.py" in capfd.readouterr().err
    look(dog)
    time.sleep(0.1)
    assert ended_by(pid) == signal.SIGKILL


def test_a_parent_that_stood_still_itself_counts_one_look(dog: Watchdog, start: StartProcess) -> None:
    """As after the machine was suspended: the clock has gone on, and nobody did anything."""
    pid = start()
    look(dog)
    stop(pid)
    dog.look()
    time.sleep(1.0)
    look(dog, 2)
    os.kill(pid, signal.SIGCONT)
    look(dog, 2)
    assert dog._watched[pid].missed == 0
    assert ended_by(pid) == 0


def test_who_has_ended_is_forgotten(dog: Watchdog, start: StartProcess) -> None:
    pid = start()
    look(dog)
    files = len(os.listdir("/proc/self/fd"))
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    look(dog, 2)
    assert dog._watched == {}
    assert len(os.listdir("/proc/self/fd")) == files - 1


def test_a_pipe_that_nobody_reads_stops_nobody(dog: Watchdog) -> None:
    heart = Heart(dog.pipe)
    for _ in range(10_000):  # 8,192 fit
        heart.beat_once()
    dog.look()
    assert list(dog._watched) == [os.getpid()]
