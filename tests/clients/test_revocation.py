"""What is taken away is gone within 5 seconds, also for tokens in use and in every process of the registry."""

from __future__ import annotations

import pathlib
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.clients.conftest import Project
from tests.clients.images import ACCEPT, Image
from tests.clients.programs import Client
from tests.components.breakwater import Credentials
from tests.components.go_tools import require_go_tool

SECONDS = 5
DEVELOPER = 2


@pytest.fixture
def manifest(project: Project, image: Image, home: pathlib.Path) -> str:
    """The URL of a manifest in the private project."""
    crane = Client(require_go_tool("crane"), home)
    crane.run(
        "auth", "login", project.registry.host, "-u", project.robot.username, "-p", project.robot.secret
    )
    crane.run("push", str(image.layout), project.reference("app", "v1"))
    return f"{project.registry.url}/v2/{project.name}/app/manifests/v1"


def token(project: Project, who: Credentials) -> str:
    answer = httpx.get(
        f"{project.registry.url}/service/token",
        params={"service": "harbor-registry", "scope": f"repository:{project.name}/app:pull"},
        auth=who.pair,
    )
    return str(answer.json()["token"])


def statuses(url: str, headers: dict[str, str]) -> set[int]:
    """On new connections, so that every web process is asked."""
    return {httpx.get(url, headers={**ACCEPT, **headers}).status_code for _ in range(8)}


def assert_taken_away(project: Project, url: str, who: Credentials, take_away: Callable[[], None]) -> None:
    bearer = {"Authorization": f"Bearer {token(project, who)}"}
    assert statuses(url, bearer) == {200}
    take_away()
    deadline = time.monotonic() + SECONDS
    while statuses(url, bearer) != {401}:
        assert time.monotonic() < deadline, f"still {statuses(url, bearer)} after {SECONDS} s"
        time.sleep(0.1)
    assert httpx.get(url, headers=ACCEPT, auth=who.pair).status_code == 401


def robot_of(rest: httpx.Client, project: Project) -> dict[str, Any]:
    number = rest.get(f"/projects/{project.name}").json()["project_id"]
    robots = rest.get("/robots", params={"q": f"Level=project,ProjectID={number}"}).json()
    (robot,) = [robot for robot in robots if robot["name"] == project.puller.username]
    return dict(robot)


def set_public(rest: httpx.Client, project: Project, *, public: bool) -> None:
    body = {"metadata": {"public": str(public).lower()}}
    assert rest.put(f"/projects/{project.name}", json=body).status_code == 200


def test_a_robot_that_is_disabled(project: Project, manifest: str) -> None:
    def disable() -> None:
        with project.registry.rest() as rest:
            robot = robot_of(rest, project)
            assert rest.put(f"/robots/{robot['id']}", json={**robot, "disable": True}).status_code == 200

    assert_taken_away(project, manifest, project.puller, disable)


def test_a_robot_that_is_deleted(project: Project, manifest: str) -> None:
    def delete() -> None:
        with project.registry.rest() as rest:
            assert rest.delete(f"/robots/{robot_of(rest, project)['id']}").status_code == 200

    assert_taken_away(project, manifest, project.puller, delete)


def test_a_member_who_is_removed(project: Project, manifest: str) -> None:
    developer = project.registry.create_user(member_of={project.name: DEVELOPER})

    def remove() -> None:
        with project.registry.rest() as rest:
            members = rest.get(f"/projects/{project.name}/members").json()
            (member,) = [m["id"] for m in members if m["entity_name"] == developer.username]
            assert rest.delete(f"/projects/{project.name}/members/{member}").status_code == 200

    assert_taken_away(project, manifest, developer, remove)


def test_a_public_project_that_becomes_private(project: Project, manifest: str) -> None:
    outsider = project.registry.create_user()
    with project.registry.rest() as rest:
        set_public(rest, project, public=True)
        assert_taken_away(project, manifest, outsider, lambda: set_public(rest, project, public=False))
