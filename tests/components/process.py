"""Servers that tests start: a directory of their own for one test run, free ports, an end by their own pid.

The run directory is shared by all pytest-xdist workers. A server that the whole run shares is started by the
first process that needs it and ended by the pytest process that owns the run; what a killed run left behind
is ended, by the pid files in its directory only, when the next run starts.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

RUN_VARIABLE = "BREAKWATER_TEST_RUN"
_PREFIX = "bwt-"
_started: list[
    subprocess.Popen[bytes]
] = []  # kept: a Popen that is collected while its process runs is a warning


def free_port() -> int:
    """It and port + 10000, which SeaweedFS opens too: both below what the kernel takes for outgoing connections."""
    while True:
        port = random.randint(11000, 22000)
        with socket.socket() as s, socket.socket() as second, contextlib.suppress(OSError):
            s.bind(("127.0.0.1", port))
            second.bind(("127.0.0.1", port + 10000))
            return port


def run_directory() -> pathlib.Path:
    return pathlib.Path(os.environ[RUN_VARIABLE])


def own_directory(name: str) -> pathlib.Path:
    """For what each pytest-xdist worker has for itself."""
    return run_directory() / f"{name}{worker()}"


def worker() -> str:
    return os.environ.get("PYTEST_XDIST_WORKER", "")


def begin_run() -> None:
    """Make the run directory, unless the pytest process that started this one has."""
    if RUN_VARIABLE in os.environ:
        return
    for left in pathlib.Path(tempfile.gettempdir()).glob(_PREFIX + "*"):
        _end_abandoned(left)
    # Short: unix sockets lie below it, and may have 100 characters. Open: PostgreSQL runs as another user.
    run = pathlib.Path(tempfile.mkdtemp(prefix=_PREFIX))
    run.chmod(0o755)
    (run / "owner").write_text(str(os.getpid()))
    os.environ[RUN_VARIABLE] = str(run)


def end_run() -> None:
    """End what is shared; only the process that began the run does it."""
    run = run_directory()
    if (run / "owner").read_text() == str(os.getpid()):
        _end_all(run)
    for started in _started:
        # Ended by others meanwhile, or, in a worker, left to the process that owns the run.
        if started.poll() is None:
            started.returncode = 0


def _end_abandoned(run: pathlib.Path) -> None:
    with contextlib.suppress(OSError, ValueError):
        if not is_running(int((run / "owner").read_text())):
            _end_all(run)


def _end_all(run: pathlib.Path) -> None:
    # Newest first: what was started later may depend on what was started before.
    for file in sorted(run.glob("**/*.pid"), key=lambda f: f.stat().st_mtime, reverse=True):
        with contextlib.suppress(OSError, ValueError):
            pid = int(file.read_text().split()[0])
            if str(run) in _traces(pid):
                stop(pid, seconds=30)
    for home in run.iterdir():
        remove_home(home)
    shutil.rmtree(run, ignore_errors=True)


def remove_home(home: pathlib.Path) -> None:
    """The HOME of a registry; as root its database lies where HOME/postgresql points to."""
    database = (home / "postgresql").resolve()
    if database.parent == pathlib.Path("/var/lib/breakwater"):
        shutil.rmtree(database, ignore_errors=True)
    shutil.rmtree(home, ignore_errors=True)


def _traces(pid: int) -> str:
    """Arguments, environment, directory of a process: a number given to another is not ours to end."""
    traces = ""
    with contextlib.suppress(OSError):
        for file in ("cmdline", "environ"):
            traces += pathlib.Path(f"/proc/{pid}/{file}").read_bytes().decode(errors="replace")
        traces += str(pathlib.Path(f"/proc/{pid}/cwd").readlink())
    return traces


def start(
    command: Sequence[str | os.PathLike[str]],
    directory: pathlib.Path,
    *,
    name: str,
    logs: pathlib.Path | None = None,
    env: Mapping[str, str] | None = None,
    user: int | None = None,
    group: int | None = None,
) -> subprocess.Popen[bytes]:
    """Start a server in a session of its own and in this directory.

    Its output goes to <logs>/<name>.log, its pid to <logs>/<name>.pid; `logs` is the directory if not given.
    `env` is its whole environment.
    """
    logs = logs or directory
    with (logs / f"{name}.log").open("ab") as log:
        process = subprocess.Popen(
            command,
            cwd=directory,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            user=user,
            group=group,
            extra_groups=[] if user is not None else None,
        )
    _started.append(process)
    (logs / f"{name}.pid").write_text(str(process.pid))
    return process


def wait_until(
    ready: Callable[[], bool], process: subprocess.Popen[bytes], log: pathlib.Path, *, seconds: float = 30
) -> None:
    """Poll the real protocol; a server that ended or is not ready in time fails with the end of its log."""
    deadline = time.monotonic() + seconds
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            ended = "ended" if process.poll() is not None else f"was not ready after {seconds:.0f} s"
            raise RuntimeError(f"{log.stem} {ended}:\n{log.read_text(errors='replace')[-4000:]}")
        time.sleep(0.02)


def is_listening(port: int) -> bool:
    with socket.socket() as s:
        s.settimeout(1)
        return s.connect_ex(("127.0.0.1", port)) == 0


def is_running(pid: int) -> bool:
    """Alive and not a zombie that its parent has yet to reap."""
    try:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def descendants(pid: int) -> list[int]:
    """Children, their children and so on, of any session."""
    children: dict[int, list[int]] = {}
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(stat.parent.name))
    found = list(children.get(pid, []))
    for child in found:  # grows while it is read
        found += children.get(child, [])
    return found


def stop(pid: int, how: signal.Signals = signal.SIGTERM, *, seconds: float = 10) -> None:
    """Signal the process, and kill its whole process group when it has not ended in time."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, how)
        deadline = time.monotonic() + seconds
        while is_running(pid) and time.monotonic() < deadline:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
            time.sleep(0.01)
        if is_running(pid):
            os.killpg(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)
    for started in [p for p in _started if p.pid == pid]:
        started.poll()
        _started.remove(started)


@contextlib.contextmanager
def only_once(name: str) -> Iterator[pathlib.Path]:
    """A lock over all workers of this run; yields the file whose existence says that `name` is done."""
    with (run_directory() / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield run_directory() / f"{name}.done"
