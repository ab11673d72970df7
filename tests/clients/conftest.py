"""A running registry, a project in it with its robot, and a robot that belongs elsewhere."""

from __future__ import annotations

import pathlib
from dataclasses import dataclass

import pytest

from tests.clients.images import ACCEPT, Image, digest_of, write_image
from tests.components.breakwater import Breakwater, Credentials
from tests.components.docker_engine import docker_engine
from tests.components.docker_registry import docker_registry
from tests.components.seaweedfs import seaweedfs

__all__ = ["docker_engine", "docker_registry", "seaweedfs"]


@dataclass(frozen=True)
class Project:
    """A private project and the credentials that are good in it and nowhere else."""

    registry: Breakwater
    name: str
    robot: Credentials  # may push, pull and delete
    puller: Credentials  # may pull

    def reference(self, repository: str, tag: str = "") -> str:
        return f"{self.registry.host}/{self.name}/{repository}" + (f":{tag}" if tag else "")

    def assert_holds(self, repository: str, tag: str, image: Image) -> None:
        """The registry gives back the very bytes, by tag and by digest, and says their digest."""
        with self.registry.v2(self.puller) as v2:
            for reference in (tag, image.digest):
                answer = v2.get(f"/{self.name}/{repository}/manifests/{reference}", headers=ACCEPT)
                assert answer.status_code == 200, answer.text
                assert answer.content == image.manifest
                assert answer.headers["Docker-Content-Digest"] == image.digest
            for digest in image.blobs:
                answer = v2.get(f"/{self.name}/{repository}/blobs/{digest}")
                assert answer.status_code == 200, answer.text
                assert digest_of(answer.content) == digest


def make_project(registry: Breakwater) -> Project:
    name = registry.create_project()
    return Project(registry, name, registry.create_robot(name), registry.create_robot(name, ["pull"]))


@pytest.fixture
def project(registry: Breakwater) -> Project:
    return make_project(registry)


@pytest.fixture(scope="session")
def stranger(registry: Breakwater) -> Credentials:
    """A robot with every right, in another project."""
    return registry.create_robot(registry.create_project())


@pytest.fixture
def image(tmp_path: pathlib.Path) -> Image:
    return write_image(tmp_path / "image")


@pytest.fixture
def home(tmp_path: pathlib.Path) -> pathlib.Path:
    """Where a client keeps its logins."""
    directory = tmp_path / "home"
    directory.mkdir(mode=0o700)
    return directory
