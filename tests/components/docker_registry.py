"""Debian's docker-registry 2.8 with htpasswd: the other registry, and an old one (no referrers API)."""

from __future__ import annotations

import json
import pathlib
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from tests.components import process
from tests.components.availability import require_program

USERNAME, PASSWORD = "peer", "tested-with-htpasswd"
_HTPASSWD = "peer:$2b$04$abcdefghijklmnopqrstuu7Z5NFY2KCbJ0hcXXOY7BBryL5X7TsSe\n"


class DockerRegistry:
    def __init__(self, directory: pathlib.Path, port: int) -> None:
        self.directory, self.port = directory, port
        self.host = f"127.0.0.1:{port}"
        self.pid = 0

    def start(self) -> None:
        program = require_program("docker-registry", package="docker-registry")
        self.directory.mkdir(parents=True, exist_ok=True)
        (self.directory / "htpasswd").write_text(_HTPASSWD)
        configuration = self.directory / "config.yml"
        configuration.write_text(  # JSON is YAML
            json.dumps(
                {
                    "version": 0.1,
                    "log": {"level": "warn"},
                    "storage": {
                        "filesystem": {"rootdirectory": str(self.directory / "data")},
                        "delete": {"enabled": True},
                    },
                    "http": {"addr": self.host, "secret": "tested-with-secret"},
                    "auth": {"htpasswd": {"realm": "peer", "path": str(self.directory / "htpasswd")}},
                }
            )
        )
        server = process.start([program, "serve", configuration], self.directory, name="docker-registry")
        self.pid = server.pid
        process.wait_until(self._answers, server, self.directory / "docker-registry.log")

    def _answers(self) -> bool:
        try:
            urllib.request.urlopen(f"http://{self.host}/v2/")
        except urllib.error.HTTPError as e:
            return e.code == 401
        except OSError:
            pass
        return False

    def stop(self) -> None:
        process.stop(self.pid)


@pytest.fixture(scope="session")
def docker_registry() -> Iterator[DockerRegistry]:
    server = DockerRegistry(process.own_directory("peer"), process.free_port())
    server.start()
    yield server
    server.stop()
