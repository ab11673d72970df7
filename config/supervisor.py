"""`manage.py up`: starts the servers, migrations, web and worker, keeps them running, stops them.

One thread, one loop (`_turn`). Everything that a child prints passes through here into the log stream.
Nothing in here imports Django: this process lives as long as the registry and stays small.
"""

import contextlib
import fcntl
import json
import os
import selectors
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from config.admin_password import random_admin_password
from config.embedded import EmbeddedServers, Postgres, Valkey, write_private
from config.environment import ConfigurationError
from config.health import ask_health
from config.log_stream import LogStream
from config.options import Options, check_address_is_free, prepare_directories, read_options
from config.processes import Child, Program, end_leftovers, raise_open_files_limit, start

ROOT = Path(__file__).resolve().parent.parent
USAGE = "usage: manage.py up    (everything is set by environment variables: docs/operations.md)\n"
ADMIN_CREATED = "BREAKWATER_ADMIN_CREATED"  # what `manage.py migrate` prints when it made the user admin

# A program that ends before it ran this long has not started. Before the registry is ready the fifth time in a row is
# the last: something is set wrong. Later it is a full disk or the like, which passes.
STARTED_AFTER = 5.0
RESTART_DELAYS = (0.1, 0.5, 2.0, 8.0)
# Read here, also from *_FILE, and given on to those who need them: the password of admin to `migrate` alone.
SECRETS = ("BREAKWATER_ADMIN_PASSWORD", "BREAKWATER_SECRET_KEY", "DATABASE_URL", "REDIS_URL")
STOP_ORDER = ("web", "worker", "migrate", "check_servers", "valkey", "postgres")


class StopAsked(Exception):
    """SIGINT, SIGTERM or SIGHUP arrived."""


class CannotStart(Exception):
    """A sentence: which program, and its last words."""


def main(arguments: list[str]) -> int:
    if arguments:
        sys.stderr.write(USAGE)
        return 2
    try:
        options = read_options()
        prepare_directories(options)
        with open(options.home / "supervisor.lock", "a+", encoding="ascii") as lock:
            _hold(lock.fileno(), options.home)
            return Supervisor(options).run()
    except (ConfigurationError, CannotStart) as e:
        sys.stderr.write(f"breakwater: {e}\n")
        return 1
    except OSError as e:  # a full disk, a directory taken away
        sys.stderr.write(f"breakwater: {e.filename or 'a file'} cannot be used: {e.strerror}.\n")
        return 1
    except KeyboardInterrupt:  # before run() catches signals
        return 130


def _hold(descriptor: int, home: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as e:
        pid = os.pread(descriptor, 20, 0).decode().strip()
        raise ConfigurationError(f"Breakwater already runs on {home} (process {pid}); stop it first.") from e
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)


class Supervisor:
    def __init__(self, options: Options) -> None:
        self._options = options
        self._home = options.home
        self._log = LogStream(self._home / "logs" / "breakwater.log")
        self._mark = os.urandom(16).hex()
        self._selector = selectors.DefaultSelector()
        self._children: dict[str, Child] = {}
        self._failures: dict[str, int] = {}
        self._restarts: dict[str, tuple[float, Program]] = {}
        self._signals = 0
        self._stopping = self._was_ready = False

    def run(self) -> int:
        self._catch_signals()
        raise_open_files_limit()
        try:
            for name in end_leftovers(self._home / "run"):
                self._log.say(f"ended {name}, which an earlier run had left behind", level="warning")
            check_address_is_free(self._options)
            self._start_everything()
            while True:
                self._turn(60.0)
        except StopAsked:
            return 0
        finally:
            self._stop_everything()

    # Start

    def _start_everything(self) -> None:
        environment = self._child_environment()
        self._start_servers(environment)
        self._migrate(environment)
        python = sys.executable
        web = [python, "-m", "config.web_server"]
        worker = [python, str(ROOT / "manage.py"), "worker", "--with-scheduler"]
        # A web worker gets 15 s to finish what it is sending (workers_kill_timeout).
        self._start(Program("web", web, environment, str(ROOT), stop_seconds=20.0))
        self._start(Program("worker", worker, environment, str(ROOT), stop_seconds=10.0))
        self._wait_until_healthy()
        self._was_ready = True
        self._log.plain(f"ready {self._options.local_url}")

    def _start_servers(self, environment: dict[str, str]) -> None:
        options = self._options
        servers = EmbeddedServers(self._home, taken_port=options.port)
        waits: list[Callable[[], bool]] = []
        if not options.database_url:
            # Each web process holds up to 12 connections (design 8.1), the worker and the collector a few.
            postgres = Postgres(servers, connections=max(100, options.workers * 14 + 40))
            postgres.prepare()
            self._start(postgres.program())
            environment["DATABASE_URL"] = postgres.url()
            # Without servers of its own it is being tried out, and so is what it is to talk to.
            environment.setdefault("BREAKWATER_OUTBOUND_NETWORKS", "127.0.0.0/8,::1/128")
            waits.append(postgres.is_ready)
        if not options.redis_url:
            valkey = Valkey(servers)
            self._start(valkey.program())
            environment["REDIS_URL"] = valkey.url()
            waits.append(valkey.is_ready)
        for is_ready in waits:
            self._wait(is_ready)
        if options.database_url or options.redis_url:
            self._run("check_servers", [sys.executable, "-m", "config.check_servers"], environment)

    def _migrate(self, environment: dict[str, str]) -> None:
        # On disk until it was shown: a kill between its use and the print must not lock anybody out.
        unshown = self._home / "admin-password.unshown"
        given = self._options.admin_password
        if not given and not unshown.exists():
            write_private(unshown, random_admin_password())
        password = given or unshown.read_text(encoding="utf-8")
        said = self._run(
            "migrate",
            [
                sys.executable,
                str(ROOT / "manage.py"),
                "migrate",
                "--no-input",
                "--skip-checks",
                "--verbosity=0",
            ],
            {**environment, "BREAKWATER_ADMIN_PASSWORD": password},
        )
        if ADMIN_CREATED in said and not given:
            self._log.plain(f"admin password: {password}   (shown once, for the user admin)")
        unshown.unlink(missing_ok=True)

    def _child_environment(self) -> dict[str, str]:
        options = self._options
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(SECRETS)}
        return {
            # One arena per thread would triple the memory of an idle process.
            "MALLOC_ARENA_MAX": "2",
            **inherited,
            "PYTHONUNBUFFERED": "1",
            "BREAKWATER_HOME": str(self._home),
            "BREAKWATER_RUN_DIR": str(self._home / "run"),
            "BREAKWATER_ADDR": options.address,
            "BREAKWATER_EXTERNAL_URL": ",".join(options.external_urls),
            "BREAKWATER_TLS_CERT": options.tls_cert,
            "BREAKWATER_TLS_KEY": options.tls_key,
            "BREAKWATER_STORAGE": options.storage,
            "BREAKWATER_WORKERS": str(options.workers),
            "BREAKWATER_SECRET_KEY": options.secret_key or self._secret_key(),
            "DATABASE_URL": options.database_url,
            "REDIS_URL": options.redis_url,
        }

    def _secret_key(self) -> str:
        path = self._home / "secret.key"
        if not path.exists():
            if (self._home / "embedded.json").exists():
                raise ConfigurationError(
                    f"{path} is missing, and the credentials in the database cannot be read without it. "
                    "Restore it from a backup, or set BREAKWATER_SECRET_KEY to what it held."
                )
            write_private(path, os.urandom(32).hex())
        return path.read_text(encoding="utf-8").strip()

    # Programs

    def _start(self, program: Program) -> None:
        try:
            child = start(program, self._home / "run", self._mark)
        except OSError as e:
            raise CannotStart(f"{program.command[0]} cannot be started: {e.strerror}.") from e
        self._children[program.name] = child
        self._selector.register(child.output, selectors.EVENT_READ, child)

    def _run(self, name: str, command: list[str], environment: dict[str, str]) -> list[str]:
        """Run to its end, once; its lines. A program that fails has said why in the last of them."""
        self._start(Program(name, command, environment, str(ROOT), restart=False))
        child = self._children[name]
        while name in self._children:
            self._turn(1.0)
        if child.process.returncode:
            raise CannotStart(_sentence(child))
        return list(child.last_words)

    def _wait(self, is_ready: Callable[[], bool]) -> None:
        while not is_ready():
            self._turns(0.02)

    def _wait_until_healthy(self) -> None:
        began = told = time.monotonic()
        while trouble := ask_health(self._options):
            if time.monotonic() - told > 30:
                told = time.monotonic()
                self._log.say(f"not ready yet: {trouble}", level="warning")
            self._turns(0.1 if time.monotonic() - began < 10 else 1.0)

    def _ended(self, child: Child) -> None:
        program, code = child.program, child.process.returncode
        self._pump(child)
        del self._children[program.name]
        if self._stopping or not program.restart:
            return
        if child.age() > STARTED_AFTER:
            self._failures[program.name] = 0
        failures = self._failures[program.name] = self._failures.get(program.name, 0) + 1
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        if failures > len(RESTART_DELAYS) and not self._was_ready:
            raise CannotStart(f"{program.name} {how}, {failures} times in a row. {_sentence(child)}")
        self._start_again(program, how)

    def _start_again(self, program: Program, how: str) -> None:
        delay = RESTART_DELAYS[min(self._failures[program.name], len(RESTART_DELAYS)) - 1]
        self._log.say(f"{program.name} {how}; starting it again in {delay} s", level="error")
        self._restarts[program.name] = (time.monotonic() + delay, program)

    def _restart(self, program: Program) -> None:
        try:
            self._start(program)
        except CannotStart as e:
            if not self._was_ready:
                raise
            self._failures[program.name] += 1
            self._start_again(program, f"did not start ({e})")

    # The loop

    def _turn(self, seconds: float) -> None:
        """Wait for output, a signal, an end or a restart that is due, and see to it."""
        due = min((at for at, _ in self._restarts.values()), default=None)
        if due is not None:
            seconds = max(0.0, min(seconds, due - time.monotonic()))
        for key, _ in self._selector.select(seconds):
            if isinstance(key.data, Child):
                self._pump(key.data)
            else:
                os.read(key.fd, 4096)
        if self._signals and not self._stopping:
            raise StopAsked
        for child in list(self._children.values()):
            if child.has_ended():
                self._ended(child)
        for name, (at, program) in list(self._restarts.items()):
            if at <= time.monotonic():
                del self._restarts[name]
                self._restart(program)

    def _turns(self, seconds: float) -> None:
        """A turn ends with every line that arrives; this is the whole time."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._turn(left)

    def _pump(self, child: Child) -> None:
        if child.is_silent():
            return
        for line in child.read_lines():
            if line != ADMIN_CREATED:
                self._log.child_line(child.program.name, line)
        if child.is_silent():
            self._selector.unregister(child.output)
            child.close()

    def _catch_signals(self) -> None:
        read_end, write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
        self._selector.register(read_end, selectors.EVENT_READ)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_stop_signal)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # wakes the loop

    def _on_stop_signal(self, number: int, frame: FrameType | None) -> None:
        self._signals += 1

    # Stop

    def _stop_everything(self) -> None:
        """Web first, so that what it is sending is finished while the others still answer."""
        self._stopping = True
        self._restarts.clear()
        if not self._children:
            return
        self._log.say("stopping; once more to hurry")
        for name in STOP_ORDER:
            if name in self._children:
                self._stop(self._children[name])
                self._log.say(f"{name} has stopped")

    def _stop(self, child: Child) -> None:
        program = child.program
        deadline = time.monotonic() + program.stop_seconds
        child.ask_to_end()
        while program.name in self._children:
            hurried = self._signals > 1 and program.account is None and program.name != "postgres"
            if time.monotonic() > deadline or hurried:
                self._log.say(f"{program.name} did not end in time: killed", level="warning")
                child.kill()
                deadline = time.monotonic() + 5.0
            self._turn(0.2)


def _says_something(line: str) -> bool:
    """Not what PostgreSQL writes below an error: the statement, and a mark under the place that is meant."""
    return any(map(str.isalpha, line)) and not line.startswith(
        ("LINE ", "DETAIL: ", "HINT: ", "CONTEXT: ", " ", "\t")
    )


def _sentence(child: Child) -> str:
    """The last thing a program said. What was meant as a sentence stands alone, an error with its program."""
    name = child.program.name
    line = next(filter(_says_something, reversed(child.last_words)), "it said nothing.").strip()
    if line.startswith("{"):
        with contextlib.suppress(ValueError):
            line = str(json.loads(line).get("message", line))
    for prefix in ("CommandError: ", "breakwater: "):
        if line.startswith(prefix):
            return line.removeprefix(prefix)
    return f"{name} failed: {line}"
