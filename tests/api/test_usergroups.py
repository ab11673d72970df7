"""Tag usergroup (contract 4.4; golden: usergroup_life)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rbac.models import Member, UserGroup
from tests.api.conftest import Api, Reply
from tests.builders import Person

pytestmark = pytest.mark.django_db


def make(caller: Api, name: str, kind: int | None = 3) -> Reply:
    return caller.post("/usergroups", {"group_name": name} | ({} if kind is None else {"group_type": kind}))


@pytest.mark.parametrize(("kind", "shown"), [(2, 2), (3, 3), (4, 4), (0, None), (None, None)])
def test_create_and_read_back(admin: Api, kind: int | None, shown: int | None) -> None:
    reply = make(admin, "team", kind)
    assert (reply.status, reply.headers["Location"]) == (201, f"/api/v2.0/usergroups/{reply.id}")
    assert admin.get(f"/usergroups/{reply.id}").body == {"group_name": "team"} | (
        {"group_type": shown} if shown else {}
    )


@pytest.mark.parametrize("body", [None, {}, {"group_type": 2}, {"group_name": "", "group_type": 2}])
def test_without_a_name(admin: Api, body: Any) -> None:
    number = make(admin, "team").id
    for reply in (admin.post("/usergroups", body), admin.put(f"/usergroups/{number}", body)):
        assert (reply.status, reply.content) == (400, b"")


def test_create_refuses(admin: Api) -> None:
    make(admin, "team")
    for kind in (2, 3):
        assert (make(admin, "team", kind).status, make(admin, "team", kind).code) == (409, "CONFLICT")
    reply = admin.post("/usergroups", {"group_name": "l", "group_type": 1, "ldap_group_dn": "cn=x,dc=org"})
    assert (reply.status, reply.message) == (400, "LDAP Group DN is not found: DN:cn=x,dc=org")
    assert make(admin, "x" * 256).status == 400  # Harbor: 500
    assert admin.post("/usergroups", {"group_name": "t", "group_type": "2"}).status == 422


def test_rename(admin: Api) -> None:
    number, _ = make(admin, "team").id, make(admin, "taken")
    assert admin.put(f"/usergroups/{number}", {"group_name": "new", "group_type": 2}).status == 200
    assert admin.get(f"/usergroups/{number}").body == {"group_name": "new", "group_type": 3}
    assert admin.put(f"/usergroups/{number}", {"group_name": "taken"}).status == 409  # Harbor: 500
    assert admin.put("/usergroups/99999999", {"group_name": "z"}).status == 404
    assert admin.put("/usergroups/0", {"group_name": "z"}).status == 400


def test_absent_groups(admin: Api) -> None:
    reply = admin.get("/usergroups/99999999")
    assert (reply.status, reply.message) == (404, "the user group with id 99999999 is not found")
    for number in (0, -1):
        for call in (Api.get, Api.delete):
            reply = call(admin, f"/usergroups/{number}")
            assert (reply.status, reply.message) == (400, "the group id should be provided")
    assert admin.delete("/usergroups/99999999").status == 200


def test_list_and_search(admin: Api, charlie: Person, anonymous: Api, as_: Callable[[Person], Api]) -> None:
    for name in ("find-long", "find-b", "find-a", "other"):
        make(admin, name)
    reply = admin.get("/usergroups?group_name=FIND-&page_size=2")
    assert [group["group_name"] for group in reply.body] == ["find-long", "find-b"]
    assert (reply.headers["X-Total-Count"], 'rel="next"' in reply.headers["Link"]) == ("3", True)
    for caller in (admin, as_(charlie)):
        found = caller.get("/usergroups/search?groupname=find-")
        assert [group["group_name"] for group in found.body] == [
            "find-a",
            "find-b",
            "find-long",
        ]  # the shortest first
    second = admin.get("/usergroups/search?groupname=find-&page_size=1&page=2")
    assert [group["group_name"] for group in second.body] == ["find-a"]  # the page does not count
    assert admin.get("/usergroups/search?groupname=find-&page_size=0").body == []
    assert anonymous.get("/usergroups/search?groupname=find-").status == 401
    assert admin.get("/usergroups/search").status == 422


def test_deleting_a_group_drops_its_memberships(admin: Api) -> None:
    number = make(admin, "team").id
    admin.post("/projects/library/members", {"role_id": 2, "member_group": {"id": number}})
    assert admin.delete(f"/usergroups/{number}").status == 200
    assert not Member.objects.filter(group__isnull=False).exists()


def test_who_may(
    admin: Api, alice: Person, charlie: Person, anonymous: Api, as_: Callable[[Person], Api]
) -> None:
    number = make(admin, "team").id
    calls: list[Callable[[Api], Reply]] = [
        lambda api: api.get("/usergroups"),
        lambda api: api.get(f"/usergroups/{number}"),
        lambda api: make(api, "other"),
        lambda api: api.put(f"/usergroups/{number}", {"group_name": "z"}),
        lambda api: api.delete(f"/usergroups/{number}"),
    ]
    for person in (alice, charlie):
        assert [(r.status, r.message) for r in (call(as_(person)) for call in calls)] == [
            (403, person.name)
        ] * 5
    assert [call(anonymous).status for call in calls] == [401] * 5
    assert UserGroup.objects.get(pk=number).name == "team"
