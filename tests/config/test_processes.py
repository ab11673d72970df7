"""Child processes: what is left behind is ended, and nothing else is."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from config.processes import Child, Program, end_leftovers, start

StartProgram = Callable[[list[str]], Child]

SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]
# A leader with a child in its session that ignores SIGTERM; prints the child's number.
FAMILY_CODE = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
signal.signal(signal.SIGTERM, signal.SIG_DFL)
print(child.pid, flush=True)
time.sleep(600)
"""
FAMILY = [sys.executable, "-c", FAMILY_CODE]


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(SLEEP, start_new_session=True)
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def start_program(tmp_path: Path) -> Iterator[StartProgram]:
    children: list[Child] = []

    def start_one(command: list[str]) -> Child:
        children.append(start(Program("program", command, dict(os.environ), "/"), tmp_path, mark="0123abcd"))
        return children[-1]

    yield start_one
    for child in children:
        child.kill()
        child.process.wait()
        child.close()


def is_running(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def wait_for(condition: Callable[[], bool], seconds: float = 5.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def read_line(child: Child) -> str:
    assert wait_for(lambda: bool(child.read_lines() or child.last_words))
    return child.last_words[0]


def test_a_leftover_is_ended(tmp_path: Path, start_program: StartProgram) -> None:
    child = start_program(SLEEP)
    assert end_leftovers(tmp_path) == ["program"]
    assert child.process.wait(5) == -signal.SIGTERM
    assert list(tmp_path.glob("*.pid")) == []
    assert end_leftovers(tmp_path) == []


def test_a_number_that_another_process_has_now_is_left_alone(
    tmp_path: Path, stranger: subprocess.Popen[bytes], start_program: StartProgram
) -> None:
    time.sleep(0.02)  # two processes that began within one clock tick (10 ms) look alike
    child = start_program(SLEEP)
    record = json.loads(child.pid_file.read_text())
    child.kill()
    child.process.wait()
    child.pid_file.write_text(json.dumps({**record, "pid": stranger.pid}))
    assert end_leftovers(tmp_path) == []
    assert stranger.poll() is None
    assert list(tmp_path.glob("*.pid")) == []


def test_the_family_of_a_killed_leader_is_ended(tmp_path: Path, start_program: StartProgram) -> None:
    leader = start_program(FAMILY)
    member = int(read_line(leader))
    os.kill(leader.process.pid, signal.SIGKILL)
    leader.process.wait()
    assert is_running(member)
    assert end_leftovers(tmp_path) == ["program"]
    assert wait_for(lambda: not is_running(member))


def test_the_family_ends_when_its_leader_does(start_program: StartProgram) -> None:
    leader = start_program(FAMILY)
    member = int(read_line(leader))
    assert not leader.has_ended()
    os.kill(leader.process.pid, signal.SIGKILL)
    assert wait_for(leader.has_ended)
    assert wait_for(lambda: not is_running(member))
    assert leader.process.returncode == -signal.SIGKILL
    assert not leader.pid_file.exists()


def test_a_program_that_ended_at_once_is_not_waited_for(tmp_path: Path, start_program: StartProgram) -> None:
    child = start_program(["/bin/true"])
    record = json.loads(child.pid_file.read_text())
    child.process.wait()
    child.pid_file.write_text(json.dumps({**record, "began": ""}))  # it was gone before it could be looked at
    began = time.monotonic()
    assert end_leftovers(tmp_path) == []
    assert time.monotonic() - began < 1


def test_a_pid_file_that_was_cut_off_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "program.pid").write_text('{"pid": 1')
    assert end_leftovers(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_children_end_with_the_process_that_started_them(tmp_path: Path) -> None:
    code = (
        "import os, sys, time\n"
        "from pathlib import Path\n"
        "from config.processes import Program, start\n"
        f"program = Program('program', {SLEEP!r}, dict(os.environ), '/')\n"
        f"child = start(program, Path({str(tmp_path)!r}), 'mark')\n"
        "print(child.process.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as supervisor:
        assert supervisor.stdout
        pid = int(supervisor.stdout.readline())
        assert is_running(pid)
        supervisor.kill()
    assert wait_for(lambda: not is_running(pid))


def test_lines_arrive_whole(start_program: StartProgram) -> None:
    code = "import os, time; os.write(1, b'one\\ntw'); time.sleep(0.2); os.write(1, b'o\\nthree')"
    child = start_program([sys.executable, "-c", code])
    lines: list[str] = []

    def read_all() -> bool:
        if not child.is_silent():
            lines.extend(child.read_lines())
        return child.is_silent()

    assert wait_for(read_all)
    assert lines == ["one", "two", "three"] == list(child.last_words)
    assert wait_for(child.has_ended)
