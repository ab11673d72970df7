"""The cast: alice administers the project `library`, bob develops in it, charlie is an outsider. And how to make more.

Rows are made by the verbs of the application, as `admin` would make them.
"""

from __future__ import annotations

import base64
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from projects.models import Project
from rbac import actions, robots
from rbac.models import Member, Robot, User
from rbac.permissions import Identity
from registry_core.hooks import Principal

PASSWORD = "Passw0rd-1x"
ADMIN = Identity(Principal("admin", "user", "u:1", is_admin=True), "192.0.2.1")


@dataclass(frozen=True)
class Person:
    """Somebody with a name and a secret; `user` is None for a robot."""

    name: str
    secret: str
    user: User | None = None
    robot: Robot | None = None

    @property
    def basic(self) -> str:
        """The Authorization header."""
        return "Basic " + base64.b64encode(f"{self.name}:{self.secret}".encode()).decode()

    @property
    def identity(self) -> Identity:
        assert self.user is not None
        user = self.user
        return Identity(Principal(user.username, "user", user.subject, user.sysadmin_flag), "192.0.2.1")


def make_person(name: str = "", *, sysadmin: bool = False) -> Person:
    name = name or f"user-{uuid.uuid4().hex[:8]}"
    user = actions.create_user(
        ADMIN, username=name, email=f"{name}@example.org", realname=name, password=PASSWORD
    )
    if sysadmin:
        actions.set_sysadmin(ADMIN, user, flag=True)
        user.refresh_from_db()
    return Person(name, PASSWORD, user)


def make_project(name: str = "", *, public: bool = False, by: Identity = ADMIN) -> Project:
    name = name or f"project-{uuid.uuid4().hex[:8]}"
    return actions.create_project(by, name, {"public": "true" if public else "false"})


def make_member(project: Project, person: Person, role: int) -> Member:
    assert person.user is not None
    return actions.add_member(ADMIN, project, role, who=person.user)


def make_robot(*grants: tuple[str, Sequence[str]], level: str = "project", duration: int = -1) -> Person:
    """`grants`: (namespace, ["repository:pull", …]); the namespace is a project's name, `*`, or `/` for the system."""
    permissions = [
        {
            "kind": "system" if namespace == "/" else "project",
            "namespace": namespace,
            "access": [dict(zip(("resource", "action"), pair.split(":"), strict=True)) for pair in pairs],
        }
        for namespace, pairs in grants
    ]
    request = robots.parse_request(level, duration, permissions)
    robot, secret = robots.create(ADMIN, f"bot-{uuid.uuid4().hex[:8]}", request)
    return Person(robots.full_name(robot), secret, robot=robot)


@pytest.fixture
def library() -> Project:
    return Project.objects.select_related("namespace").get(namespace__name="library")


@pytest.fixture
def alice(library: Project) -> Person:
    person = make_person("alice")
    make_member(library, person, Member.Role.PROJECT_ADMIN)
    return person


@pytest.fixture
def bob(library: Project) -> Person:
    person = make_person("bob")
    make_member(library, person, Member.Role.DEVELOPER)
    return person


@pytest.fixture
def charlie() -> Person:
    return make_person("charlie")
