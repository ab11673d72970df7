"""Everybody who may ask, and everything that may be asked for, twice: of a project and of its neighbours."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from projects import labels
from projects.models import Project
from rbac import groups
from rbac.models import Member, Robot
from tests.api.conftest import Api, push, push_blob, push_image
from tests.builders import ADMIN, Person, make_member, make_person, make_project, make_robot
from tests.security import expected

_ROLE_NUMBERS = {"projectAdmin": 1, "maintainer": 4, "developer": 2, "guest": 3, "limitedGuest": 5}
ABSENT_DIGEST = "sha256:" + "0" * 64
ABSENT = 99999999

Values = Mapping[str, str]


@dataclass(frozen=True)
class World:
    """`places`: what stands for the names in a route's path, for each project and for the system."""

    callers: Mapping[str, Api]
    places: Mapping[str, Values]


def build(admin: Api) -> World:
    mine, other, public = make_project("mine"), make_project("other"), make_project("public", public=True)
    callers = {"anonymous": Api(), "outsider": _api(make_person("outsider"))}
    for role, number in _ROLE_NUMBERS.items():
        callers[role] = _api(_member(mine, role.lower(), number))
    callers["admin of another project"] = _api(_member(other, "neighbour", 1))
    catalogue = sorted(expected.ROBOT_IN_PROJECT)
    callers["robot"] = _api(make_robot(("mine", catalogue)))
    callers["robot that pulls"] = _api(make_robot(("mine", ["repository:pull"])))
    callers["robot of another project"] = _api(make_robot(("other", catalogue)))
    system = (("/", sorted(expected.ROBOT_IN_SYSTEM)), ("*", catalogue))
    callers["system robot"] = _api(make_robot(*system, level="system"))
    callers["expired robot"] = _api(_expired(make_robot(("mine", catalogue))))
    callers["system admin"] = admin
    return World(callers, {p.name: _place(p) for p in (mine, other, public)} | {"system": _system()})


def _api(person: Person) -> Api:
    return Api(person.basic)


def _member(project: Project, name: str, role: int) -> Person:
    person = make_person(name)
    make_member(project, person, role)
    return person


def _expired(person: Person) -> Person:
    assert person.robot is not None
    Robot.objects.filter(pk=person.robot.pk).update(duration=1, expires_at=int(time.time()) - 60)
    return person


def _place(project: Project) -> Values:
    """An image with two tags and a label, a signature of it, another repository, a member, a label, a robot."""
    image = push_image(project, "app", "v1", "v2")
    _attach(project, image.digest, len(image.payload))
    push_image(project, "app2", "v1")
    label = labels.create("p", project.pk, "seen", by="admin")
    labels.attach(label, image, by="admin")
    free = labels.create("p", project.pk, "free", by="admin")
    member = make_member(project, make_person(f"guest-of-{project.name}"), Member.Role.GUEST)
    robot = make_robot((project.name, ["repository:pull"])).robot
    assert robot is not None
    return {
        "project": project.name,
        "project_id": str(project.pk),
        "repository": "app",
        "digest": image.digest,
        "member": str(member.pk),
        "label": str(label.pk),
        "free_label": str(free.pk),
        "robot": str(robot.pk),
        "robot_name": robot.name,
        "candidate": make_person(f"candidate-of-{project.name}").name,
        "quota": str(project.quota.pk),
    }


def _attach(project: Project, digest: str, size: int) -> None:
    manifest = "application/vnd.oci.image.manifest.v1+json"
    from registry_core.models import Repository

    home = Repository.objects.get(namespace=project.namespace, path="app")
    empty = {"mediaType": "application/vnd.oci.empty.v1+json", **push_blob(home.pk, b"{}")}
    subject = {"mediaType": manifest, "digest": digest, "size": size}
    document = {
        "schemaVersion": 2, "mediaType": manifest, "artifactType": "application/vnd.example.note",
        "config": empty, "layers": [empty], "subject": subject,
    }  # fmt: skip
    push(project, "app", document)


def _system() -> Values:
    robot = make_robot(("/", ["label:read"]), level="system").robot
    user = make_person("somebody").user
    assert robot is not None
    assert user is not None
    return {
        "user": str(user.pk),
        "group": str(groups.create(ADMIN, "people", 3).pk),
        "label": str(labels.create("g", 0, "of-all", by="admin").pk),
        "robot": str(robot.pk),
        "robot_name": robot.name,
    }
