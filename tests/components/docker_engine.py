"""The Docker engine with directories of its own and without network rules, beside the machine's own."""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
from collections.abc import Iterator

import pytest

from tests.components import process
from tests.components.availability import require, require_program


class DockerEngine:
    def __init__(self, directory: pathlib.Path) -> None:
        self.directory = directory
        self.pid = 0

    @property
    def address(self) -> str:
        return f"unix://{self.directory}/docker.sock"

    def start(self) -> None:
        dockerd = require_program("dockerd", package="docker.io")
        self.directory.mkdir(parents=True, exist_ok=True)
        configuration = self.directory / "daemon.json"
        configuration.write_text(json.dumps({"max-concurrent-uploads": 3}))
        engine = process.start(
            [dockerd, "--config-file", configuration, "-H", self.address,
             "--pidfile", self.directory / "engine.pid", "--data-root", self.directory / "data",
             "--exec-root", self.directory / "exec",
             "--iptables=false", "--ip6tables=false", "--bridge=none", "--storage-driver=vfs"],
            self.directory, name="dockerd",
        )  # fmt: skip
        self.pid = engine.pid
        process.wait_until(self._answers, engine, self.directory / "dockerd.log")

    def _answers(self) -> bool:
        command = ["docker", "-H", self.address, "version"]
        return subprocess.run(command, check=False, capture_output=True).returncode == 0

    def stop(self) -> None:
        process.stop(self.pid, seconds=20)
        # A container with the host's network leaves a mount behind, and so does a killed engine.
        mounts = pathlib.Path("/proc/mounts").read_text()
        for mount in re.findall(rf"^\S+ ({re.escape(str(self.directory))}\S*)", mounts, re.MULTILINE):
            subprocess.run(["umount", "-l", mount], check=False)


@pytest.fixture(scope="session")
def docker_engine() -> Iterator[DockerEngine]:
    require("a Docker engine", found=os.getuid() == 0, install="docker.io, and run the tests as root")
    require_program("docker", package="docker.io")
    # Short: the engine keeps unix sockets below it.
    engine = DockerEngine(process.own_directory("d"))
    engine.start()
    yield engine
    engine.stop()
