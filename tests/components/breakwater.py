"""The registry itself, as a person starts it: `manage.py up` in a directory and on a port of its own."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import pathlib
import re
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import httpx
import pytest

from tests.components import process
from tests.rest import rest_client

ROOT = pathlib.Path(__file__).resolve().parents[2]
ADMIN_PASSWORD = "Tested-with-Password1"
READY = re.compile(r"^ready (https?://\S+)", re.MULTILINE)
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Credentials:
    username: str
    secret: str

    @property
    def pair(self) -> tuple[str, str]:
        return self.username, self.secret

    @property
    def joined(self) -> str:
        return f"{self.username}:{self.secret}"


ADMIN = Credentials("admin", ADMIN_PASSWORD)


class Breakwater:
    """One registry: supervisor and all its children. `environment` goes before what is said here."""

    def __init__(self, **environment: str) -> None:
        given = environment.get("BREAKWATER_HOME")
        self.home = pathlib.Path(given) if given else process.own_directory(f"b{next(_numbers)}")
        self.home.mkdir(parents=True, exist_ok=True)
        self.host = f"127.0.0.1:{process.free_port()}"
        self.url = f"http://{self.host}"
        self.environment = {
            "BREAKWATER_HOME": str(self.home),
            "BREAKWATER_ADDR": self.host,
            "BREAKWATER_ADMIN_PASSWORD": ADMIN_PASSWORD,
            "BREAKWATER_UNDO_DAYS": "0",
            "BREAKWATER_GC_GRACE": "0",
            **environment,
        }
        self.pid = 0
        self.within: list[str] = []  # goes before every command: where its processes run

    # Processes

    def start(self, *, seconds: float = 90) -> None:
        log = self.home / "up.log"
        log.unlink(missing_ok=True)
        supervisor = process.start(
            [*self.within, sys.executable, "manage.py", "up"], ROOT,
            name="up", logs=self.home, env=self._environment(),
        )  # fmt: skip
        self.pid = supervisor.pid
        process.wait_until(lambda: bool(READY.search(log.read_text())), supervisor, log, seconds=seconds)

    def _environment(self) -> dict[str, str]:
        """What the test run has set for Django in this process must not reach the registry's own start."""
        ours = ("BREAKWATER_", "DJANGO_", "PYTEST_")
        kept = {
            k: v
            for k, v in os.environ.items()
            if not k.startswith(ours) and k not in ("DATABASE_URL", "REDIS_URL")
        }
        return {**kept, **self.environment}

    @property
    def log(self) -> str:
        file = self.home / "up.log"
        return file.read_text(errors="replace") if file.exists() else ""

    def stop(self) -> None:
        """As Ctrl-C does; nothing that it had started may live longer than the supervisor."""
        tree = process.descendants(self.pid)
        process.stop(self.pid, seconds=40)
        assert [pid for pid in tree if process.is_running(pid)] == []

    @property
    def database(self) -> str:
        """The URL of its embedded PostgreSQL."""
        made = json.loads((self.home / "embedded.json").read_text())
        return f"postgresql://breakwater:{made['postgres_password']}@127.0.0.1:{made['postgres_port']}/breakwater"

    def failures(self) -> list[str]:
        """What it logged as its own fault; every 5xx is such a line."""
        return [line for line in self.log.splitlines() if re.search(r'"level": "(error|critical)"', line)]

    def kill_tree(self) -> None:
        """kill -9 of the supervisor and of everything below it, at one moment: nobody has time to react."""
        os.kill(self.pid, signal.SIGSTOP)
        tree = [self.pid, *process.descendants(self.pid)]
        for how in (signal.SIGSTOP, signal.SIGKILL):
            for pid in tree:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, how)
        for pid in tree:
            process.stop(pid, signal.SIGKILL)

    def remove(self) -> None:
        """Stop, and leave nothing behind."""
        self.stop()
        process.remove_home(self.home)

    def given_to_children(self) -> dict[str, str]:
        """The environment of web and worker; the database's address is in it."""
        worker = next(pid for pid in process.descendants(self.pid) if "manage.py\0worker" in arguments_of(pid))
        return dict(_environment_of(worker))

    def manage(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A management command beside the running registry, in the environment of its children."""
        return subprocess.run(
            [*self.within, sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=self.given_to_children(),
            check=False,
            capture_output=True,
            text=True,
        )

    def configure(self, **settings: object) -> None:
        """System settings, as the operator sets them."""
        for name, value in settings.items():
            done = self.manage("setting", name, json.dumps(value))
            assert done.returncode == 0, done.stdout + done.stderr

    # The REST API, as the administrator

    def rest(self, credentials: Credentials | None = ADMIN) -> httpx.Client:
        auth = credentials.pair if credentials else None
        return rest_client(f"{self.url}/api/v2.0", auth=auth)

    def create_project(self, name: str = "", *, public: bool = False) -> str:
        name = name or f"p{secrets.token_hex(4)}"
        with self.rest() as rest:
            body = {"project_name": name, "metadata": {"public": str(public).lower()}}
            _created(rest.post("/projects", json=body))
        return name

    def create_robot(
        self, project: str, actions: Iterable[str] = ("pull", "push", "delete"), *, name: str = ""
    ) -> Credentials:
        """A robot that may do this in this project, and nothing elsewhere."""
        access = [{"resource": "repository", "action": action} for action in actions]
        with self.rest() as rest:
            body = {
                "name": name or f"r{secrets.token_hex(4)}",
                "level": "project",
                "duration": -1,
                "permissions": [{"kind": "project", "namespace": project, "access": access}],
            }
            answer = _created(rest.post("/robots", json=body)).json()
        return Credentials(answer["name"], answer["secret"])

    def create_user(self, name: str = "", *, member_of: Mapping[str, int] | None = None) -> Credentials:
        """A user with a password, and the roles (by number) that it has in projects."""
        name = name or f"u{secrets.token_hex(4)}"
        user = Credentials(name, f"Secret-{secrets.token_hex(8)}1")
        with self.rest() as rest:
            body = {
                "username": name,
                "email": f"{name}@example.test",
                "realname": name,
                "password": user.secret,
            }
            _created(rest.post("/users", json=body))
            for project, role in (member_of or {}).items():
                member = {"role_id": role, "member_user": {"username": name}}
                _created(rest.post(f"/projects/{project}/members", json=member))
        return user

    # The distribution API

    def v2(self, credentials: Credentials | None = ADMIN) -> httpx.Client:
        """With Basic on every request; redirects of blobs are followed, as every client does."""
        auth = credentials.pair if credentials else None
        return httpx.Client(base_url=f"{self.url}/v2", auth=auth, timeout=60, follow_redirects=True)

    def tags(self, repository: str) -> list[str]:
        with self.v2() as v2:
            return list(v2.get(f"/{repository}/tags/list").raise_for_status().json()["tags"] or [])


@pytest.fixture(scope="session")
def registry() -> Iterator[Breakwater]:
    """`make up` with its defaults: embedded servers, storage on files. No client brings it to a fault of its own."""
    server = Breakwater()
    try:
        server.start()
        yield server
        assert server.failures() == []
    finally:
        server.remove()


def _created(answer: httpx.Response) -> httpx.Response:
    if answer.status_code != 201:
        raise AssertionError(
            f"{answer.request.method} {answer.request.url}: {answer.status_code} {answer.text}"
        )
    return answer


def arguments_of(pid: int) -> str:
    try:
        return pathlib.Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def web_workers(web_server: int) -> list[int]:
    """What serves; beside them Python keeps a process of its own that counts what they share."""
    return [pid for pid in process.descendants(web_server) if "spawn_main" in arguments_of(pid)]


def _environment_of(pid: int) -> Iterable[tuple[str, str]]:
    for pair in pathlib.Path(f"/proc/{pid}/environ").read_text().split("\0"):
        name, equals, value = pair.partition("=")
        if equals:
            yield name, value
