"""Tag Ldap, and what changes elsewhere in LDAP mode (contract 7; golden: ldap_directory, ldap_sign_in)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rbac.authn import sources
from rbac.models import User, UserGroup
from registry_core import configuration
from tests.api.conftest import Api
from tests.builders import Person
from tests.components.slapd import BASE, ROOT_DN, Slapd, slapd

__all__ = ["slapd"]
pytestmark = pytest.mark.django_db

As = Callable[[Person], Api]
DEV, ADMINS = f"cn=dev,ou=groups,{BASE}", f"cn=admins,ou=groups,{BASE}"
ALICE = {"username": "alice", "realname": "Alice A", "email": "alice@example.org"}


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    sources._good.clear()
    sources._down.clear()
    yield
    sources._good.clear()


@pytest.fixture
def configured(slapd: Slapd, admin: Api) -> Slapd:
    assert admin.put("/configurations", slapd.settings).status == 200
    return slapd


@pytest.fixture
def ldap(configured: Slapd, admin: Api) -> Slapd:
    assert admin.put("/configurations", {"auth_mode": "ldap_auth"}).status == 200
    return configured


def person(name: str) -> Person:
    return Person(name, f"Passw0rd-{name}")


# -- ping


def ping(caller: Api, body: Any) -> Any:
    reply = caller.post("/ldap/ping", body)
    assert reply.status == 200, reply.content
    return reply.body


def test_ping(slapd: Slapd, admin: Api) -> None:
    names = ("ldap_url", "ldap_search_dn", "ldap_search_password", "ldap_uid", "ldap_scope")
    good = {name: slapd.settings[name] for name in names} | {"ldap_base_dn": BASE, "ldap_verify_cert": False}
    credential, timeout = "error: invalid credential", "error: ldap server network timeout"
    cases: list[tuple[dict[str, Any], str]] = [
        ({}, ""), ({"ldap_base_dn": "dc=nothing"}, ""), ({"ldap_filter": "((("}, ""), ({"ldap_scope": 7}, ""),
        ({"ldap_search_password": "wrong"}, credential), ({"ldap_search_dn": f"cn=nobody,{BASE}"}, credential),
        ({"ldap_search_password": ""}, "error: empty password"), ({"ldap_url": "ldap://127.0.0.1:1"}, timeout),
        ({"ldap_url": slapd.url[7:]}, "error: fail to ping LDAP server"), ({"ldap_url": ""}, timeout),
        ({"ldap_url": "http://127.0.0.1:1"}, "error: fail to ping LDAP server"),
    ]  # fmt: skip
    for changes, fault in cases:
        assert ping(admin, good | changes) == ({"message": fault} if fault else {"success": True}), changes
    assert "success" not in ping(admin, good | {"ldap_search_dn": "nobody"})
    nobodys = {"ldap_search_dn": "", "ldap_search_password": ""}
    assert ping(admin, good | nobodys) == {"success": True}
    assert ping(admin, good | nobodys | {"ldap_url": "ldap://127.0.0.1:1"}) == {"message": timeout}
    assert admin.post("/ldap/ping").status == 400
    assert admin.post("/ldap/ping", good | {"ldap_scope": "2"}).status == 422


def test_ping_gives_the_stored_password_to_the_stored_server_only(configured: Slapd, admin: Api) -> None:
    body = {"ldap_url": configured.url, "ldap_base_dn": BASE, "ldap_search_dn": ROOT_DN, "ldap_uid": "uid"}
    assert ping(admin, body) == {"success": True}
    assert ping(admin, body | {"ldap_url": "ldap://127.0.0.1:1"}) == {"message": "error: empty password"}


# -- search


def test_search_for_people(configured: Slapd, admin: Api) -> None:
    for query in ("?username=alice", "?username=ALICE"):
        assert admin.get(f"/ldap/users/search{query}").body == [ALICE]
    for query in ("", "?username="):
        found = admin.get(f"/ldap/users/search{query}").body
        assert sorted(one["username"] for one in found) == ["alice", "bob", "carol", "odd*(name)"]
    for name in ("ali", "nobody", "*", "x)(uid=*", "alice)(objectClass=*"):
        assert admin.get(f"/ldap/users/search?username={name}").body == []


def test_search_for_groups(configured: Slapd, admin: Api) -> None:
    dev, admins = ({"group_name": n, "ldap_group_dn": dn} for n, dn in (("dev", DEV), ("admins", ADMINS)))
    for query, found in (("groupname=dev", dev), (f"groupdn={DEV}", dev), (f"groupname=admins&groupdn={DEV}", admins)):
        assert admin.get(f"/ldap/groups/search?{query}").body == [found]
    outside = f"uid=alice,ou=people,{BASE}"
    for query in ("", "?groupname=de", "?groupname=nothing", f"?groupdn={outside}", "?groupdn=nothing",
                  f"?groupdn=cn=nothing,ou=groups,{BASE}", "?groupname=*"):  # fmt: skip
        reply = admin.get(f"/ldap/groups/search{query}")
        assert (reply.status, reply.code) == (404, "NOT_FOUND"), query


def test_it_is_for_system_administrators(configured: Slapd, charlie: Person, anonymous: Api, as_: As) -> None:
    for caller, status, code in ((as_(charlie), 403, "FORBIDDEN"), (anonymous, 401, "UNAUTHORIZED")):
        for reply in (
            caller.post("/ldap/ping", {}), caller.get("/ldap/users/search"),
            caller.get("/ldap/groups/search?groupname=dev"),
            caller.post("/ldap/users/import", {"ldap_uid_list": ["alice"]}),
        ):  # fmt: skip
            assert (reply.status, reply.code) == (status, code)
    assert not User.objects.filter(username="alice").exists()


def test_when_the_directory_is_away(configured: Slapd, admin: Api) -> None:
    configured.stop()
    for reply in (admin.get("/ldap/users/search?username=alice"), admin.get("/ldap/groups/search?groupname=dev"),
                  admin.post("/ldap/users/import", {"ldap_uid_list": ["alice"]})):  # fmt: skip
        assert (reply.status, reply.code) == (412, "PRECONDITION")
        assert "does not answer" in reply.message


# -- import


def test_import_fails_in_another_mode(configured: Slapd, admin: Api) -> None:
    reply = admin.post("/ldap/users/import", {"ldap_uid_list": ["alice", "nobody", "", " bob "]})
    assert (reply.status, reply.body) == (404, [
        {"uid": "alice", "error": "failed to import user: alice"}, {"uid": "nobody", "error": "unknown_user"},
        {"error": "empty_uid"}, {"uid": " bob ", "error": "failed to import user:  bob "},
    ])  # fmt: skip
    assert not User.objects.filter(username="alice").exists()


def test_import(ldap: Slapd, admin: Api) -> None:
    for names in ([], ["alice", "bob"], ["alice"], None):
        reply = admin.post("/ldap/users/import", {} if names is None else {"ldap_uid_list": names})
        assert (reply.status, reply.content) == (200, b"")
    assert [u["username"] for u in admin.get("/users").body] == ["alice", "bob"]
    reply = admin.post("/ldap/users/import", {"ldap_uid_list": ["carol", "nobody"]})
    assert (reply.status, reply.body) == (404, [{"uid": "nobody", "error": "unknown_user"}])
    assert admin.post("/ldap/users/import").status == 422
    assert admin.post("/ldap/users/import", {"ldap_uid_list": "alice"}).status == 422


# -- elsewhere


def test_people_of_the_directory(ldap: Slapd, admin: Api, anonymous: Api, as_: As) -> None:
    assert anonymous.get("/systeminfo").body["auth_mode"] == "ldap_auth"
    alice = as_(person("alice"))
    me = alice.get("/users/current").body
    names = ("username", "email", "realname", "comment", "sysadmin_flag", "admin_role_in_auth")
    shown = {key: me[key] for key in names}
    assert shown == {**ALICE, "comment": "from LDAP.", "sysadmin_flag": False, "admin_role_in_auth": False}
    assert admin.get("/configurations").body["auth_mode"] == {"value": "ldap_auth", "editable": False}
    assert admin.put("/configurations", {"auth_mode": "db_auth"}).status == 400
    new = {"username": "x", "email": "x@example.org", "realname": "x", "password": "Passw0rd-1x"}
    refused = admin.post("/users", new)
    assert (refused.status, refused.message) == (403, "creating local user is not allowed under auth mode: ldap_auth")
    profile = {"email": "alice@example.org", "realname": "x"}
    passwords = {"old_password": "Passw0rd-alice", "new_password": "Secret-1234"}
    for reply in (alice.put(f"/users/{me['user_id']}", profile), admin.put(f"/users/{me['user_id']}", profile),
                  alice.put(f"/users/{me['user_id']}/password", passwords)):  # fmt: skip
        assert (reply.status, reply.code) == (403, "FORBIDDEN")


def test_administrators_by_their_group(ldap: Slapd, admin: Api, as_: As) -> None:
    alice, bob = as_(person("alice")), as_(person("bob"))
    assert alice.get("/users").status == bob.get("/users").status == 403
    admin.put("/configurations", {"ldap_group_admin_dn": ADMINS})
    me = alice.get("/users/current").body
    assert (me["sysadmin_flag"], me["admin_role_in_auth"]) == (False, True)
    listed = alice.get("/users?sort=username").body
    assert [(u["username"], u["admin_role_in_auth"]) for u in listed] == [("alice", False), ("bob", False)]
    assert bob.get("/users").status == 403


def test_groups_of_the_directory(ldap: Slapd, admin: Api, as_: As) -> None:
    as_(person("bob")).get("/users/current")
    UserGroup.objects.create(name="other", type=UserGroup.Type.OIDC)
    shown = admin.get("/usergroups?page_size=100").body
    assert sorted(group["group_name"] for group in shown) == ["all", "dev", "loop"]
    (dev,) = admin.get(f"/usergroups?ldap_group_dn={DEV}").body
    assert {key: dev[key] for key in ("group_name", "group_type", "ldap_group_dn")} == {
        "group_name": "dev", "group_type": 1, "ldap_group_dn": DEV,
    }  # fmt: skip
    body = {"group_name": "mine", "group_type": 1, "ldap_group_dn": ADMINS}
    assert admin.post("/usergroups", body).status == 201
    assert admin.post("/usergroups", body | {"ldap_group_dn": f"cn=nothing,ou=groups,{BASE}"}).status == 400


def test_members_of_the_directory(ldap: Slapd, admin: Api, as_: As) -> None:
    alice = as_(person("alice"))
    assert alice.get("/users/current").status == 200
    admin.post("/projects", {"project_name": "team"})
    assert alice.get("/projects/team").status == 403
    by_group = {"role_id": 2, "member_group": {"ldap_group_dn": DEV}}
    assert admin.post("/projects/team/members", by_group).status == 201
    assert admin.post("/projects/team/members", by_group | {"role_id": 3}).status == 409
    absent = {"role_id": 2, "member_group": {"ldap_group_dn": f"cn=nothing,ou=groups,{BASE}"}}
    assert admin.post("/projects/team/members", absent).status == 404
    for name, status in (("carol", 201), ("nobody", 404)):
        body = {"role_id": 3, "member_user": {"username": name}}
        assert admin.post("/projects/team/members", body).status == status
    members = admin.get("/projects/team/members").body
    assert [(m["entity_name"], m["entity_type"], m["role_id"]) for m in members] == [
        ("admin", "u", 1), ("carol", "u", 3), ("dev", "g", 2),
    ]  # fmt: skip
    assert alice.get("/projects/team").body["current_user_role_ids"] == [2]
    assert [p["name"] for p in alice.get("/projects?name=team").body] == ["team"]
    assert as_(person("carol")).get("/projects/team").body["current_user_role_ids"] == [3]


def test_the_password_of_the_directory_is_never_shown(ldap: Slapd, admin: Api) -> None:
    assert "ldap-pass-1" not in str(admin.get("/configurations").body)
    assert configuration.get("ldap_search_password") == "ldap-pass-1"
