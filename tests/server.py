"""The web processes alone, over a migrated database and a storage directory of their own, and clients of `/v2`.

No supervisor and no worker: the collector runs when a test asks for it, so that what it does can be watched. Content
is new in every test, therefore all share one server.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import http.client
import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx

from tests import ledger
from tests.components import process
from tests.components.breakwater import web_workers
from tests.components.postgres import ADMIN_PASSWORD, ROOT, Postgres, query
from tests.content import MANIFEST, digest_of, encode, image_document, new_bytes
from tests.rest import rest_client
from tests.steps import Actor

Pair = tuple[str, str]
ADMIN: Pair = ("admin", ADMIN_PASSWORD)
WEB = (sys.executable, "-m", "config.web_server")


class Server:
    """`environment` goes before what is said here."""

    def __init__(
        self, postgres: Postgres, redis_url: str, command: Sequence[str] = WEB, **environment: str
    ) -> None:
        self.directory = process.run_directory() / f"web-{secrets.token_hex(4)}"
        self.storage = self.directory / "storage"
        self.storage.mkdir(parents=True)
        (self.directory / "metrics").mkdir()
        self.port = process.free_port()
        self.host = f"127.0.0.1:{self.port}"
        self.url = f"http://{self.host}"
        self.database = postgres.clone()
        self.command = command
        self.within: list[str] = []  # goes before every command: where its processes run
        self._clients: list[httpx.Client] = []
        self.environment = {
            **os.environ,
            "DATABASE_URL": self.database,
            "REDIS_URL": redis_url,
            "BREAKWATER_HOME": str(self.directory),
            "BREAKWATER_RUN_DIR": str(self.directory / "run"),
            "BREAKWATER_ADDR": self.host,
            "BREAKWATER_STORAGE": f"file://{self.storage}",
            "BREAKWATER_GC_GRACE": "0",
            "BREAKWATER_WORKERS": "2",
            "PROMETHEUS_MULTIPROC_DIR": str(self.directory / "metrics"),
            **environment,
        }

    def start(self) -> None:
        command = [*self.within, *self.command]
        server = process.start(command, ROOT, name="web", logs=self.directory, env=self.environment)
        self.pid = server.pid
        process.wait_until(self._answers, server, self.directory / "web.log")

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/v2/").status_code == 401
        except httpx.TransportError:
            return False

    def stop(self) -> None:
        for client in self._clients:
            client.close()
        if "actor" in self.__dict__:
            self.actor.close()
        process.stop(self.pid, seconds=20)

    def web_pids(self) -> list[int]:
        return web_workers(self.pid)

    @property
    def log(self) -> str:
        return (self.directory / "web.log").read_text(errors="replace")

    def manage(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A management command beside the running server."""
        return subprocess.run(
            [*self.within, sys.executable, "manage.py", *arguments],
            cwd=ROOT, env=self.environment, check=False, capture_output=True, text=True,
        )  # fmt: skip

    @functools.cached_property
    def actor(self) -> Actor:
        """A process of the registry beside the web ones, as the worker is."""
        return Actor(self.environment, self.within)

    def collect(self) -> dict[str, int]:
        """One round of the collector; how many blobs, objects and bytes it freed."""
        return dict(self.actor.do("collect"))

    def scrub(self, percent: float = 0) -> list[list[str]]:
        """Kind, key and sentence of every finding."""
        return list(self.actor.do("scrubbed", percent))

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Straight from the tables, committed at once."""
        return query(self.database, sql, *values)

    def eventually(self, sql: str, *values: Any, seconds: float = 10) -> list[tuple[Any, ...]]:
        """The rows, once there are any."""
        deadline = time.monotonic() + seconds
        while not (found := self.rows(sql, *values)):
            assert time.monotonic() < deadline, f"nothing came: {sql} {values}"
            time.sleep(0.01)
        return found

    def stored_bytes(self) -> int:
        return sum(f.stat().st_size for f in self.storage.rglob("*") if f.is_file())

    # Who may

    @functools.cached_property
    def rest(self) -> httpx.Client:
        """The REST API as the administrator."""
        return self._client("/api/v2.0", ADMIN)

    def create_project(self, name: str = "", *, public: bool = False) -> str:
        name = name or f"p{secrets.token_hex(4)}"
        body = {"project_name": name, "metadata": {"public": str(public).lower()}}
        _created(self.rest.post("/projects", json=body))
        return name

    def create_robot(self, project: str, actions: Iterable[str] = ("pull", "push", "delete")) -> Pair:
        """A robot that may do this in this project and nothing elsewhere."""
        body = {
            "name": f"r{secrets.token_hex(4)}",
            "level": "project",
            "duration": -1,
            "permissions": [
                {
                    "kind": "project",
                    "namespace": project,
                    "access": [{"resource": "repository", "action": action} for action in actions],
                }
            ],
        }
        answer = _created(self.rest.post("/robots", json=body)).json()
        return answer["name"], answer["secret"]

    def configure(self, setting: str, *, value: bool | int | str) -> None:
        self.actor.do("configure", setting, value)

    def token(self, pair: Pair | None, *scopes: str) -> str:
        """`scopes`: `repository:<name>:<actions>`."""
        query = {"service": "harbor-registry", "scope": scopes}
        answer = httpx.get(f"{self.url}/service/token", params=query, auth=pair)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["token"])

    # Who asks

    def client(self, pair: Pair | None = None, *, token: str = "") -> httpx.Client:
        """Of `/v2`, with Basic, a bearer token or neither on every request."""
        return self._client("/v2", pair, {"Authorization": f"Bearer {token}"} if token else {})

    def _client(self, path: str, pair: Pair | None, headers: Mapping[str, str] | None = None) -> httpx.Client:
        self._clients.append(rest_client(f"{self.url}{path}", auth=pair, headers=headers))
        return self._clients[-1]

    def repository(self, name: str, pair: Pair | None = None, *, token: str = "") -> Repository:
        return Repository(self.client(pair, token=token), name)

    @contextlib.contextmanager
    def unfinished(
        self, method: str, target: str, pair: Pair, sent: bytes, **headers: str
    ) -> Iterator[socket.socket]:
        """A request of which only the head and `sent` go out; the rest is up to the caller. Closed at the end."""
        basic = base64.b64encode(":".join(pair).encode()).decode()
        lines = [f"{method} {target} HTTP/1.1", f"Host: {self.host}", f"Authorization: Basic {basic}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            connection.sendall("\r\n".join([*lines, "", ""]).encode() + sent)
            yield connection

    def exchange(
        self, method: str, target: str, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> http.client.HTTPResponse:
        """One request whose target goes out as it is written; no client library tidies it."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.putrequest(method, target, skip_accept_encoding=True)
        for name, value in (headers or {}).items():
            connection.putheader(name, value)
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        answer.content = answer.read()  # type: ignore[attr-defined]
        connection.close()
        return answer


AnyServer = TypeVar("AnyServer", bound=Server)


@contextlib.contextmanager
def serving(server: AnyServer, *, start: bool = True) -> Iterator[AnyServer]:
    """While it lasts the server runs. At its end the ledger must add up, quotas included, whatever was done to it."""
    if start:
        server.start()
    try:
        yield server
        ledger.assert_adds_up(server.database, server.storage)
    finally:
        server.stop()


def _created(answer: httpx.Response) -> httpx.Response:
    assert answer.status_code == 201, f"{answer.request.url}: {answer.status_code} {answer.text}"
    return answer


@dataclass(frozen=True)
class Image:
    payload: bytes
    config: bytes
    layers: list[bytes]

    @property
    def digest(self) -> str:
        return digest_of(self.payload)

    @property
    def blobs(self) -> list[bytes]:
        return [self.config, *self.layers]


def new_image(layers: int = 2, size: int = 64, **changes: Any) -> Image:
    """Nobody has pushed any byte of it. Not pushed yet."""
    contents = [new_bytes(size) for _ in range(layers)]
    config = json.dumps({"architecture": "amd64", "os": "linux", "unique": secrets.token_hex(8)}).encode()
    return Image(encode(image_document(config, contents, **changes)), config, contents)


@dataclass(frozen=True)
class Repository:
    """A repository as one client sees it. Paths are relative to it: `manifests/latest`."""

    client: httpx.Client
    name: str
    media_type: str = field(default=MANIFEST, repr=False)

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        return self.client.request(method, f"/{self.name}/{path}", **options)

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.request("GET", path, **options)

    def head(self, path: str, **options: Any) -> httpx.Response:
        return self.request("HEAD", path, **options)

    def post(self, path: str, **options: Any) -> httpx.Response:
        return self.request("POST", path, **options)

    def delete(self, path: str, **options: Any) -> httpx.Response:
        return self.request("DELETE", path, **options)

    # Pushing

    def start_upload(self, **params: str) -> str:
        """Its Location."""
        answer = self.post("blobs/uploads/", params=params)
        assert answer.status_code == 202, answer.text
        return answer.headers["Location"]

    def push_blob(self, data: bytes, algorithm: str = "sha256") -> str:
        digest = digest_of(data, algorithm)
        answer = self.post("blobs/uploads/", params={"digest": digest}, content=data)
        assert answer.status_code == 201, answer.text
        return digest

    def put_manifest(
        self, payload: bytes, reference: str = "", media_type: str = MANIFEST, **options: Any
    ) -> httpx.Response:
        """By its digest where no reference is given."""
        path = f"manifests/{reference or digest_of(payload)}"
        return self.request("PUT", path, content=payload, headers={"Content-Type": media_type}, **options)

    def push_manifest(self, payload: bytes, reference: str = "", media_type: str = MANIFEST) -> str:
        answer = self.put_manifest(payload, reference, media_type)
        assert answer.status_code == 201, answer.text
        return digest_of(payload)

    def push_image(self, tag: str = "", image: Image | None = None) -> Image:
        image = image or new_image()
        for blob in image.blobs:
            self.push_blob(blob)
        self.push_manifest(image.payload, tag)
        return image

    def assert_holds(self, image: Image, reference: str = "") -> None:
        """Manifest, config and layers come back to the byte."""
        answer = self.get(f"manifests/{reference or image.digest}")
        assert (answer.status_code, answer.content) == (200, image.payload), answer.text
        assert answer.headers["Docker-Content-Digest"] == image.digest
        for blob in image.blobs:
            answer = self.get(f"blobs/{digest_of(blob)}")
            assert (answer.status_code, answer.content) == (200, blob), answer.text


def assert_refused(
    answer: httpx.Response, status: int, code: str, detail: Any = None, **fields: Any
) -> dict[str, Any]:
    """One error in the form of the distribution-spec; `fields` are those of its detail to compare."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
    assert answer.headers["Docker-Distribution-Api-Version"] == "registry/2.0"
    (error,) = answer.json()["errors"]
    assert set(error) <= {"code", "message", "detail"}
    assert error["code"] == code, error
    assert error["message"]
    if detail is not None:
        assert error["detail"] == detail
    assert {name: error["detail"].get(name) for name in fields} == fields
    return dict(error)
