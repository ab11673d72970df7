"""skopeo: copy both ways, inspect, list, delete, convert, synchronise from another registry."""

from __future__ import annotations

import json
import pathlib

import pytest

from tests.clients.conftest import Project
from tests.clients.images import ACCEPT, Image, digest_of, write_image
from tests.clients.programs import Client
from tests.components import docker_registry as peer
from tests.components.availability import require_program
from tests.components.breakwater import Credentials
from tests.components.docker_registry import DockerRegistry

# What every command is given: 127.0.0.1 speaks plain HTTP, and nobody's own policy file decides.
TO = ("--insecure-policy", "copy", "--dest-tls-verify=false")
FROM = ("--insecure-policy", "copy", "--src-tls-verify=false")


@pytest.fixture
def skopeo(home: pathlib.Path) -> Client:
    return Client(require_program("skopeo", package="skopeo"), home)


def push(skopeo: Client, image: Image, reference: str, who: Credentials, *options: str) -> None:
    skopeo.run(
        *TO, "--dest-creds", who.joined, *options, f"oci:{image.layout}:latest", f"docker://{reference}"
    )


def test_an_image_comes_back_byte_for_byte(skopeo: Client, project: Project, image: Image) -> None:
    push(skopeo, image, project.reference("app", "v1"), project.robot)
    project.assert_holds("app", "v1", image)
    back = skopeo.home / "back"
    source = f"docker://{project.reference('app')}@{image.digest}"
    skopeo.run(*FROM, "--src-creds", project.puller.joined, source, f"oci:{back}:latest")
    pulled = Image(back, image.digest, image.blobs)
    assert pulled.manifest == image.manifest
    assert [pulled.read(blob) for blob in image.blobs] == [image.read(blob) for blob in image.blobs]


def test_it_inspects_and_lists(skopeo: Client, project: Project, image: Image) -> None:
    for tag in ("v1", "v2"):
        push(skopeo, image, project.reference("app", tag), project.robot)
    log_in = ("login", "--tls-verify=false", "--username", project.puller.username, "--password-stdin")
    skopeo.run(*log_in, "--authfile", "auth.json", project.registry.host, stdin=project.puller.secret)
    options = ("--tls-verify=false", "--authfile", "auth.json")
    inspected = json.loads(skopeo.run("inspect", *options, f"docker://{project.reference('app', 'v1')}"))
    assert inspected["Digest"] == image.digest
    assert inspected["RepoTags"] == ["v1", "v2"]
    listed = json.loads(skopeo.run("list-tags", *options, f"docker://{project.reference('app')}"))
    assert listed["Tags"] == ["v1", "v2"]


def test_login_with_a_wrong_secret_is_refused(skopeo: Client, project: Project) -> None:
    log_in = ("login", "--tls-verify=false", "--username", project.robot.username, "--password-stdin")
    skopeo.run_refused(*log_in, "--authfile", "auth.json", project.registry.host, stdin="Wrong-secret1")


def test_strangers_are_refused(skopeo: Client, project: Project, image: Image, stranger: Credentials) -> None:
    reference = f"docker://{project.reference('app', 'v1')}"
    push(skopeo, image, project.reference("app", "v1"), project.robot)
    source, target = f"oci:{image.layout}:latest", f"oci:{skopeo.home / 'stolen'}:latest"
    skopeo.run_refused(*TO, "--dest-no-creds", source, reference)
    skopeo.run_refused(*TO, "--dest-creds", stranger.joined, source, reference)
    skopeo.run_refused(*TO, "--dest-creds", project.puller.joined, source, reference)
    skopeo.run_refused(*FROM, "--src-no-creds", reference, target)
    skopeo.run_refused(*FROM, "--src-creds", stranger.joined, reference, target)


def test_a_deleted_image_is_gone_from_every_tag(skopeo: Client, project: Project, image: Image) -> None:
    for tag in ("v1", "v2"):
        push(skopeo, image, project.reference("app", tag), project.robot)
    other = write_image(skopeo.home / "other")
    push(skopeo, other, project.reference("app", "v3"), project.robot)
    delete = ("delete", "--tls-verify=false", "--creds")
    skopeo.run_refused(*delete, project.puller.joined, f"docker://{project.reference('app', 'v1')}")
    skopeo.run(*delete, project.robot.joined, f"docker://{project.reference('app', 'v1')}")
    assert project.registry.tags(f"{project.name}/app") == ["v3"]


def test_docker_schema_2_is_kept_as_pushed(skopeo: Client, project: Project, image: Image) -> None:
    push(skopeo, image, project.reference("app", "v2s2"), project.robot, "--format", "v2s2")
    raw = skopeo.run(
        "inspect", "--raw", "--tls-verify=false", "--creds", project.puller.joined,
        f"docker://{project.reference('app', 'v2s2')}",
    )  # fmt: skip
    assert json.loads(raw)["mediaType"] == "application/vnd.docker.distribution.manifest.v2+json"
    with project.registry.v2(project.puller) as v2:
        answer = v2.head(f"/{project.name}/app/manifests/v2s2", headers=ACCEPT)
    assert answer.headers["Docker-Content-Digest"] == digest_of(raw.encode())


def test_zstd_layers_are_kept_as_pushed(skopeo: Client, project: Project, image: Image) -> None:
    plain, reference = skopeo.home / "plain", f"docker://{project.reference('z', 'v1')}"
    skopeo.run("--insecure-policy", "copy", "--dest-decompress", f"oci:{image.layout}:latest", f"dir:{plain}")
    options = ("--dest-compress-format", "zstd", "--format", "oci", "--dest-creds", project.robot.joined)
    skopeo.run(*TO, *options, f"dir:{plain}", reference)
    with project.registry.v2(project.puller) as v2:
        manifest = v2.get(f"/{project.name}/z/manifests/v1", headers=ACCEPT).json()
        # The layer that no registry has had before: skopeo remembers gzipped copies of the other one.
        layer = manifest["layers"][-1]
        assert layer["mediaType"] == "application/vnd.oci.image.layer.v1.tar+zstd"
        content = v2.get(f"/{project.name}/z/blobs/{layer['digest']}").content
    assert content.startswith(b"\x28\xb5\x2f\xfd")
    assert digest_of(content) == layer["digest"]


def test_images_move_from_and_to_an_older_registry(
    skopeo: Client, project: Project, image: Image, docker_registry: DockerRegistry
) -> None:
    old = f"docker://{docker_registry.host}/team/app:v1"
    theirs = f"{peer.USERNAME}:{peer.PASSWORD}"
    skopeo.run(*TO, "--dest-creds", theirs, f"oci:{image.layout}:latest", old)
    between = ("--insecure-policy", "copy", "--src-tls-verify=false", "--dest-tls-verify=false")
    ours = f"docker://{project.reference('moved', 'v1')}"
    skopeo.run(*between, "--src-creds", theirs, "--dest-creds", project.robot.joined, old, ours)
    project.assert_holds("moved", "v1", image)
    back = f"docker://{docker_registry.host}/team/back:v1"
    skopeo.run(*between, "--src-creds", project.puller.joined, "--dest-creds", theirs, ours, back)
    raw = skopeo.run("inspect", "--raw", "--tls-verify=false", "--creds", theirs, back)
    assert raw.encode() == image.manifest
