"""buildah and podman: build, push, pull, and an index of two platforms."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
from collections.abc import Iterator

import pytest

from tests.clients.conftest import Project
from tests.clients.images import ACCEPT, new_bytes, root_files
from tests.clients.programs import Client
from tests.components import process
from tests.components.availability import require, require_program
from tests.components.breakwater import Credentials

pytestmark = pytest.mark.slow


@pytest.fixture
def storage() -> Iterator[tuple[str, ...]]:
    """A store of images of one's own, in a short path, taken away with the mounts that buildah leaves."""
    require("buildah and podman as root", found=os.getuid() == 0, install="them, and run the tests as root")
    directory = process.own_directory("c")
    yield ("--root", f"{directory}/s", "--runroot", f"{directory}/r", "--storage-driver", "vfs")
    subprocess.run(["umount", "-R", f"{directory}/s"], check=False, capture_output=True)
    subprocess.run(["rm", "-rf", directory], check=True)


@pytest.fixture
def logins(home: pathlib.Path) -> dict[str, str]:
    """A file of logins of one's own, which must exist."""
    (home / "auth.json").write_text("{}")
    return {"REGISTRY_AUTH_FILE": str(home / "auth.json")}


@pytest.fixture
def buildah(home: pathlib.Path, logins: dict[str, str], storage: tuple[str, ...]) -> Client:
    return Client(require_program("buildah", package="buildah"), home, logins, storage)


@pytest.fixture
def podman(home: pathlib.Path, logins: dict[str, str], storage: tuple[str, ...]) -> Client:
    program = require_program("podman", package="podman")
    return Client(program, home, logins, (*storage, "--events-backend", "file"))


def build(buildah: Client, name: str, *options: str) -> str:
    context = buildah.home / "context"
    for file, content in {**root_files(), "data/random": new_bytes(100_000)}.items():
        path = context / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(0o755)
    (context / "Containerfile").write_text(
        'FROM scratch\nCOPY . /\nRUN ["/bin/busybox", "touch", "/built"]\n'
    )
    buildah.run("bud", "--isolation", "chroot", "--quiet", *options, "--tag", name, str(context))
    return buildah.run("images", "--quiet", "--no-trunc", name).strip()


def test_an_image_is_built_pushed_and_pulled(buildah: Client, podman: Client, project: Project) -> None:
    reference = project.reference("built", "v1")
    built = build(buildah, reference)
    digest_file = buildah.home / "digest"
    push = ("push", "--tls-verify=false", "--digestfile", str(digest_file), "--creds")
    buildah.run(*push, project.robot.joined, reference, f"docker://{reference}")
    podman.run("rmi", reference)
    host, robot = project.registry.host, project.puller
    podman.run(
        "login", "--tls-verify=false", "-u", robot.username, "--password-stdin", host, stdin=robot.secret
    )
    by_digest = f"{project.reference('built')}@{digest_file.read_text()}"
    podman.run("pull", "--tls-verify=false", by_digest)
    pulled = podman.run("image", "inspect", "--format", "{{.Id}}", by_digest).strip()
    assert f"sha256:{pulled}" == built


def test_an_index_of_two_platforms_is_pushed_whole(buildah: Client, podman: Client, project: Project) -> None:
    name = "localhost/both:v1"
    podman.run("manifest", "create", name)
    for architecture in ("amd64", "arm64"):
        # No instruction that would have to run: the arm64 image is made of the same files.
        image = f"localhost/one:{architecture}"
        context = buildah.home / architecture
        context.mkdir()
        (context / "file").write_bytes(new_bytes(1000))
        (context / "Containerfile").write_text("FROM scratch\nCOPY file /\n")
        buildah.run("bud", "--platform", f"linux/{architecture}", "--tag", image, str(context))
        podman.run(
            "manifest", "add", "--arch", architecture, "--os", "linux", name, f"containers-storage:{image}"
        )
    reference = project.reference("both", "v1")
    push = (
        "manifest",
        "push",
        "--all",
        "--tls-verify=false",
        "--creds",
        project.robot.joined,
        "--format",
        "oci",
    )
    podman.run(*push, name, f"docker://{reference}")
    with project.registry.v2(project.puller) as v2:
        index = v2.get(f"/{project.name}/both/manifests/v1", headers=ACCEPT).raise_for_status().json()
        assert index["mediaType"] == "application/vnd.oci.image.index.v1+json"
        assert [child["platform"]["architecture"] for child in index["manifests"]] == ["amd64", "arm64"]
        for child in index["manifests"]:
            answer = v2.get(f"/{project.name}/both/manifests/{child['digest']}", headers=ACCEPT)
            assert json.loads(answer.content)["config"]
    podman.run("rmi", "--all", "--force")
    podman.run(
        "pull", "--tls-verify=false", "--creds", project.puller.joined, "--platform", "linux/arm64", reference
    )
    assert podman.run("image", "inspect", "--format", "{{.Architecture}}", reference).strip() == "arm64"


def test_strangers_are_refused(
    buildah: Client, podman: Client, project: Project, stranger: Credentials
) -> None:
    reference = project.reference("closed", "v1")
    build(buildah, reference)
    buildah.run(
        "push", "--tls-verify=false", "--creds", project.robot.joined, reference, f"docker://{reference}"
    )
    for who in (stranger.joined, project.puller.joined, f"{project.robot.username}:Wrong-secret1"):
        buildah.run_refused("push", "--tls-verify=false", "--creds", who, reference, f"docker://{reference}")
    podman.run("rmi", reference)
    podman.run_refused("pull", "--tls-verify=false", reference)
    podman.run_refused("pull", "--tls-verify=false", "--creds", stranger.joined, reference)
    host = project.registry.host
    podman.run_refused(
        "login", "--tls-verify=false", "-u", stranger.username, "--password-stdin", host, stdin="Wrong1"
    )
