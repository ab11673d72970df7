"""The distribution API, asked by everybody for what is theirs, their neighbours', and not there (contract 3.1, 3.3).

A refusal is always 401, whatever is there, and changes nothing in the database.
"""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from tests.components.postgres import Postgres
from tests.components.valkey import Valkey
from tests.content import MANIFEST, digest_of
from tests.reporting import Report
from tests.security import expected
from tests.server import ADMIN, Image, Pair, Repository, Server, serving

pytestmark = pytest.mark.slow
ROLE_NUMBERS = {"projectAdmin": 1, "maintainer": 4, "developer": 2, "guest": 3, "limitedGuest": 5}
NOTHING = "sha256:" + "0" * 64


@dataclass(frozen=True)
class Route:
    """`held`: of contract 4.2. `absent`: to who may, of a repository in which nothing is."""

    method: str
    path: str
    held: str
    ok: int
    absent: int


ROUTES = (
    Route("GET", "manifests/v1", "repository:pull", 200, 404),
    Route("HEAD", "manifests/{digest}", "repository:pull", 200, 404),
    Route("GET", "blobs/{blob}", "repository:pull", 200, 404),
    Route("HEAD", "blobs/{blob}", "repository:pull", 200, 404),
    Route("GET", "tags/list", "repository:pull", 200, 404),
    Route("GET", "referrers/{digest}", "repository:pull", 200, 200),
    Route("POST", "blobs/uploads/", "repository:push", 202, 202),
    Route("PUT", "manifests/v2", "repository:push", 201, 400),
    Route("DELETE", "manifests/{digest}", "repository:delete", 202, 404),
    Route("DELETE", "blobs/{nothing}", "repository:delete", 404, 404),
)


@pytest.fixture(scope="module")
def server(postgres: Postgres, valkey: Valkey) -> Iterator[Server]:
    with serving(Server(postgres, valkey.url(57), BREAKWATER_WORKERS="2")) as server:
        yield server


@dataclass(frozen=True)
class People:
    callers: Mapping[str, Pair | None]
    projects: Mapping[str, str]


def _people(server: Server) -> People:
    projects = {"mine": server.create_project(), "other": server.create_project()}
    projects["public"] = server.create_project(public=True)
    callers: dict[str, Pair | None] = {"anonymous": None, "system admin": ADMIN, "outsider": _user(server)}
    for role, number in ROLE_NUMBERS.items():
        callers[role] = _user(server, projects["mine"], number)
    callers["admin of another project"] = _user(server, projects["other"], 1)
    everything = sorted(expected.ROBOT_IN_PROJECT)
    for label, place, held in (
        ("robot", "mine", everything),
        ("robot that pulls", "mine", ["repository:pull"]),
        ("robot of another project", "other", everything),
        ("expired robot", "mine", everything),
    ):
        callers[label] = _robot(server, "project", ("project", projects[place], held))
    callers["system robot"] = _robot(
        server, "system", ("system", "/", sorted(expected.ROBOT_IN_SYSTEM)), ("project", "*", everything)
    )
    name = callers["expired robot"]
    assert name is not None
    _expire(server, name[0])
    return People(callers, projects)


def _user(server: Server, project: str = "", role: int = 0) -> Pair:
    name = f"u{secrets.token_hex(4)}"
    user = {"username": name, "email": f"{name}@example.org", "realname": name, "password": "Passw0rd-1x"}
    assert server.rest.post("/users", json=user).status_code == 201
    if project:
        member = {"role_id": role, "member_user": {"username": name}}
        assert server.rest.post(f"/projects/{project}/members", json=member).status_code == 201
    return name, "Passw0rd-1x"


def _robot(server: Server, level: str, *grants: tuple[str, str, list[str]]) -> Pair:
    permissions = [
        {
            "kind": kind,
            "namespace": namespace,
            "access": [dict(zip(("resource", "action"), pair.split(":"), strict=True)) for pair in pairs],
        }
        for kind, namespace, pairs in grants
    ]
    body = {"name": f"r{secrets.token_hex(4)}", "level": level, "duration": 1, "permissions": permissions}
    answer = server.rest.post("/robots", json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()["name"], answer.json()["secret"]


def _expire(server: Server, name: str) -> None:
    sql = "UPDATE rbac_robot SET expires_at = %s WHERE name = %s RETURNING id"
    assert len(server.rows(sql, int(time.time()) - 60, name.removeprefix("robot$"))) == 1


def _may(route: Route, caller: str, place: str) -> bool:
    if caller == "anonymous":
        return False  # always challenged, of public projects, too
    return expected.holds(caller, route.held, place)


class Asking:
    """What was asked, and what was wrong."""

    def __init__(self, server: Server, people: People) -> None:
        self.server, self.people = server, people
        self.admin = server.client(ADMIN)
        found = server.rows(
            "SELECT relname FROM pg_stat_user_tables WHERE relname ~ '^(registry_core|projects|rbac)_'"
        )
        tables = sorted(name for (name,) in found)
        assert len(tables) > 15
        self._state = " UNION ALL ".join(
            f"SELECT md5(coalesce(string_agg(t::text, '|' ORDER BY t::text), '')) FROM {table} t"  # noqa: S608
            for table in tables
            if "audit" not in table  # refusals of known callers are told there, some seconds later (design 5)
        )
        self.statuses: Counter[int] = Counter()
        self.wrong: list[str] = []

    def state(self) -> list[tuple[str]]:
        return self.server.rows(self._state)

    def ask(self, caller: str, route: Route, project: str, repository: str, status: int, image: Image) -> None:
        name = f"{project}/{repository}"
        client = self.server.client(self.people.callers[caller])
        values = {"digest": image.digest, "blob": digest_of(image.layers[0]), "nothing": NOTHING}
        path = f"/{name}/{route.path.format(**values)}"
        put: dict[str, Any] = {}
        if route.method == "PUT":
            put = {"content": image.payload, "headers": {"Content-Type": MANIFEST}}
        before = self.state() if status == 401 else []
        answer = client.request(route.method, path, **put)
        changed = status == 401 and self.state() != before
        for _ in range(2 * changed):  # or pulls of before were written down meanwhile
            before = self.state()
            answer = client.request(route.method, path, **put)
            changed = changed and self.state() != before
        client.close()
        self.statuses[answer.status_code] += 1
        what = f"{route.method} {route.path} of {project}/{repository} by {caller}"
        if answer.status_code != status:
            self.wrong.append(f"{what}: {answer.status_code}, not {status}: {answer.text[:200]}")
        elif changed:
            self.wrong.append(f"{what}: refused, but something changed")


def test_who_may_what(server: Server, report: Report) -> None:
    people = _people(server)
    asking = Asking(server, people)
    images = {}
    for place, project in people.projects.items():
        for repository in ("app", "app2"):
            images[place, repository] = Repository(asking.admin, f"{project}/{repository}").push_image("v1")
    for caller in expected.CALLERS:
        for route in ROUTES:
            for (place, repository), image in images.items():
                project = people.projects[place]
                status = route.ok if _may(route, caller, place) else 401
                if route.method == "DELETE" and status == 202:
                    image = Repository(asking.admin, f"{project}/{repository}").push_image()  # noqa: PLW2901
                asking.ask(caller, route, project, repository, status, image)
            for place in people.projects:
                status = route.absent if _may(route, caller, place) else 401
                asking.ask(caller, route, people.projects[place], "nothing", status, images[place, "app"])
            asking.ask(caller, route, "nowhere", "app", 401, images["mine", "app"])
        catalog = server.client(people.callers[caller])
        listed = catalog.get("/_catalog").status_code
        catalog.close()
        asking.statuses[listed] += 1
        assert listed == (200 if expected.holds(caller, "catalog:read", "system") else 401)
    good = sum(count for status, count in asking.statuses.items() if status < 300)
    report(f"{asking.statuses.total()} cells, {good} of them 2xx; {dict(sorted(asking.statuses.items()))}")
    assert not asking.wrong, "\n".join(asking.wrong)
    assert good > asking.statuses.total() / 5


def test_a_mount_tells_nobody_what_a_neighbour_holds(server: Server) -> None:
    """201 where the source may be read; else a plain upload, whether the blob is there or not."""
    people = _people(server)
    admin = server.client(ADMIN)
    image = Repository(admin, f"{people.projects['other']}/app").push_image("v1")
    blob = digest_of(image.layers[0])
    for caller, status in (("projectAdmin", 202), ("developer", 202), ("robot", 202), ("system admin", 201)):
        name = f"{people.projects['mine']}/{caller.replace(' ', '-').lower()}"
        repository = server.repository(name, people.callers[caller])
        for digest, expected_status in ((blob, status), (NOTHING, 202)):
            params = {"mount": digest, "from": f"{people.projects['other']}/app"}
            assert repository.post("blobs/uploads/", params=params).status_code == expected_status
