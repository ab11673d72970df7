"""oras, the program and the Python client: artifacts that are no images, attached and found again."""

from __future__ import annotations

import json
import pathlib

import oras.client
import pytest

from tests.clients.conftest import Project
from tests.clients.images import Image, digest_of, new_bytes
from tests.clients.programs import Client
from tests.components.breakwater import Credentials
from tests.components.go_tools import require_go_tool

SBOM, SIGNATURE = "application/vnd.example.sbom", "application/vnd.example.signature"


@pytest.fixture
def oras_program(home: pathlib.Path) -> Client:
    return Client(require_go_tool("oras"), home)


def log_in(program: Client, project: Project, who: Credentials) -> None:
    program.run(
        "login",
        "--plain-http",
        "-u",
        who.username,
        "--password-stdin",
        project.registry.host,
        stdin=who.secret,
    )


def write(program: Client, name: str) -> bytes:
    content = new_bytes(5000)
    (program.home / name).write_bytes(content)
    return content


def test_a_file_comes_back_as_it_was(oras_program: Client, project: Project) -> None:
    log_in(oras_program, project, project.robot)
    content = write(oras_program, "report.txt")
    reference = project.reference("files", "v1")
    oras_program.run("push", "--plain-http", "--artifact-type", SBOM, reference, "report.txt:text/plain")
    log_in(oras_program, project, project.puller)
    oras_program.run("pull", "--plain-http", "--output", "back", reference)
    assert (oras_program.home / "back/report.txt").read_bytes() == content
    fetched = oras_program.run("manifest", "fetch", "--plain-http", reference)
    manifest = json.loads(fetched)
    assert manifest["artifactType"] == SBOM
    assert manifest["layers"][0]["digest"] == digest_of(content)


def test_what_is_attached_is_discovered(oras_program: Client, project: Project, image: Image) -> None:
    log_in(oras_program, project, project.robot)
    subject = project.reference("app", "v1")
    oras_program.run("copy", "--to-plain-http", "--from-oci-layout", f"{image.layout}:latest", subject)
    project.assert_holds("app", "v1", image)
    write(oras_program, "sbom.json")
    write(oras_program, "signature")
    oras_program.run("attach", "--plain-http", "--artifact-type", SBOM, subject, "sbom.json:application/json")
    oras_program.run("attach", "--plain-http", "--artifact-type", SIGNATURE, subject, "signature")
    # The referrers API answers, so no client falls back to a tag that is an index.
    assert project.registry.tags(f"{project.name}/app") == ["v1"]
    discover = ("discover", "--plain-http", "--format", "json", subject)
    found = json.loads(oras_program.run(*discover))
    assert sorted(entry["artifactType"] for entry in found["referrers"]) == [SBOM, SIGNATURE]
    filtered = json.loads(oras_program.run(*discover, "--artifact-type", SBOM))
    assert [entry["artifactType"] for entry in filtered["referrers"]] == [SBOM]


def test_an_attachment_to_an_attachment_is_found_below_it(oras_program: Client, project: Project) -> None:
    log_in(oras_program, project, project.robot)
    write(oras_program, "file")
    reference = project.reference("files", "v1")
    oras_program.run("push", "--plain-http", reference, "file")
    attach = ("attach", "--plain-http", "--format", "json", "--artifact-type")
    first = json.loads(oras_program.run(*attach, SBOM, reference, "file"))
    oras_program.run(*attach, SIGNATURE, first["reference"], "file")
    found = json.loads(oras_program.run("discover", "--plain-http", "--format", "json", reference))
    (sbom,) = found["referrers"]
    assert sbom["digest"] == first["digest"]
    assert [entry["artifactType"] for entry in sbom["referrers"]] == [SIGNATURE]


def test_a_copy_takes_the_attachments_along(oras_program: Client, project: Project) -> None:
    log_in(oras_program, project, project.robot)
    write(oras_program, "file")
    source, target = project.reference("files", "v1"), project.reference("elsewhere", "v1")
    oras_program.run("push", "--plain-http", source, "file")
    oras_program.run("attach", "--plain-http", "--artifact-type", SBOM, source, "file")
    oras_program.run("copy", "--recursive", "--from-plain-http", "--to-plain-http", source, target)
    found = json.loads(oras_program.run("discover", "--plain-http", "--format", "json", target))
    assert [entry["artifactType"] for entry in found["referrers"]] == [SBOM]


def test_repositories_tags_blobs_and_deletion(oras_program: Client, project: Project) -> None:
    log_in(oras_program, project, project.robot)
    content = write(oras_program, "file")
    for tag in ("v1", "v2"):
        oras_program.run("push", "--plain-http", project.reference("files", tag), "file")
    assert oras_program.run("repo", "tags", "--plain-http", project.reference("files")).split() == [
        "v1",
        "v2",
    ]
    blob = f"{project.reference('files')}@{digest_of(content)}"
    oras_program.run("blob", "fetch", "--plain-http", "--output", "blob", blob)
    assert (oras_program.home / "blob").read_bytes() == content
    oras_program.run("manifest", "delete", "--plain-http", "--force", project.reference("files", "v1"))
    assert (
        "not found" in oras_program.try_run("pull", "--plain-http", project.reference("files", "v1")).stdout
    )


def test_strangers_are_refused(oras_program: Client, project: Project, stranger: Credentials) -> None:
    log_in(oras_program, project, project.robot)
    write(oras_program, "file")
    reference = project.reference("files", "v1")
    oras_program.run("push", "--plain-http", reference, "file")
    log_in(oras_program, project, project.puller)
    oras_program.run_refused("push", "--plain-http", reference, "file")
    oras_program.run_refused("attach", "--plain-http", "--artifact-type", SBOM, reference, "file")
    log_in(oras_program, project, stranger)
    for command in (("push", reference, "file"), ("pull", reference), ("discover", reference)):
        oras_program.run_refused(command[0], "--plain-http", *command[1:])
    oras_program.run("logout", project.registry.host)
    oras_program.run_refused("pull", "--plain-http", reference)


def test_the_python_client_pushes_and_pulls(
    project: Project, home: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(home)  # it refuses paths outside of the working directory
    (home / "file").write_bytes(content := new_bytes(5000))
    client = oras.client.OrasClient(hostname=project.registry.host, insecure=True, auth_backend="token")
    robot, logins = project.robot, str(home / "logins.json")
    client.login(robot.username, robot.secret, hostname=project.registry.host, config_path=logins)
    reference = project.reference("python", "v1")
    client.push(files=["file"], target=reference)
    assert client.get_tags(project.reference("python")) == ["v1"]
    pulled = client.pull(target=reference, outdir=str(home / "back"))
    assert [pathlib.Path(file).read_bytes() for file in pulled] == [content]
