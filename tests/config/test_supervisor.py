"""`manage.py up`, the real one: one registry for the tests of this file, ended and started again on the way."""

import datetime
import ipaddress
import json
import os
import re
import shutil
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psycopg2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from config.processes import Child, Program
from config.supervisor import _sentence
from tests.components import process
from tests.components.breakwater import ROOT, Breakwater, web_workers
from tests.components.postgres import Postgres
from tests.components.valkey import Valkey

PROGRAMS = ["web", "worker", "valkey", "postgres"]


@pytest.fixture(scope="module")
def registry() -> Iterator[Breakwater]:
    """With a password of its own making."""
    breakwater = Breakwater(BREAKWATER_ADMIN_PASSWORD="", BREAKWATER_WORKERS="2")
    breakwater.start()
    yield breakwater
    breakwater.remove()


def run_up(environment: dict[str, str]) -> tuple[int, str]:
    """Exit code and stderr of a `manage.py up` that is not expected to stay."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("BREAKWATER_", "DJANGO_"))
    }
    for name in ("DATABASE_URL", "REDIS_URL"):
        kept.pop(name, None)
    done = subprocess.run(
        [sys.executable, "manage.py", "up"],
        cwd=ROOT,
        env={**kept, **environment},
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert not re.search("^ready", done.stdout, re.MULTILINE)
    assert "Traceback" not in done.stderr + done.stdout
    return done.returncode, done.stderr


def test_a_command_beside_it_needs_only_the_home(registry: Breakwater) -> None:
    kept = {n: v for n, v in os.environ.items() if not n.startswith(("BREAKWATER_", "DATABASE_", "REDIS_"))}
    done = subprocess.run(
        [sys.executable, "manage.py", "scrub", "--verify", "100"],
        cwd=ROOT,
        env={**kept, "BREAKWATER_HOME": str(registry.home)},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "scrub: clean; 0 objects, 0 bytes, 0 verified\n"


def pid_of(registry: Breakwater, program: str) -> int:
    return int(json.loads((registry.home / "run" / f"{program}.pid").read_text())["pid"])


def is_healthy(registry: Breakwater) -> bool:
    try:
        answer = httpx.get(f"{registry.url}/api/v2.0/health", timeout=5)
    except httpx.HTTPError:
        return False
    return answer.status_code == 200 and answer.json()["status"] == "healthy"


def wait_for(condition: Callable[[], bool], seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def log_lines(registry: Breakwater) -> list[dict[str, str]]:
    text = (registry.home / "logs" / "breakwater.log").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_it_says_ready_once_and_is(registry: Breakwater) -> None:
    assert re.findall(r"^ready .*", registry.log, re.MULTILINE) == [f"ready {registry.url}"]
    assert is_healthy(registry)


def test_it_shows_the_password_once_and_nowhere_else(registry: Breakwater) -> None:
    shown = re.findall(r"^admin password: (\S+)", registry.log, re.MULTILINE)
    assert len(shown) == 1
    password = shown[0]
    answer = httpx.get(f"{registry.url}/api/v2.0/users/current", auth=("admin", password))
    assert (answer.status_code, answer.json()["username"]) == (200, "admin")
    for file in (file for file in registry.home.rglob("*") if file.is_file() and file.name != "up.log"):
        assert password.encode() not in file.read_bytes(), file
    for program in ("web", "worker"):
        assert b"ADMIN_PASSWORD" not in Path(f"/proc/{pid_of(registry, program)}/environ").read_bytes()


def test_what_is_secret_is_its_owners(registry: Breakwater) -> None:
    for name in ("secret.key", "embedded.json", "valkey/valkey.conf"):
        assert (registry.home / name).stat().st_mode & 0o077 == 0, name
    for program in PROGRAMS:
        arguments = Path(f"/proc/{pid_of(registry, program)}/cmdline").read_text()
        for secret in json.loads((registry.home / "embedded.json").read_text()).values():
            assert not isinstance(secret, str) or secret not in arguments


def test_every_line_of_the_log_is_an_object_with_the_same_fields(registry: Breakwater) -> None:
    lines = log_lines(registry)
    assert {line["service"] for line in lines} >= {"web", "postgres"}
    for line in lines:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["at"])
        assert line["level"] in ("debug", "info", "warning", "error", "critical")
        assert line["message"]
    plain = [line for line in registry.log.splitlines() if not line.startswith("{")]
    assert [line.split()[0] for line in plain] == ["admin", "ready"]


def test_the_supervisor_stays_small(registry: Breakwater) -> None:
    rollup = Path(f"/proc/{registry.pid}/smaps_rollup").read_text()
    assert int(re.search(r"^Pss:\s+(\d+) kB", rollup, re.MULTILINE)[1]) < 20_000  # type: ignore[index]
    code = "import sys, config.supervisor; print(*{'django', 'logging', 'ssl', 'http.client'} & set(sys.modules))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert loaded.stdout.strip() == ""


def test_a_second_one_on_the_same_home_is_refused(registry: Breakwater) -> None:
    code, message = run_up({**registry.environment, "BREAKWATER_ADDR": f"127.0.0.1:{process.free_port()}"})
    assert code == 1
    assert message == (
        f"breakwater: Breakwater already runs on {registry.home} (process {registry.pid}); stop it first.\n"
    )


def test_a_busy_port_is_refused(registry: Breakwater, tmp_path: Path) -> None:
    code, message = run_up({**registry.environment, "BREAKWATER_HOME": str(tmp_path)})
    assert code == 1
    assert message == (
        f"breakwater: Cannot listen on {registry.host}: Address already in use. "
        "Set BREAKWATER_ADDR to a free address.\n"
    )


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_that_is_killed_comes_back(registry: Breakwater, program: str) -> None:
    killed = pid_of(registry, program)
    os.kill(killed, signal.SIGKILL)
    pid_file = registry.home / "run" / f"{program}.pid"
    assert wait_for(lambda: pid_file.exists() and pid_of(registry, program) != killed)
    assert wait_for(lambda: is_healthy(registry))
    assert any(f"{program} was killed by signal 9" in line["message"] for line in log_lines(registry))


def test_web_workers_that_are_killed_come_back(registry: Breakwater) -> None:
    """The second within seconds of the first ends the web server, and the supervisor starts it again."""

    def workers() -> set[int]:
        if not (registry.home / "run" / "web.pid").exists():
            return set()
        return set(web_workers(pid_of(registry, "web")))

    for _ in range(2):
        assert wait_for(lambda: len(workers()) == 2)
        killed = workers().pop()
        os.kill(killed, signal.SIGKILL)
        assert wait_for(lambda killed=killed: len(workers()) == 2 and killed not in workers())  # type: ignore[misc]
    assert wait_for(lambda: is_healthy(registry))


def test_a_killed_tree_starts_again_and_says_only_what_is_so(registry: Breakwater) -> None:
    """Nothing was reaped yet when PostgreSQL looked at the lock of the one before; it is asked when it is ready."""
    registry.kill_tree()
    registry.start()
    assert "database system was not properly shut down" in registry.log
    for noise in ("postmaster.pid", "starting it again", "is starting up", "not yet accepting", "failed"):
        assert noise not in registry.log
    assert is_healthy(registry)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["Traceback", '  File "x"', "db.Error: no such table", "LINE 1: SELECT", "        ^"],
            "db.Error: no such table",
        ),
        (["FATAL:  the disk is full", "HINT:  make room", "^"], "FATAL:  the disk is full"),
        ([" ^"], "it said nothing."),
    ],
)
def test_the_sentence_of_a_program_that_failed_is_its_last_that_says_something(
    words: list[str], sentence: str, tmp_path: Path
) -> None:
    program = Program("migrate", ["true"], {}, "/")
    child = Child(program, tmp_path / "pid", subprocess.Popen(["true"]))
    child.last_words.extend(words)
    child.process.wait()
    assert _sentence(child) == f"migrate failed: {sentence}"


def test_a_killed_supervisor_takes_all_along_and_the_next_start_is_fast(registry: Breakwater) -> None:
    pids = [pid_of(registry, program) for program in PROGRAMS]
    process.stop(registry.pid, signal.SIGKILL)
    began = time.monotonic()
    registry.start()
    assert time.monotonic() - began < 10  # what is left of the first run ends within this, too
    assert not [pid for pid in pids if process.is_running(pid)]
    assert is_healthy(registry)
    assert "admin password" not in registry.log


def test_it_stops_in_order(registry: Breakwater) -> None:
    before = len(log_lines(registry))
    os.kill(registry.pid, signal.SIGTERM)
    _, status = os.waitpid(registry.pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    messages = [line["message"] for line in log_lines(registry)[before:] if line["service"] == "supervisor"]
    assert messages == [
        "stopping; once more to hurry",
        "web has stopped",
        "worker has stopped",
        "valkey has stopped",
        "postgres has stopped",
    ]
    assert list((registry.home / "run").glob("*.pid")) == []


def test_the_second_start_takes_less_than_five_seconds(registry: Breakwater) -> None:
    began = time.monotonic()
    registry.start()
    assert time.monotonic() - began < 5


def test_a_database_of_a_newer_version_is_refused(registry: Breakwater) -> None:
    servers = json.loads((registry.home / "embedded.json").read_text())
    connection = psycopg2.connect(
        f"postgresql://breakwater:{servers['postgres_password']}@127.0.0.1:{servers['postgres_port']}/breakwater"
    )
    with connection, connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO django_migrations (app, name, applied) VALUES ('registry_core', '9999_tomorrow', now())"
        )
    connection.close()
    registry.stop()
    code, message = run_up(registry.environment)
    assert code == 1
    assert "newer version" in message
    assert message.count("\n") == 1


def test_a_lost_key_is_refused_and_not_replaced(registry: Breakwater) -> None:
    """After the test above: the registry stands still."""
    (registry.home / "secret.key").rename(registry.home / "secret.key.kept")
    code, message = run_up(registry.environment)
    (registry.home / "secret.key.kept").rename(registry.home / "secret.key")
    assert code == 1
    assert message.startswith(f"breakwater: {registry.home}/secret.key is missing")


@pytest.mark.skipif(os.geteuid() != 0, reason="HOME/postgresql is a link for root only")
def test_a_copy_of_home_does_not_start_a_second_server_on_one_database(
    registry: Breakwater, tmp_path: Path
) -> None:
    shutil.copytree(registry.home, tmp_path / "copy", symlinks=True)
    code, message = run_up({**registry.environment, "BREAKWATER_HOME": str(tmp_path / "copy")})
    assert code == 1
    assert f"belongs to {registry.home}, of which {tmp_path}/copy is a copy" in message


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("DATABASE_URL", "postgresql://u:s3cret@127.0.0.1:1/x", "breakwater: The database of DATABASE_URL"),
        (
            "DATABASE_URL",
            "postgresql://postgres:s3cret@127.0.0.1:{postgres}/x",
            "password authentication failed",
        ),
        ("REDIS_URL", "redis://127.0.0.1:1/0", "breakwater: The Redis of REDIS_URL"),
        ("REDIS_URL", "redis://:s3cret@127.0.0.1:{valkey}/0", "breakwater: The Redis of REDIS_URL"),
    ],
)
def test_servers_that_cannot_be_used(
    postgres: Postgres, valkey: Valkey, tmp_path: Path, variable: str, value: str, sentence: str
) -> None:
    code, message = run_up(
        {
            "BREAKWATER_HOME": str(tmp_path),
            "BREAKWATER_ADDR": f"127.0.0.1:{process.free_port()}",
            "BREAKWATER_SECRET_KEY": "k" * 40,
            "DATABASE_URL": postgres.url("postgres"),
            "REDIS_URL": os.environ["REDIS_URL"],
            variable: value.format(postgres=postgres.port, valkey=valkey.port),
        }
    )
    assert code == 1
    assert sentence in message
    assert message.count("\n") == 1
    assert "s3cret" not in message


def test_https_with_a_certificate_of_ones_own(tmp_path: Path) -> None:
    write_certificate(tmp_path)
    breakwater = Breakwater(
        BREAKWATER_TLS_CERT=str(tmp_path / "cert.pem"),
        BREAKWATER_TLS_KEY=str(tmp_path / "key.pem"),
        BREAKWATER_WORKERS="1",
    )
    breakwater.start()
    try:
        url = f"https://{breakwater.host}"
        assert f"\nready {url}\n" in breakwater.log
        trust = ssl.create_default_context(cafile=tmp_path / "cert.pem")
        challenge = httpx.get(f"{url}/v2/", verify=trust).headers["www-authenticate"]
        assert f'realm="{url}/service/token"' in challenge
    finally:
        breakwater.remove()


def write_certificate(directory: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    (directory / "cert.pem").write_bytes(certificate.public_bytes(encoding))
    (directory / "key.pem").write_bytes(
        key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


def test_servers_of_ones_own(postgres: Postgres, valkey: Valkey) -> None:
    breakwater = Breakwater(
        DATABASE_URL=postgres.create_database("own_servers"),
        REDIS_URL=os.environ["REDIS_URL"],
        BREAKWATER_SECRET_KEY="k" * 40,
        BREAKWATER_WORKERS="1",
    )
    breakwater.start()
    try:
        assert sorted(file.stem for file in (breakwater.home / "run").glob("*.pid")) == ["web", "worker"]
        assert "admin password" not in breakwater.log  # it was given
    finally:
        breakwater.remove()
