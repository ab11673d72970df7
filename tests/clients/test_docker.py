"""docker: login, build, push, pull, run, logout, against a real engine."""

from __future__ import annotations

import json
import pathlib
import re

import docker as docker_sdk
import pytest

from tests.clients.conftest import Project
from tests.clients.images import ACCEPT, digest_of, new_bytes, root_files
from tests.clients.programs import Client
from tests.components.availability import require, require_program
from tests.components.breakwater import Credentials
from tests.components.docker_engine import DockerEngine

pytestmark = pytest.mark.slow

DEBIAN = pathlib.Path.home() / ".cache/breakwater/debian.tar"
DOCKERFILE = """FROM scratch
COPY root/ /
RUN ["/bin/busybox", "ln", "-s", "busybox", "/bin/sh"]
RUN echo built > /built
CMD ["/bin/sh", "-c", "cat /built /etc/os-release"]
"""


@pytest.fixture
def docker(docker_engine: DockerEngine, home: pathlib.Path) -> Client:
    # The classic builder: BuildKit is a plugin that not every docker CLI comes with.
    environment = {"DOCKER_HOST": docker_engine.address, "DOCKER_BUILDKIT": "0"}
    return Client(require_program("docker", package="docker.io"), home, environment)


def log_in(docker: Client, project: Project, who: Credentials) -> None:
    docker.run(
        "login", "--username", who.username, "--password-stdin", project.registry.host, stdin=who.secret
    )


def build(docker: Client, reference: str) -> str:
    """An image with a layer that is new; returns its id, the digest of its configuration."""
    context = docker.home / "context"
    for name, content in {**root_files(), "data/random": new_bytes(300_000)}.items():
        file = context / "root" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        file.chmod(0o755)
    (context / "Dockerfile").write_text(DOCKERFILE)
    docker.run("build", "--network", "none", "--tag", reference, str(context))
    return image_id(docker, reference)


def image_id(docker: Client, reference: str) -> str:
    return docker.run("image", "inspect", "--format", "{{.Id}}", reference).strip()


def pushed_digest(output: str) -> str:
    found = re.search(r"digest: (sha256:[0-9a-f]{64})", output)
    assert found, output
    return found[1]


def test_a_built_image_is_pushed_pulled_and_run(docker: Client, project: Project) -> None:
    log_in(docker, project, project.robot)
    reference = project.reference("built", "v1")
    built = build(docker, reference)
    digest = pushed_digest(docker.run("push", reference))
    docker.run("rmi", reference)
    by_digest = f"{project.reference('built')}@{digest}"
    assert f"Digest: {digest}" in docker.run("pull", by_digest)
    docker.run("pull", reference)
    assert image_id(docker, reference) == built
    said = docker.run("run", "--rm", "--network", "none", "--memory", "64m", reference)
    assert said.startswith("built\nID=debian\n")
    docker.run("rmi", reference)


def test_the_registry_holds_what_docker_pushed(docker: Client, project: Project) -> None:
    log_in(docker, project, project.robot)
    reference = project.reference("held", "v1")
    built = build(docker, reference)
    digest = pushed_digest(docker.run("push", reference))
    docker.run("rmi", reference)
    with project.registry.v2(project.puller) as v2:
        answer = v2.get(f"/{project.name}/held/manifests/v1", headers=ACCEPT)
        assert answer.headers["Docker-Content-Digest"] == digest == digest_of(answer.content)
        assert answer.headers["Content-Type"] == "application/vnd.docker.distribution.manifest.v2+json"
        manifest = json.loads(answer.content)
        assert manifest["config"]["digest"] == built
        for part in (manifest["config"], *manifest["layers"]):
            blob = v2.get(f"/{project.name}/held/blobs/{part['digest']}")
            assert digest_of(blob.content) == part["digest"]
            assert len(blob.content) == part["size"]


def test_a_wrong_password_is_refused(docker: Client, project: Project) -> None:
    host = project.registry.host
    said = docker.run_refused(
        "login", "-u", project.robot.username, "--password-stdin", host, stdin="Wrong-secret1"
    )
    assert "Login Succeeded" not in said


def test_after_logout_the_private_project_is_closed(docker: Client, project: Project) -> None:
    log_in(docker, project, project.robot)
    reference = project.reference("closed", "v1")
    build(docker, reference)
    docker.run("push", reference)
    docker.run("rmi", reference)
    docker.run("logout", project.registry.host)
    docker.run_refused("pull", reference)


def test_a_robot_of_another_project_may_neither_pull_nor_push(
    docker: Client, project: Project, stranger: Credentials
) -> None:
    log_in(docker, project, project.robot)
    reference = project.reference("foreign", "v1")
    build(docker, reference)
    docker.run("push", reference)
    log_in(docker, project, stranger)
    docker.run_refused("push", reference)
    docker.run("rmi", reference)
    docker.run_refused("pull", reference)


def test_a_robot_that_may_only_pull_does_not_push(docker: Client, project: Project) -> None:
    log_in(docker, project, project.puller)
    reference = project.reference("readonly", "v1")
    build(docker, reference)
    docker.run_refused("push", reference)
    docker.run("rmi", reference)


def test_a_second_tag_and_a_second_repository_send_no_layer_again(docker: Client, project: Project) -> None:
    log_in(docker, project, project.robot)
    first, tag = project.reference("twice", "v1"), project.reference("twice", "v2")
    elsewhere = project.reference("twice-too", "v1")
    build(docker, first)
    docker.run("tag", first, tag)
    docker.run("tag", first, elsewhere)
    digest = pushed_digest(docker.run("push", first))
    again = docker.run("push", tag)
    assert "Layer already exists" in again
    assert "Pushed" not in again
    mounted = docker.run("push", elsewhere)
    assert f"Mounted from {project.name}/twice" in mounted
    assert pushed_digest(again) == pushed_digest(mounted) == digest
    docker.run("rmi", first, tag, elsewhere)


def test_a_public_project_is_pulled_without_credentials(docker: Client, project: Project) -> None:
    name = project.registry.create_project(public=True)
    public = Project(project.registry, name, project.registry.create_robot(name), project.puller)
    log_in(docker, public, public.robot)
    reference = public.reference("open", "v1")
    build(docker, reference)
    docker.run("push", reference)
    docker.run("logout", public.registry.host)
    docker.run_refused("push", reference)
    docker.run("rmi", reference)
    docker.run("pull", reference)
    docker.run("rmi", reference)


def test_debian_is_pushed_pulled_and_run(docker: Client, project: Project) -> None:
    """The image that people really have: 60 MB and more of Debian packages in one layer."""
    require("a Debian root file system", found=DEBIAN.exists(), install="it with tests/components/install.sh")
    log_in(docker, project, project.robot)
    reference = project.reference("debian", "bookworm")
    built = docker.run("import", str(DEBIAN), reference).strip()
    docker.run("push", reference)
    docker.run("rmi", reference)
    docker.run("pull", reference)
    assert image_id(docker, reference) == built
    said = docker.run("run", "--rm", "--network", "none", reference, "dpkg-query", "--show", "libc6")
    assert said.startswith("libc6")
    docker.run("rmi", reference)


def test_the_docker_sdk_for_python_pushes_and_pulls(docker: Client, project: Project) -> None:
    reference = project.reference("sdk", "v1")
    built = build(docker, reference)
    auth = {"username": project.robot.username, "password": project.robot.secret}
    client = docker_sdk.DockerClient(base_url=docker.environment["DOCKER_HOST"])
    try:
        refused = list(
            client.api.push(reference, stream=True, decode=True, auth_config={"username": "", "password": ""})
        )
        assert any("error" in line for line in refused), refused
        lines = list(client.api.push(reference, stream=True, decode=True, auth_config=auth))
        assert not [line for line in lines if "error" in line], lines
        client.images.remove(reference)
        assert client.images.pull(reference, auth_config=auth).id == built
        client.images.remove(reference)
    finally:
        client.close()
