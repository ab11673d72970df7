"""Child processes: each in a session of its own, known by a pid file, ended together with what it started.

A pid file says which process (number, boot and clock tick at which it began: a number alone may have been
given to somebody else since) and which mark its whole family carries in its environment.
"""

import contextlib
import ctypes
import json
import os
import resource
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

MARK = "BREAKWATER_SUPERVISED"

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


@dataclass(frozen=True)
class Account:
    uid: int
    gid: int


@dataclass(frozen=True)
class Program:
    """What to run, and how it wants to be asked to end."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    directory: str
    stop_signal: int = signal.SIGTERM
    stop_seconds: float = 10.0
    account: Account | None = None
    restart: bool = True
    # How long a later start waits for it. Short: the database went away together with the supervisor, so there
    # is nothing that a web server or worker could still finish.
    leftover_seconds: float = 3.0


@dataclass
class Child:
    """A running program. Output is read by whoever owns it, from `output` (non-blocking)."""

    program: Program
    pid_file: Path
    process: subprocess.Popen[bytes]
    began: float = field(default_factory=time.monotonic)
    last_words: deque[str] = field(default_factory=lambda: deque(maxlen=40))
    _closed: bool = False
    _rest: bytes = b""

    @property
    def output(self) -> int:
        assert self.process.stdout
        return self.process.stdout.fileno()

    def is_silent(self) -> bool:
        """True once the program and its family have closed their output."""
        return self._closed

    def age(self) -> float:
        return time.monotonic() - self.began

    def read_lines(self) -> list[str]:
        """The whole lines that have arrived, and the last one without an end when no more can come."""
        data = b""
        with contextlib.suppress(BlockingIOError):
            while chunk := os.read(self.output, 65536):
                data += chunk
                if len(data) > 1 << 20:
                    break
            else:
                self._closed = True
        lines = (self._rest + data).split(b"\n")
        # Kept for the next time, unless no next time comes or the line never ends.
        self._rest = b"" if self._closed or len(lines[-1]) > 65536 else lines.pop()
        texts = [line.decode("utf-8", "replace") for line in lines if line.strip()]
        self.last_words.extend(texts)
        return texts

    def close(self) -> None:
        if self.process.stdout:
            self.process.stdout.close()

    def has_ended(self) -> bool:
        """True once the program itself is gone; whatever it started has then been killed too."""
        if self.process.returncode is not None:
            return True
        # Looked at without reaping: until wait(), no other process can get this number or group.
        if os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return False
        self._kill_group()
        self.process.wait()
        self.pid_file.unlink(missing_ok=True)
        return True

    def ask_to_end(self) -> None:
        if self.process.returncode is None:
            self.process.send_signal(self.program.stop_signal)

    def kill(self) -> None:
        if self.process.returncode is None:
            self._kill_group()

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)


def start(program: Program, run_dir: Path, mark: str) -> Child:
    account = program.account
    process = subprocess.Popen(
        program.command,
        env={**program.environment, MARK: mark},
        cwd=program.directory,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[] if account else None,
        # After the change of user, which would clear the death signal. The supervisor has one thread.
        preexec_fn=end_with_parent(program.stop_signal, os.getpid()),  # noqa: PLW1509
    )
    pid_file = run_dir / f"{program.name}.pid"
    child = Child(program, pid_file, process)
    os.set_blocking(child.output, False)
    content = {
        "pid": process.pid,
        "began": _identity(process.pid),
        "mark": mark,
        "stop_signal": int(program.stop_signal),
        "grace": program.leftover_seconds,
    }
    # On a full disk it runs without one: what a killed supervisor leaves behind has its death signal besides.
    with contextlib.suppress(OSError):
        pid_file.write_text(json.dumps(content), encoding="ascii")
    return child


def end_with_parent(signal_number: int, parent: int) -> Callable[[], None]:
    def in_child() -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return in_child


def raise_open_files_limit() -> None:
    """Each connection and each file on its way is a descriptor; the soft limit is often 1024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = 1 << 20
    wanted = most if hard == resource.RLIM_INFINITY else min(hard, most)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def end_leftovers(run_dir: Path) -> list[str]:
    """End what a killed supervisor left behind, and say which programs that were."""
    asked = time.monotonic()
    found = [record for path in sorted(run_dir.glob("*.pid")) if (record := _read_record(path))]
    for record in found:
        if record.is_running():
            _signal(record.pid, record.stop_signal)
    for record in found:
        while record.is_running() and time.monotonic() < asked + record.grace:
            time.sleep(0.02)
    names = []
    for record in found:
        alive = _family(record.pid, record.mark) + ([record.pid] if record.is_running() else [])
        for pid in alive:
            _signal(pid, signal.SIGKILL)
        if alive or record.was_running:
            names.append(record.path.stem)
        record.path.unlink(missing_ok=True)
    return names


@dataclass
class _Record:
    """A pid file, read."""

    path: Path
    pid: int
    began: str
    mark: str
    stop_signal: int
    grace: float
    was_running: bool = False

    def is_running(self) -> bool:
        running = bool(self.began) and _identity(self.pid) == self.began
        self.was_running |= running
        return running


def _read_record(path: Path) -> _Record | None:
    try:
        content = json.loads(path.read_text(encoding="ascii"))
        return _Record(path, **{**content, "pid": int(content["pid"])})
    except (OSError, ValueError, KeyError, TypeError):
        # Cut off by a crash, hence its program has had the death signal; nobody can say more about it.
        path.unlink(missing_ok=True)
        return None


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def is_running(pid: int) -> bool:
    """False also of a zombie."""
    return bool(_identity(pid))


def _identity(pid: int) -> str:
    """Boot and clock tick at which the process began; "" when there is none (a zombie is none)."""
    fields = _stat(pid)
    if not fields or fields[0] in "ZX":
        return ""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return f"{boot}/{fields[19]}"


def _family(session: int, mark: str) -> list[int]:
    """Processes of the session that carry the mark: the session's number alone proves nothing."""
    wanted = f"{MARK}={mark}".encode()
    return [
        int(entry)
        for entry in os.listdir("/proc")
        if entry.isdigit() and (fields := _stat(int(entry))) and int(fields[3]) == session
        if wanted in _environment(int(entry))
    ]


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the name: state, parent, group, session, … (proc(5))."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return text.rpartition(")")[2].split()


def _environment(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []
