"""Tag projectMetadata (contract 7; golden: project_metadata)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from projects.models import Project
from rbac.models import Member
from tests.api.conftest import Api
from tests.builders import Person, make_member, make_person, make_robot

pytestmark = pytest.mark.django_db

As = Callable[[Person], Api]
PATH = "/projects/library/metadatas/"


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ({"auto_scan": "true"}, "true"),
        ({"prevent_vul": "1"}, "true"),
        ({"auto_sbom_generation": "T"}, "true"),
        ({"enable_content_trust": "F"}, "false"),
        ({"severity": "HIGH"}, "high"),
        ({"severity": "negligible"}, "none"),
        ({"proxy_speed_kb": "100"}, "100"),
        ({"max_upstream_conn": "-1"}, "-1"),
    ],
)
def test_add(admin: Api, sent: dict[str, str], kept: str) -> None:
    (key,) = sent
    reply = admin.post(PATH, sent)
    assert (reply.status, reply.content) == (200, b"")
    assert admin.get(PATH + key).body == {key: kept}
    assert admin.get(PATH).body == {"public": "true", key: kept}


@pytest.mark.parametrize(
    ("sent", "status", "message"),
    [
        ({"public": "true"}, 409, "metadata public already exists for project {id}"),
        ({"prevent_vul": "true", "severity": "low"}, 400, "only allow one key/value pair"),
        ({}, 400, "only allow one key/value pair"),
        (None, 400, "only allow one key/value pair"),
        ({"colour": "red"}, 400, "invalid key: colour"),
        ({"retention_id": "1"}, 400, "invalid key: retention_id"),
        ({"enable_content_trust": "maybe"}, 400, "invalid value: maybe"),
        ({"severity": "unknown"}, 400, "invalid value: unknown"),
        ({"proxy_speed_kb": "fast"}, 400, "invalid value: fast"),
        ({"max_upstream_conn": "0"}, 400, "invalid value for max_upstream_conn: 0"),
        (
            {"proxy_cache_filter_pattern": "a/**"},
            400,
            "can not update the normal project with proxy cache filter metadata",
        ),
    ],
)
def test_add_refuses(admin: Api, library: Project, sent: Any, status: int, message: str) -> None:
    reply = admin.post(PATH, sent)
    assert (reply.status, reply.message) == (status, message.format(id=library.pk))
    assert admin.get(PATH).body == {"public": "true"}


@pytest.mark.parametrize("sent", [{"enable_content_trust": True}, ["x"]])
def test_add_takes_a_map_of_texts(admin: Api, sent: Any) -> None:
    assert admin.post(PATH, sent).status == 422


def test_change(admin: Api) -> None:
    admin.post(PATH, {"auto_scan": "true"})
    assert admin.put(PATH + "auto_scan", {"auto_scan": "false"}).status == 200
    assert admin.get(PATH + "auto_scan").body == {"auto_scan": "false"}
    for sent, message in (
        ({"prevent_vul": "true"}, "invalid value: "),
        ({"auto_scan": "x"}, "invalid value: x"),
        (None, "invalid value: "),
    ):
        reply = admin.put(PATH + "auto_scan", sent)
        assert (reply.status, reply.message) == (400, message)
    assert admin.put(PATH + "colour", {"colour": "red"}).message == "invalid key: colour"


def test_a_key_that_is_not_set(admin: Api) -> None:
    """200 throughout, and nothing happens."""
    assert admin.get(PATH + "prevent_vul").body == {}
    assert admin.get(PATH + "colour").body == {}
    assert admin.put(PATH + "prevent_vul", {"prevent_vul": "true"}).status == 200
    assert admin.delete(PATH + "prevent_vul").status == 200
    assert admin.delete(PATH + "colour").status == 200
    assert admin.get(PATH).body == {"public": "true"}


def test_without_public_a_project_is_private(admin: Api, anonymous: Api) -> None:
    assert admin.delete(PATH + "public").status == 200
    assert admin.get("/projects/library").body["metadata"] == {}
    assert anonymous.get("/projects/library").status == 401


def test_the_last_slash_does_not_count(admin: Api) -> None:
    assert admin.get(PATH.rstrip("/")).body == {"public": "true"}


def test_who_may(
    alice: Person, bob: Person, charlie: Person, anonymous: Api, library: Project, as_: As
) -> None:
    maintainer = make_person("dora")
    make_member(library, maintainer, Member.Role.MAINTAINER)
    calls: list[Callable[[Api], Any]] = [
        lambda api: api.get(PATH),
        lambda api: api.get(PATH + "public"),
        lambda api: api.put(PATH + "public", {"public": "true"}),
        lambda api: api.post(PATH, {"auto_scan": "true"}),
        lambda api: api.delete(PATH + "auto_scan"),
    ]
    # Nobody but a system administrator or a robot may list (contract 4.2, quirks).
    assert [call(as_(alice)).status for call in calls] == [403, 200, 200, 200, 200]
    assert [call(as_(maintainer)).status for call in calls] == [403, 200, 403, 403, 403]
    for outsider in (as_(bob), as_(charlie)):
        assert [call(outsider).status for call in calls] == [403] * 5
    assert [call(anonymous).status for call in calls] == [401] * 5
    robot = Api(make_robot(("library", ["metadata:list"])).basic)
    assert robot.get(PATH).body == {"public": "true"}


def test_absent_projects(admin: Api) -> None:
    assert admin.get("/projects/absent/metadatas/").message == "project absent not found"
    assert admin.get("/projects/99999999/metadatas/public").status == 404
