"""Tag member (contract 4.4; golden: member_users, member_groups, member_roles)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from projects.models import Project
from rbac.models import Member, UserGroup
from tests.api.conftest import Api
from tests.builders import Person, make_member, make_person, make_project

pytestmark = pytest.mark.django_db

As = Callable[[Person], Api]
PATH = "/projects/library/members"


def named(person: Person, role: int) -> dict[str, Any]:
    return {"role_id": role, "member_user": {"username": person.name}}


def test_add_by_name_and_by_id(admin: Api, library: Project, charlie: Person) -> None:
    reply = admin.post(PATH, named(charlie, 2))
    assert (reply.status, reply.content) == (201, b"")
    assert reply.headers["Location"] == f"/api/v2.0{PATH}/{reply.id}"
    assert charlie.user is not None
    assert admin.get(f"{PATH}/{reply.id}").body == {
        "id": reply.id, "project_id": library.pk, "entity_name": "charlie", "entity_id": charlie.user.pk,
        "entity_type": "u", "role_id": 2, "role_name": "developer",
    }  # fmt: skip
    dora = make_person("dora")
    assert dora.user is not None
    # The id counts, whatever the name says.
    sent = {"role_id": 5, "member_user": {"user_id": dora.user.pk, "username": "charlie"}}
    reply = admin.post(f"/projects/{library.pk}/members", sent)
    assert reply.headers["Location"] == f"/api/v2.0/projects/{library.pk}/members/{reply.id}"
    assert admin.get(f"{PATH}/{reply.id}").body["entity_name"] == "dora"


@pytest.mark.parametrize(
    ("sent", "status", "message"),
    [
        (
            {"role_id": 2, "member_user": {"username": "bob"}},
            409,
            "The project member specified already exist",
        ),
        (
            {"role_id": 99, "member_user": {"username": "bob"}},
            409,
            "The project member specified already exist",
        ),
        (
            {"role_id": 1, "member_user": {"username": "admin"}},
            409,
            "The project member specified already exist",
        ),
        ({"role_id": 2, "member_user": {"username": "nobody"}}, 404, "user nobody is not found"),
        ({"role_id": 2, "member_user": {"username": "CHARLIE"}}, 404, "user CHARLIE is not found"),
        ({"role_id": 2, "member_user": {"username": "anonymous"}}, 404, "user anonymous is not found"),
        ({"role_id": 2, "member_user": {"username": "robot$x"}}, 404, "user robot$x is not found"),
        (
            {"role_id": 2, "member_user": {"user_id": 99999999}},
            400,
            "Failed to get user 99999999: user 99999999 not found",
        ),
        (
            {"role_id": 2, "member_user": {"username": ""}},
            400,
            "at least one of member_user or member_group must be provided",
        ),
        ({"role_id": 2}, 400, "at least one of member_user or member_group must be provided"),
        ({}, 400, "at least one of member_user or member_group must be provided"),
        (None, 400, "the project member should provide"),
        *[
            (
                {"role_id": role, "member_user": {"username": "charlie"}},
                400,
                "Failed to update project member, role is not in 1,2,3",
            )
            for role in (0, 6, -1, 99)
        ],
        (
            {"member_user": {"username": "charlie"}},
            400,
            "Failed to update project member, role is not in 1,2,3",
        ),
    ],
)
def test_add_refuses(admin: Api, bob: Person, charlie: Person, sent: Any, status: int, message: str) -> None:
    reply = admin.post(PATH, sent)
    assert (reply.status, reply.message) == (status, message)


def test_add_to_an_absent_project(admin: Api, charlie: Person) -> None:
    assert admin.post("/projects/absent/members", named(charlie, 2)).message == "project absent not found"


def test_list_is_by_name(admin: Api, alice: Person, bob: Person) -> None:
    reply = admin.get(PATH)
    assert [(m["entity_name"], m["role_name"]) for m in reply.body] == [
        ("admin", "projectAdmin"), ("alice", "projectAdmin"), ("bob", "developer"),
    ]  # fmt: skip
    assert reply.headers["X-Total-Count"] == "3"
    second = admin.get(f"{PATH}?page=2&page_size=2")
    assert [m["entity_name"] for m in second.body] == ["bob"]
    assert second.headers["Link"] == f'</api/v2.0{PATH}?page=1&page_size=2>; rel="prev"'


@pytest.mark.parametrize(
    ("name", "found"),
    [("bob", ["bob"]), ("bo", []), ("BOB", []), ("%25", []), ("", ["admin", "alice", "bob"])],
)
def test_the_name_must_be_whole_and_the_total_stays(
    admin: Api, alice: Person, bob: Person, name: str, found: list[str]
) -> None:
    reply = admin.get(f"{PATH}?entityname={name}")
    assert [m["entity_name"] for m in reply.body] == found
    assert reply.headers["X-Total-Count"] == "3"


def test_get_refuses(admin: Api, library: Project, bob: Person) -> None:
    reply = admin.get(f"{PATH}/99999999")
    assert (reply.status, reply.message) == (
        404,
        f"the project member is not found, project id {library.pk}, member id 99999999",
    )
    assert (admin.get(f"{PATH}/0").status, admin.get(f"{PATH}/0").message) == (
        400,
        "the member id can not be empty!",
    )
    assert admin.get(f"{PATH}/x").status == 422
    assert admin.get(f"{PATH}/-1").status == 404  # Harbor shows some other member
    other = make_project("other")
    member = Member.objects.get(project=library, user=bob.user)
    assert admin.get(f"/projects/{other.pk}/members/{member.pk}").status == 404


def test_change_the_role(admin: Api, library: Project, bob: Person, as_: As) -> None:
    member = Member.objects.get(project=library, user=bob.user)
    assert admin.put(f"{PATH}/{member.pk}", {"role_id": 1}).status == 200
    assert admin.get(f"{PATH}/{member.pk}").body["role_name"] == "projectAdmin"
    assert as_(bob).put("/projects/library", {"metadata": {"auto_scan": "true"}}).status == 200
    reply = admin.put(f"{PATH}/{member.pk}")
    assert (reply.status, reply.message) == (400, "role can not be empty")
    assert admin.put(f"{PATH}/{member.pk}", {"role_id": "1"}).status == 422


@pytest.mark.parametrize("sent", [{"role_id": 0}, {"role_id": 9}, {}])
def test_a_role_that_does_not_exist_hides_the_member(
    admin: Api, library: Project, bob: Person, as_: As, sent: dict[str, int]
) -> None:
    member = Member.objects.get(project=library, user=bob.user)
    assert admin.put(f"{PATH}/{member.pk}", sent).status == 200
    assert admin.get(f"{PATH}/{member.pk}").status == 404
    assert "bob" not in [m["entity_name"] for m in admin.get(PATH).body]
    assert as_(bob).get(PATH).status == 403


def test_what_is_not_there_is_changed_without_effect(admin: Api, library: Project, bob: Person) -> None:
    other = make_project("other")
    member = Member.objects.get(project=library, user=bob.user)
    for path in (f"{PATH}/99999999", f"/projects/{other.pk}/members/{member.pk}"):
        assert admin.put(path, {"role_id": 3}).status == 200
        assert admin.delete(path).status == 200
    member.refresh_from_db()
    assert member.role == Member.Role.DEVELOPER


def test_remove(admin: Api, library: Project, bob: Person, as_: As) -> None:
    member = Member.objects.get(project=library, user=bob.user)
    assert as_(bob).get(PATH).status == 200
    assert [admin.delete(f"{PATH}/{member.pk}").status for _ in range(2)] == [200, 200]
    assert as_(bob).get(PATH).status == 403
    reply = admin.delete(f"{PATH}/0")
    assert (reply.status, reply.message) == (400, "the project member id is required.")


def test_the_owner_and_the_last_administrator_may_go(admin: Api, library: Project) -> None:
    owner = Member.objects.get(project=library)
    assert admin.delete(f"{PATH}/{owner.pk}").status == 200
    assert admin.get(PATH).body == []
    assert admin.get("/projects/library").body["current_user_role_ids"] is None


def test_groups(admin: Api, library: Project) -> None:
    http = UserGroup.objects.create(name="http", type=2)
    oidc = UserGroup.objects.create(name="oidc", type=3)
    reply = admin.post(PATH, {"role_id": 2, "member_group": {"id": http.pk}})
    assert admin.get(f"{PATH}/{reply.id}").body == {
        "id": reply.id, "project_id": library.pk, "entity_name": "http", "entity_id": http.pk, "entity_type": "g",
        "role_id": 2, "role_name": "developer",
    }  # fmt: skip
    assert admin.post(PATH, {"role_id": 0, "member_group": {"id": http.pk}}).status == 409
    assert (
        admin.post(PATH, {"role_id": 3, "member_group": {"group_name": "oidc", "group_type": 3}}).status
        == 201
    )
    assert admin.get("/projects/library/summary").body["guest_count"] == 1
    for group, status, message in (
        ({"id": 99999999}, 400, "Group 99999999 not found"),
        ({"group_name": "oidc", "group_type": 2}, 404, "oidc not found: not supported"),
        ({"group_name": "oidc"}, 404, "oidc not found: not supported"),
        ({"ldap_group_dn": "cn=x,dc=example,dc=org"}, 404, "cn=x,dc=example,dc=org not found: not supported"),
    ):
        reply = admin.post(PATH, {"role_id": 3, "member_group": group})
        assert (reply.status, reply.message) == (status, message)
    oidc.delete()
    assert [m["entity_name"] for m in admin.get(PATH).body] == ["admin", "http"]


def test_who_may(
    alice: Person, bob: Person, charlie: Person, anonymous: Api, library: Project, as_: As
) -> None:
    limited, extra = make_person("dora"), make_person("eve")
    make_member(library, limited, Member.Role.LIMITED_GUEST)
    member = Member.objects.get(project=library, user=bob.user)
    calls: list[Callable[[Api], Any]] = [
        lambda api: api.get(PATH),
        lambda api: api.get(f"{PATH}/{member.pk}"),
        lambda api: api.put(f"{PATH}/{member.pk}", {"role_id": 2}),
        lambda api: api.post(PATH, named(extra, 5)),
        lambda api: api.delete(f"{PATH}/99999999"),
    ]
    assert [call(as_(alice)).status for call in calls] == [200, 200, 200, 201, 200]
    assert [call(as_(bob)).status for call in calls] == [200, 200, 403, 403, 403]
    assert [call(as_(limited)).status for call in calls] == [403] * 5
    assert [call(as_(charlie)).status for call in calls] == [403] * 5  # library is public
    assert [call(anonymous).status for call in calls] == [401] * 5


def test_nobody_promotes_himself(bob: Person, library: Project, as_: As) -> None:
    member = Member.objects.get(project=library, user=bob.user)
    assert as_(bob).put(f"{PATH}/{member.pk}", {"role_id": 1}).status == 403
    assert as_(bob).delete(f"{PATH}/{member.pk}").status == 403
