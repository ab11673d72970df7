"""kill -9 of the whole registry in the middle of a docker push: nothing acknowledged is lost, nothing is left over."""

from __future__ import annotations

import contextlib
import pathlib
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.clients.conftest import Project, make_project
from tests.clients.images import Image, new_bytes
from tests.clients.programs import Client
from tests.components.availability import require_program
from tests.components.breakwater import Breakwater
from tests.components.docker_engine import DockerEngine

pytestmark = pytest.mark.slow

LAYER = 120 << 20


@pytest.fixture
def mortal() -> Iterator[Breakwater]:
    """A registry that only this test kills."""
    server = Breakwater()
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture
def docker(docker_engine: DockerEngine, home: pathlib.Path) -> Client:
    environment = {"DOCKER_HOST": docker_engine.address, "DOCKER_BUILDKIT": "0"}
    return Client(require_program("docker", package="docker.io"), home, environment)


def stored_bytes(registry: Breakwater) -> int:
    total = 0
    for file in (registry.home / "storage").rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            total += file.stat().st_size if file.is_file() else 0
    return total


def build(docker: Client, reference: str) -> str:
    """Two layers, one of them large; returns the digest of the configuration."""
    context = docker.home / "context"
    context.mkdir()
    (context / "small").write_bytes(new_bytes(1000))
    (context / "large").write_bytes(new_bytes(LAYER))
    (context / "Dockerfile").write_text("FROM scratch\nCOPY small /\nCOPY large /\n")
    docker.run("build", "--tag", reference, str(context))
    return docker.run("image", "inspect", "--format", "{{.Id}}", reference).strip()


def kill_amid(registry: Breakwater, push: subprocess.Popen[str]) -> None:
    """Once a good part of the large layer has arrived, and before the rest has."""
    before = stored_bytes(registry)
    deadline = time.monotonic() + 60
    while stored_bytes(registry) - before < LAYER // 6:
        assert push.poll() is None, push.communicate()[0]
        assert time.monotonic() < deadline, "docker pushes nothing"
        time.sleep(0.005)
    registry.kill_tree()
    assert push.poll() is None, "the push had ended before the kill"
    assert stored_bytes(registry) - before < LAYER


def wait_until_clean(registry: Breakwater) -> None:
    """The collector runs by itself, every few seconds."""
    deadline = time.monotonic() + 60
    while (scrub := registry.manage("scrub", "--verify", "100")).returncode:
        assert time.monotonic() < deadline, scrub.stdout + scrub.stderr
        time.sleep(1)


def test_a_killed_registry_takes_the_push_again_and_keeps_what_it_had(
    docker: Client, mortal: Breakwater, image: Image
) -> None:
    project = make_project(mortal)
    push_layout(project, image, docker)
    reference = project.reference("large", "v1")
    built = build(docker, reference)
    host, robot = mortal.host, project.robot
    docker.run("login", "-u", robot.username, "--password-stdin", host, stdin=robot.secret)
    push = docker.start("push", reference)
    kill_amid(mortal, push)
    push.send_signal(signal.SIGINT)
    push.communicate(timeout=60)

    mortal.start()
    project.assert_holds("kept", "v1", image)
    with mortal.v2(project.puller) as v2:
        assert v2.head(f"/{project.name}/large/manifests/v1").status_code == 404
    docker.run("push", reference)
    docker.run("rmi", reference)
    docker.run("pull", reference)
    assert docker.run("image", "inspect", "--format", "{{.Id}}", reference).strip() == built
    docker.run("rmi", reference)
    wait_until_clean(mortal)


def push_layout(project: Project, image: Image, docker: Client) -> None:
    """An image whose push is acknowledged before the kill."""
    skopeo = Client(require_program("skopeo", package="skopeo"), docker.home)
    skopeo.run(
        "--insecure-policy", "copy", "--dest-tls-verify=false", "--dest-creds", project.robot.joined,
        f"oci:{image.layout}:latest", f"docker://{project.reference('kept', 'v1')}",
    )  # fmt: skip
