"""The registries that are measured: this one as `manage.py up` starts it, and its peers with token authentication.

Each runs at its best: caches on, access log off (as shipped, logs cost docker-registry a fifth more), nothing pinned,
on files below one directory.
"""

from __future__ import annotations

import abc
import base64
import concurrent.futures
import contextlib
import hashlib
import http.client
import json
import os
import pathlib
import secrets
import threading
import time
import urllib.parse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from tests.bench import usage
from tests.components import breakwater, process
from tests.components.breakwater import ADMIN, Credentials
from tests.components.go_tools import DIRECTORY

PROJECT = "bench"  # every repository of a run is below it
ISSUER, SERVICE = "bench-issuer", "bench-registry"
ALL = "pull,push,delete"
_DAY = 86400


@dataclass
class Used:
    """Server CPU and time of a stretch of work; filled when it ends."""

    cpu: float = 0.0
    seconds: float = 0.0


class Registry(abc.ABC):
    name: str
    has_referrers = False
    has_tag_pages = True

    def __init__(self, directory: pathlib.Path, port: int) -> None:
        self.directory = directory
        self.port = port
        self.host = f"127.0.0.1:{port}"
        self.url = f"http://{self.host}"
        self.pid = 0
        self._tokens: dict[tuple[str, ...], str] = {}

    @abc.abstractmethod
    def start(self) -> None: ...

    @abc.abstractmethod
    def stop(self) -> None: ...

    def restart(self) -> None:
        self.stop()
        self.start()

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
        """Seconds so far, of every process of the server."""
        return usage.cpu_seconds(self.pid)

    def memory(self) -> int:
        return usage.pss_bytes(self.pid)

    @contextlib.contextmanager
    def measured(self) -> Iterator[Used]:
        used = Used()
        cpu, began = self.cpu(), time.monotonic()
        yield used
        used.seconds = time.monotonic() - began
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

    def _prepare(self) -> None:
        self.server.configure(token_expiration=_DAY // 60)
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


class Peer(Registry):
    """A registry that trusts one key; the tokens are signed here."""

    def __init__(self, directory: pathlib.Path) -> None:
        super().__init__(directory, process.free_port())
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._catalog = ""

    @property
    @abc.abstractmethod
    def program(self) -> pathlib.Path: ...

    @abc.abstractmethod
    def _trust(self) -> dict[str, str]:
        """Write the public key where the registry finds it; the options that say where."""

    @abc.abstractmethod
    def _key_id(self) -> str: ...

    def start(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        configuration = self.directory / "config.yml"
        configuration.write_text(json.dumps(self._configuration()))  # JSON is YAML
        server = process.start(
            [self.program, "serve", configuration],
            self.directory,
            name=self.name,
            env={**os.environ, "OTEL_TRACES_EXPORTER": "none"},
        )
        self.pid = server.pid
        log = self.directory / f"{self.name}.log"
        process.wait_until(lambda: process.is_listening(self.port), server, log)

    def _configuration(self) -> dict[str, Any]:
        token = {"realm": f"{self.url}/token", "service": SERVICE, "issuer": ISSUER, **self._trust()}
        return {
            "version": 0.1,
            "log": {"level": "error", "accesslog": {"disabled": True}},
            "storage": {
                "filesystem": {"rootdirectory": str(self.storage)},
                "delete": {"enabled": True},
                "cache": {"blobdescriptor": "inmemory"},
            },
            "http": {"addr": self.host, "secret": "measured-with-secret"},
            "auth": {"token": token},
        }

    def stop(self) -> None:
        process.stop(self.pid)

    def new_token(self, *repositories: str, actions: str = ALL) -> str:
        return self._sign(
            [{"type": "repository", "name": r, "actions": actions.split(",")} for r in repositories]
        )

    def _sign(self, access: list[dict[str, Any]]) -> str:
        now = int(time.time())
        times = {"iat": now, "nbf": now - 60, "exp": now + _DAY}
        who = {"iss": ISSUER, "sub": "bench", "aud": SERVICE, "jti": secrets.token_hex(8)}
        return jwt.encode(
            {**who, **times, "access": access}, self._key, algorithm="RS256", headers={"kid": self._key_id()}
        )

    def catalog_authorization(self) -> str:
        self._catalog = self._catalog or self._sign(
            [{"type": "registry", "name": "catalog", "actions": ["*"]}]
        )
        return f"Bearer {self._catalog}"


class DockerRegistry(Peer):
    """Debian's docker-registry 2.8."""

    name = "dreg"
    has_tag_pages = False

    @property
    def program(self) -> pathlib.Path:
        return pathlib.Path("/usr/bin/docker-registry")

    def _trust(self) -> dict[str, str]:
        bundle = self.directory / "key.pem"
        bundle.write_bytes(_certificate(self._key))
        return {"rootcertbundle": str(bundle)}

    def _key_id(self) -> str:
        """libtrust's fingerprint: 240 bits of the SHA-256 of the key, base32, in groups of four."""
        der = self._key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        text = base64.b32encode(hashlib.sha256(der).digest()[:30]).decode()
        return ":".join(text[i : i + 4] for i in range(0, len(text), 4))


class Distribution(Peer):
    """distribution v3, as install.sh builds it."""

    name = "v3"

    @property
    def program(self) -> pathlib.Path:
        return DIRECTORY / "registry"

    def _trust(self) -> dict[str, str]:
        file = self.directory / "keys.json"
        key = jwt.algorithms.RSAAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        file.write_text(json.dumps({"keys": [{**key, "kid": self._key_id(), "alg": "RS256", "use": "sig"}]}))
        return {"jwks": str(file)}

    def _key_id(self) -> str:
        return "bench"


PEERS: tuple[type[Peer], ...] = (DockerRegistry, Distribution)


def basic(credentials: Credentials) -> str:
    return f"Basic {base64.b64encode(credentials.joined.encode()).decode()}"


def _certificate(key: rsa.RSAPrivateKey) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, ISSUER)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(Encoding.PEM)
