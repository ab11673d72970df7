"""The registries that are measured: this one as `manage.py up` starts it, and its peers with token authentication.

Each runs at its best: caches on, nothing pinned, on files below one directory. Breakwater writes no line per request,
so the peers' logs are off as well; as they are shipped they write two, which `logging` brings back.
"""

from __future__ import annotations

import abc
import base64
import concurrent.futures
import contextlib
import http.client
import json
import os
import pathlib
import threading
import time
import urllib.parse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from registry_core.versions import UNSETTLED
from tests.bench import usage
from tests.bench.progress import say
from tests.components import breakwater, process
from tests.components.breakwater import ADMIN, Credentials

PROJECT = "bench"  # every repository of a run is below it
ALL = "pull,push,delete"
DAY = 86400


@dataclass
class Used:
    """Server CPU and time of a stretch of work; filled when it ends."""

    cpu: float = 0.0
    seconds: float = 0.0


class Registry(abc.ABC):
    name: str
    has_referrers = False
    unsettled = 0.0  # seconds after a change for which less is kept of what was read

    def __init__(self, directory: pathlib.Path, port: int) -> None:
        self.directory = directory
        self.port = port
        self.host = f"127.0.0.1:{port}"
        self.url = f"http://{self.host}"
        self.pid = 0
        self.front: tuple[int, int] | None = None  # pid and port of what stands in front of it
        self.started_at = self.used_at = self.changed_at = time.monotonic()
        self._tokens: dict[tuple[str, ...], str] = {}

    @abc.abstractmethod
    def start(self) -> None:
        """Over when it answers."""

    @abc.abstractmethod
    def stop(self) -> None: ...

    def restart(self) -> None:
        self.stop()
        self.start()

    @contextlib.contextmanager
    def logging(self) -> Iterator[None]:
        """While it lasts, the registry writes what its packager lets it write for each request."""
        yield

    def settle(self) -> None:
        """Wait until nothing of what was stored counts as changed lately."""
        if (left := self.changed_at + self.unsettled - time.monotonic()) > 0:
            say(f"{left:.0f} s until what {self.name} stores counts as settled")
            time.sleep(left)

    def forget(self) -> None:
        """Start the processes that answer anew: no token, tag or digest is cached afterwards."""
        self.restart()

    @abc.abstractmethod
    def new_token(self, *repositories: str, actions: str = ALL) -> str:
        """A bearer token that nobody has seen, good for a day."""

    def new_tokens(self, repositories: Sequence[str], actions: str = ALL) -> list[str]:
        """One for each, in order."""
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            return list(
                pool.map(lambda repository: self.new_token(repository, actions=actions), repositories)
            )

    def token(self, *repositories: str, actions: str = ALL) -> str:
        """A bearer token for these, the same each time."""
        key = (*repositories, actions)
        if key not in self._tokens:
            self._tokens[key] = self.new_token(*repositories, actions=actions)
        return self._tokens[key]

    def authorization(self, *repositories: str) -> str:
        return f"Bearer {self.token(*repositories)}"

    @abc.abstractmethod
    def catalog_authorization(self) -> str: ...

    def cpu(self) -> float:
        """Seconds so far, of every process of the server and of what stands in front of it."""
        return usage.cpu_seconds(self.pid) + (usage.cpu_seconds(self.front[0]) if self.front else 0.0)

    @property
    def entry(self) -> int:
        """The port that clients go to."""
        return self.front[1] if self.front else self.port

    def memory(self) -> int:
        return usage.pss_bytes(self.pid)

    @contextlib.contextmanager
    def measured(self) -> Iterator[Used]:
        used = Used()
        cpu, began = self.cpu(), time.monotonic()
        yield used
        self.used_at = time.monotonic()
        used.seconds = self.used_at - began
        used.cpu = self.cpu() - cpu

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    @property
    def storage(self) -> pathlib.Path:
        return self.directory / "storage"


class Breakwater(Registry):
    """Its whole tree: supervisor, web, worker, PostgreSQL, Valkey. `environment` goes before what is said here."""

    name = "breakwater"
    has_referrers = True
    unsettled = UNSETTLED + 1.0

    def __init__(self, directory: pathlib.Path, **environment: str) -> None:
        self.server = breakwater.Breakwater(
            BREAKWATER_HOME=str(directory),
            BREAKWATER_WORKERS=str(os.cpu_count()),
            BREAKWATER_GC_GRACE=environment.pop("BREAKWATER_GC_GRACE", "2h"),
            # All clients of a run come from one address.
            BREAKWATER_MAX_TRANSFERS_PER_ADDRESS="4096",
            BREAKWATER_TRUSTED_PROXIES="127.0.0.1/32",
            **environment,
        )
        super().__init__(directory, int(self.server.host.rpartition(":")[2]))
        self.robot = Credentials("", "")
        self._local = threading.local()

    def start(self) -> None:
        self.server.start()
        self.pid = self.server.pid
        if not self.robot.username:
            self._prepare()
        self.started_at = time.monotonic()

    def _prepare(self) -> None:
        self.server.configure(token_expiration=DAY // 60)
        with self.server.rest() as rest:
            exists = rest.head("/projects", params={"project_name": PROJECT}).status_code == 200
        if not exists:
            self.server.create_project(PROJECT)
        self.robot = self.server.create_robot(PROJECT)

    def stop(self) -> None:
        self.server.stop()

    def forget(self) -> None:
        """The web processes alone: the database keeps its caches, as when one of them is replaced."""
        old = self._web()
        # A program that ends in its first five seconds is taken for one that does not start.
        born = pathlib.Path(f"/proc/{old}").stat().st_mtime
        time.sleep(max(0.0, 5.5 - (time.time() - born)))
        process.stop(old, seconds=20)
        deadline = time.monotonic() + 30
        while not self._is_ready():
            if time.monotonic() > deadline:
                raise RuntimeError(f"the web processes did not come back:\n{self.server.log[-3000:]}")
            time.sleep(0.05)

    def _web(self) -> int:
        """The parent of the web processes."""
        return next(
            pid
            for pid in process.descendants(self.pid)
            if "config.web_server" in breakwater.arguments_of(pid)
        )

    def _is_ready(self) -> bool:
        """All processes listen, and load the application while they do; each answers once."""
        try:
            for _ in range(8 * (os.cpu_count() or 1)):
                with contextlib.closing(self.connect()) as connection:
                    connection.request("GET", "/v2/", headers={"Connection": "close"})
                    if connection.getresponse().status != 401:
                        return False
        except OSError:
            return False
        return True

    def new_token(self, *repositories: str, actions: str = ALL) -> str:
        query = [
            ("service", "harbor-registry"),
            *(("scope", f"repository:{r}:{actions}") for r in repositories),
        ]
        if not hasattr(self._local, "connection"):
            self._local.connection = self.connect()
        connection: http.client.HTTPConnection = self._local.connection
        headers = {"Authorization": basic(self.robot)}
        path = f"/service/token?{urllib.parse.urlencode(query)}"
        try:
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
        except ConnectionError:  # closed since it was last used, or the server was started anew
            connection.close()
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"no token: {answer.status} {body[:500]!r}")
        return str(json.loads(body)["token"])

    def catalog_authorization(self) -> str:
        return basic(ADMIN)


def basic(credentials: Credentials) -> str:
    return f"Basic {base64.b64encode(credentials.joined.encode()).decode()}"
