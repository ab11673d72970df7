"""The peers, with token authentication: each trusts one key, with which the tokens are signed here."""

from __future__ import annotations

import abc
import base64
import contextlib
import hashlib
import json
import os
import pathlib
import secrets
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from tests.bench.registries import ALL, DAY, Registry
from tests.components import process
from tests.components.go_tools import DIRECTORY

ISSUER, SERVICE = "bench-issuer", "bench-registry"
_LOGS = {
    "fields": {"service": "registry"}
}  # Debian's /etc/docker/registry/config.yml and the documentation of v3


class Peer(Registry):
    """A registry that trusts one key; the tokens are signed here."""

    def __init__(self, directory: pathlib.Path) -> None:
        super().__init__(directory, process.free_port())
        self._logs = False
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
        self.started_at = time.monotonic()

    @contextlib.contextmanager
    def logging(self) -> Iterator[None]:
        self._logs = True
        self.restart()
        try:
            yield
        finally:
            self._logs = False
            self.restart()

    def _configuration(self) -> dict[str, Any]:
        token = {"realm": f"{self.url}/token", "service": SERVICE, "issuer": ISSUER, **self._trust()}
        return {
            "version": 0.1,
            "log": _LOGS if self._logs else {"level": "error", "accesslog": {"disabled": True}},
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
        times = {"iat": now, "nbf": now - 60, "exp": now + DAY}
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
