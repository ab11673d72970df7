"""crane: push and pull of layouts, copy, tags, validation of every byte."""

from __future__ import annotations

import pathlib

import pytest

from tests.clients.conftest import Project
from tests.clients.images import Image, write_image
from tests.clients.programs import Client
from tests.components.breakwater import ADMIN, Credentials
from tests.components.go_tools import require_go_tool

# Role number and what it may do with content (contract 4.2): administrator, maintainer, developer, guests.
ROLES = [
    (1, {"pull", "push", "delete"}),
    (4, {"pull", "push", "delete"}),
    (2, {"pull", "push"}),
    (3, {"pull"}),
    (5, {"pull"}),
]


@pytest.fixture
def crane(home: pathlib.Path) -> Client:
    return Client(require_go_tool("crane"), home)


def log_in(crane: Client, project: Project, who: Credentials) -> None:
    host = project.registry.host
    crane.run("auth", "login", host, "--username", who.username, "--password-stdin", stdin=who.secret)


def test_an_image_comes_back_byte_for_byte(crane: Client, project: Project, image: Image) -> None:
    reference = project.reference("app", "v1")
    log_in(crane, project, project.robot)
    crane.run("push", str(image.layout), reference)
    project.assert_holds("app", "v1", image)
    log_in(crane, project, project.puller)
    assert crane.run("digest", reference).strip() == image.digest
    crane.run("pull", "--format", "oci", reference, str(crane.home / "back"))
    pulled = Image(crane.home / "back", image.digest, image.blobs)
    assert pulled.manifest == image.manifest
    assert [pulled.read(blob) for blob in image.blobs] == [image.read(blob) for blob in image.blobs]
    assert "PASS" in crane.run("validate", "--remote", reference)


def test_tags_are_made_listed_and_deleted(crane: Client, project: Project, image: Image) -> None:
    log_in(crane, project, project.robot)
    crane.run("push", str(image.layout), project.reference("app", "v1"))
    crane.run("tag", project.reference("app", "v1"), "v2")
    assert crane.run("ls", project.reference("app")).split() == ["v1", "v2"]
    crane.run("delete", project.reference("app", "v1"))
    assert crane.run("ls", project.reference("app")).split() == ["v2"]
    assert crane.run("digest", project.reference("app", "v2")).strip() == image.digest


def test_a_copy_inside_the_registry_holds_the_same(crane: Client, project: Project, image: Image) -> None:
    log_in(crane, project, project.robot)
    crane.run("push", str(image.layout), project.reference("app", "v1"))
    crane.run("copy", project.reference("app", "v1"), project.reference("copy", "v9"))
    project.assert_holds("copy", "v9", image)


def test_an_index_is_pushed_whole(crane: Client, project: Project, image: Image) -> None:
    arm = write_image(crane.home / "arm", architecture="arm64")
    log_in(crane, project, project.robot)
    for child, tag in ((image, "amd64"), (arm, "arm64")):
        crane.run("push", str(child.layout), project.reference("app", tag))
    children = [project.reference("app", tag) for tag in ("amd64", "arm64")]
    crane.run(
        "index",
        "append",
        "--manifest",
        children[0],
        "--manifest",
        children[1],
        "-t",
        project.reference("app", "all"),
    )
    digest = crane.run("digest", "--platform", "linux/arm64", project.reference("app", "all")).strip()
    assert digest == arm.digest


def test_the_catalogue_opens_to_the_administrator_by_basic_only(
    crane: Client, project: Project, image: Image
) -> None:
    """As in Harbor no token opens it, and a token is all that crane tries; the refusal says what would."""
    log_in(crane, project, project.robot)
    crane.run("push", str(image.layout), project.reference("app", "v1"))
    crane.run_refused("catalog", project.registry.host)
    log_in(crane, project, ADMIN)
    assert "Basic" in crane.run_refused("catalog", project.registry.host)
    with project.registry.v2(ADMIN) as v2:
        assert f"{project.name}/app" in v2.get("/_catalog", params={"n": 1000}).json()["repositories"]


def test_strangers_are_refused(crane: Client, project: Project, image: Image, stranger: Credentials) -> None:
    reference = project.reference("app", "v1")
    crane.run_refused("push", str(image.layout), reference)
    log_in(crane, project, project.robot)
    crane.run("push", str(image.layout), reference)
    log_in(crane, project, project.puller)
    crane.run_refused("push", str(image.layout), project.reference("app", "v2"))
    crane.run_refused("delete", reference)
    log_in(crane, project, stranger)
    crane.run_refused("push", str(image.layout), project.reference("app", "v2"))
    crane.run_refused("pull", reference, str(crane.home / "stolen"))
    crane.run("auth", "logout", project.registry.host)
    crane.run_refused("pull", reference, str(crane.home / "stolen"))


@pytest.mark.parametrize(("role", "may"), ROLES)
def test_people_may_what_their_role_says(
    crane: Client, project: Project, image: Image, role: int, may: set[str]
) -> None:
    log_in(crane, project, project.robot)
    crane.run("push", str(image.layout), project.reference("app", "v1"))
    log_in(crane, project, project.registry.create_user(member_of={project.name: role}))
    commands = {
        "pull": ("manifest", project.reference("app", "v1")),
        "push": ("push", str(image.layout), project.reference("app", "v2")),
        "delete": ("delete", project.reference("app", "v1")),
    }
    for verb, command in commands.items():
        if verb in may:
            crane.run(*command)
        else:
            crane.run_refused(*command)
