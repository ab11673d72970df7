"""regctl: layouts, chunked uploads, referrers, deletion of tags alone."""

from __future__ import annotations

import pathlib

import pytest

from tests.clients.conftest import Project
from tests.clients.images import Image, new_bytes, write_image
from tests.clients.programs import Client
from tests.components.breakwater import Credentials
from tests.components.go_tools import require_go_tool


@pytest.fixture
def regctl(home: pathlib.Path, project: Project) -> Client:
    client = Client(require_go_tool("regctl"), home, {"REGCTL_CONFIG": str(home / "regctl.json")})
    client.run("registry", "set", "--tls", "disabled", "--skip-check", project.registry.host)
    return client


def log_in(regctl: Client, project: Project, who: Credentials) -> None:
    regctl.run(
        "registry", "login", project.registry.host, "-u", who.username, "--pass-stdin", stdin=who.secret
    )


def copy_in(regctl: Client, image: Image, reference: str) -> None:
    regctl.run("image", "copy", f"ocidir://{image.layout}:latest", reference)


def test_an_image_comes_back_byte_for_byte(regctl: Client, project: Project, image: Image) -> None:
    log_in(regctl, project, project.robot)
    copy_in(regctl, image, project.reference("app", "v1"))
    project.assert_holds("app", "v1", image)
    log_in(regctl, project, project.puller)
    assert regctl.run("image", "digest", project.reference("app", "v1")).strip() == image.digest
    regctl.run("image", "copy", project.reference("app", "v1"), f"ocidir://{regctl.home}/back:latest")
    pulled = Image(regctl.home / "back", image.digest, image.blobs)
    assert pulled.manifest == image.manifest
    assert [pulled.read(blob) for blob in image.blobs] == [image.read(blob) for blob in image.blobs]


def test_a_layer_sent_in_chunks_is_whole(regctl: Client, project: Project) -> None:
    log_in(regctl, project, project.robot)
    chunks = ("--blob-chunk", "200000", "--blob-max", "200000")
    regctl.run("registry", "set", "--skip-check", *chunks, project.registry.host)
    image = write_image(regctl.home / "image", extra=1_500_000)
    copy_in(regctl, image, project.reference("chunked", "v1"))
    project.assert_holds("chunked", "v1", image)


def test_an_artifact_with_a_subject_is_listed_below_it(
    regctl: Client, project: Project, image: Image
) -> None:
    log_in(regctl, project, project.robot)
    subject = project.reference("app", "v1")
    copy_in(regctl, image, subject)
    (regctl.home / "sbom").write_bytes(new_bytes(1000))
    kind = "application/vnd.example.sbom"
    regctl.run("artifact", "put", "--artifact-type", kind, "--subject", subject, "--file", "sbom")
    assert kind in regctl.run("artifact", "tree", subject)
    listed = regctl.run(
        "artifact", "list", subject, "--filter-artifact-type", kind, "--format", "{{len .Descriptors}}"
    )
    assert listed.strip() == "1"
    none = regctl.run(
        "artifact",
        "list",
        subject,
        "--filter-artifact-type",
        "application/x",
        "--format",
        "{{len .Descriptors}}",
    )
    assert none.strip() == "0"


def test_deleting_a_tag_leaves_the_manifest(regctl: Client, project: Project, image: Image) -> None:
    log_in(regctl, project, project.robot)
    for tag in ("v1", "v2"):
        copy_in(regctl, image, project.reference("app", tag))
    regctl.run("tag", "delete", project.reference("app", "v1"))
    assert regctl.run("tag", "ls", project.reference("app")).split() == ["v2"]
    project.assert_holds("app", "v2", image)
    regctl.run("manifest", "delete", f"{project.reference('app')}@{image.digest}")
    with project.registry.v2(project.puller) as v2:
        assert v2.head(f"/{project.name}/app/manifests/{image.digest}").status_code == 404


def test_strangers_are_refused(regctl: Client, project: Project, image: Image, stranger: Credentials) -> None:
    reference = project.reference("app", "v1")
    log_in(regctl, project, project.robot)
    copy_in(regctl, image, reference)
    layout = f"ocidir://{image.layout}:latest"
    log_in(regctl, project, project.puller)
    regctl.run_refused("image", "copy", layout, project.reference("app", "v2"))
    regctl.run_refused("tag", "delete", reference)
    log_in(regctl, project, stranger)
    regctl.run_refused("image", "copy", layout, project.reference("app", "v2"))
    regctl.run_refused("manifest", "get", reference)
    regctl.run("registry", "logout", project.registry.host)
    regctl.run_refused("manifest", "get", reference)
