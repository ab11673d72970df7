"""Signing in through a real LDAP directory: who, by which password, in which groups (contract 4.4, 5, 7; design 5)."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from projects.models import Project
from rbac import actions
from rbac.authn import browser, lockout, sources
from rbac.authn.directory import Directory
from rbac.catalogue import Permission
from rbac.configure import change
from rbac.models import ExternalIdentity, GroupMembership, Member, User, UserGroup
from rbac.permissions import can
from registry_core import configuration, errors
from tests.builders import ADMIN, PASSWORD, Person, make_person, make_project
from tests.components.slapd import BASE, PEOPLE, Slapd, slapd
from tests.rbac.asking import identify

__all__ = ["slapd"]
pytestmark = pytest.mark.django_db

HOME = "192.0.2.1"
ALICE = f"uid=alice,ou=people,{BASE}"
ADMINS = f"cn=admins,ou=groups,{BASE}"
PERSON = f"dn: uid={{0}},ou=people,{BASE}\nobjectClass: inetOrgPerson\nuid: {{0}}\ncn: {{0}}\nsn: {{0}}\n"


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    sources._good.clear()
    sources._down.clear()
    lockout._table()[:] = bytes(len(lockout._table()))
    yield
    sources._good.clear()


@pytest.fixture
def ldap(slapd: Slapd) -> Slapd:
    """The directory is the one that people come from."""
    configuration.set_values({**slapd.settings, "auth_mode": "ldap_auth"})
    return slapd


def who(name: str, password: str, address: str = HOME) -> str | None:
    identity = identify(Person(name, password).basic, address)
    return None if identity.is_anonymous else identity.principal.name


def groups_of(name: str) -> set[str]:
    return set(GroupMembership.objects.filter(user__username=name).values_list("group__name", flat=True))


# -- who


def test_somebody_of_the_directory_becomes_a_user(ldap: Slapd) -> None:
    assert who("alice", "Passw0rd-alice") == "alice"
    user = User.objects.get(username="alice")
    assert (user.email, user.realname, user.comment, user.password, user.sysadmin_flag) == (
        "alice@example.org", "Alice A", "from LDAP.", "", False,
    )  # fmt: skip
    assert groups_of("alice") == {"dev", "admins", "all", "loop"}
    assert set(UserGroup.objects.values_list("type", flat=True)) == {UserGroup.Type.LDAP}
    assert UserGroup.objects.get(name="dev").ldap_dn == f"cn=dev,ou=groups,{BASE}"
    assert who("ALICE", "Passw0rd-alice") == "alice"
    assert User.objects.filter(username__iexact="alice").count() == 1


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("alice", "Wrong-1234"), ("alice", ""), ("alice@example.org", "Passw0rd-alice"), ("nobody", "Wrong-1234"),
        ("*", "Passw0rd-alice"), ("al*", "Passw0rd-alice"), ("alice)(uid=*", "Passw0rd-alice"),
        ("*)(objectClass=*", "Passw0rd-alice"), ("alice\\2a", "Passw0rd-alice"), (ALICE, "Passw0rd-alice"),
        ("alice", "x" * 5000), ("a" * 5000, "Passw0rd-alice"), ("\x01\x02", "x"), ("odd*(name) ", ""),
    ],
)  # fmt: skip
def test_who_does_not_get_in(ldap: Slapd, name: str, password: str) -> None:
    assert who(name, password) is None
    assert User.objects.filter(deleted=False).count() == 1


def test_a_name_full_of_signs_is_a_name(ldap: Slapd) -> None:
    assert who("odd*(name)", "Passw0rd-odd*(name)") == "odd*(name)"


def test_the_filter_and_the_base_say_who_counts(ldap: Slapd) -> None:
    configuration.set_values({"ldap_filter": "uid=bob"})
    assert who("alice", "Passw0rd-alice") is None
    assert who("bob", "Passw0rd-bob") == "bob"
    configuration.set_values({"ldap_filter": "", "ldap_base_dn": BASE, "ldap_scope": 1})
    assert who("carol", "Passw0rd-carol", "192.0.2.2") is None
    configuration.set_values({"ldap_scope": 2})
    assert who("carol", "Passw0rd-carol", "192.0.2.3") == "carol"


def test_two_of_one_name_are_nobody(ldap: Slapd) -> None:
    second = f"dn: cn=Second,ou=groups,{BASE}\nobjectClass: inetOrgPerson\ncn: Second\nsn: S\nuid: alice\n"
    ldap.change("ldapadd", second + "userPassword: Passw0rd-alice\n")
    configuration.set_values({"ldap_base_dn": BASE})
    assert who("alice", "Passw0rd-alice") is None


def test_admin_and_who_has_a_password_here_go_on(ldap: Slapd) -> None:
    configuration.set_values({"auth_mode": "db_auth"})
    charlie = make_person("charlie")
    configuration.set_values({"auth_mode": "ldap_auth"})
    assert who(charlie.name, PASSWORD) == "charlie"
    assert who("admin", "Adm1n-of-tests") in ("admin", None)
    user = User.objects.get(pk=actions.ADMIN_ID)
    actions.change_password(ADMIN, User.objects.get(username="charlie"), "Secret-1234")
    assert who("charlie", "Secret-1234") == "charlie"
    assert user.username == "admin"


def test_a_name_that_is_taken_stays_its_owners(ldap: Slapd) -> None:
    """Nobody is linked by a name or an e-mail that nothing has verified."""
    configuration.set_values({"auth_mode": "db_auth"})
    make_person("alice")
    configuration.set_values({"auth_mode": "ldap_auth"})
    assert who("alice", "Passw0rd-alice") is None
    assert who("alice", PASSWORD, "192.0.2.2") == "alice"
    assert not ExternalIdentity.objects.exists()


def test_an_e_mail_that_is_taken_is_left_out(ldap: Slapd) -> None:
    configuration.set_values({"auth_mode": "db_auth"})
    actions.create_user(ADMIN, username="other", email="bob@example.org", realname="o", password=PASSWORD)
    configuration.set_values({"auth_mode": "ldap_auth"})
    assert who("bob", "Passw0rd-bob") == "bob"
    assert User.objects.get(username="bob").email == ""


def test_who_is_renamed_there_is_the_same_here(ldap: Slapd) -> None:
    who("carol", "Passw0rd-carol")
    carol = f"dn: uid=carol,ou=people,{BASE}\n"
    ldap.change("ldapmodify", carol + "changetype: modrdn\nnewrdn: uid=caro\ndeleteoldrdn: 1\n")
    assert who("caro", "Passw0rd-carol") == "carol"
    assert User.objects.filter(username__startswith="caro").count() == 1


def test_switching_off_deletes_nobody_and_lets_nobody_in(ldap: Slapd) -> None:
    who("alice", "Passw0rd-alice")
    configuration.set_values({"auth_mode": "db_auth"})
    sources._good.clear()
    assert who("alice", "Passw0rd-alice") is None
    configuration.set_values({"auth_mode": "ldap_auth"})
    lockout._table()[:] = bytes(len(lockout._table()))
    number = User.objects.get(username="alice").pk
    assert who("alice", "Passw0rd-alice") == "alice"
    assert User.objects.get(username="alice").pk == number


def test_who_is_deleted_here_may_come_again_as_somebody_new(ldap: Slapd) -> None:
    who("alice", "Passw0rd-alice")
    first = User.objects.get(username="alice")
    actions.delete_user(ADMIN, first)
    assert who("alice", "Passw0rd-alice") == "alice"
    assert User.objects.get(username="alice").pk != first.pk


# -- passwords


def test_the_directory_is_asked_once_a_minute(ldap: Slapd, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    verify = Directory.verify

    def counted(self: Directory, name: str, secret: str) -> Any:
        asked.append(name)
        return verify(self, name, secret)

    monkeypatch.setattr(Directory, "verify", counted)
    for _ in range(3):
        assert who("bob", "Passw0rd-bob") == "bob"
    assert asked == ["bob"]
    assert who("bob", "Wrong-1234", "192.0.2.2") is None
    assert len(asked) == 2
    monkeypatch.setattr(time, "monotonic", lambda base=time.monotonic: base() + 61)
    assert who("bob", "Passw0rd-bob") == "bob"
    assert len(asked) == 3


def test_a_failure_refuses_that_name_from_there(ldap: Slapd) -> None:
    assert who("bob", "Wrong-1234") is None
    assert who("bob", "Passw0rd-bob") is None
    assert who("bob", "Passw0rd-bob", "198.51.100.7") == "bob"


def test_sessions_are_for_people_of_the_directory_too(ldap: Slapd) -> None:
    token = browser.sign_in("bob", "Passw0rd-bob", HOME)
    assert token is not None
    account = browser.find(token)
    assert account is not None
    assert account.principal.name == "bob"


# -- outages


def test_an_outage_is_nobodys_wrong_password(ldap: Slapd) -> None:
    ldap.stop()
    assert who("alice", "Passw0rd-alice") is None
    assert not lockout.is_locked("alice", HOME)


def test_a_directory_that_hangs_is_left_alone_for_a_moment(slapd: Slapd) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"ldap://127.0.0.1:{deaf.getsockname()[1]}"
        values = {**slapd.settings, "ldap_url": url, "ldap_timeout": 1, "auth_mode": "ldap_auth"}
        configuration.set_values(values)
        began = time.monotonic()
        assert who("alice", "Passw0rd-alice") is None
        first = time.monotonic() - began
        assert who("bob", "Passw0rd-bob") is None
        assert first < 4
        assert time.monotonic() - began - first < 0.5


def test_a_refused_search_account_lets_nobody_in(ldap: Slapd) -> None:
    configuration.set_values({"ldap_search_password": "wrong"})
    assert who("alice", "Passw0rd-alice") is None
    assert not lockout.is_locked("alice", HOME)


# -- TLS


def test_tls_is_verified_by_the_given_authority(ldap: Slapd) -> None:
    for secure in ({"ldap_url": ldap.tls_url}, {"ldap_url": ldap.url, "ldap_start_tls": True}):
        values = {**secure, "ldap_verify_cert": True, "ldap_ca_certificate": ldap.ca}
        configuration.set_values(values)
        assert [e.username for e in Directory.configured().search("alice")] == ["alice"], secure
        configuration.set_values({"ldap_ca_certificate": ""})
        with pytest.raises(errors.Unavailable):
            Directory.configured().search("alice")
        configuration.set_values({"ldap_verify_cert": False})
        assert [e.username for e in Directory.configured().search("alice")] == ["alice"], secure


# -- groups


def test_groups_by_search_alone(ldap: Slapd) -> None:
    configuration.set_values({"ldap_group_search_filter": "", "ldap_group_membership_attribute": ""})
    who("bob", "Passw0rd-bob")
    assert groups_of("bob") == {"dev", "all", "loop", "posix"}


def test_groups_of_another_base_do_not_count(ldap: Slapd) -> None:
    configuration.set_values({"ldap_group_base_dn": f"ou=people,{BASE}"})
    who("alice", "Passw0rd-alice")
    assert groups_of("alice") == set()


def test_the_group_filter_counts(ldap: Slapd) -> None:
    configuration.set_values({"ldap_group_search_filter": "(cn=dev)"})
    who("alice", "Passw0rd-alice")
    assert groups_of("alice") == {"dev"}


def test_a_group_name_that_is_taken_is_told_apart_by_its_dn(ldap: Slapd) -> None:
    UserGroup.objects.create(name="dev", type=UserGroup.Type.OIDC)
    who("bob", "Passw0rd-bob")
    assert groups_of("bob") == {f"cn=dev,ou=groups,{BASE}", "all", "loop"}


@pytest.mark.parametrize("dn", [ADMINS, ADMINS.upper()])
def test_the_admin_group_makes_administrators(ldap: Slapd, dn: str) -> None:
    who("alice", "Passw0rd-alice")
    who("bob", "Passw0rd-bob")
    assert not identify(Person("alice", "Passw0rd-alice").basic).principal.is_admin
    change(ADMIN, {"ldap_group_admin_dn": dn})
    assert identify(Person("alice", "Passw0rd-alice").basic).principal.is_admin
    assert not identify(Person("bob", "Passw0rd-bob").basic).principal.is_admin
    assert not User.objects.get(username="alice").sysadmin_flag
    change(ADMIN, {"ldap_group_admin_dn": ""})
    assert not identify(Person("alice", "Passw0rd-alice").basic).principal.is_admin


@pytest.mark.django_db(transaction=True)
def test_the_change_itself_makes_them() -> None:
    """Also where this process has just read the settings, and keeps them."""
    user = User.objects.create(username="dora", password="")
    group = UserGroup.objects.create(name="admins", type=UserGroup.Type.LDAP, ldap_dn=ADMINS)
    GroupMembership.objects.create(user=user, group=group)
    configuration.set_values({"auth_mode": "ldap_auth"})
    for dn, is_admin in ((ADMINS, True), ("", False)):
        assert configuration.get("ldap_group_admin_dn") != dn
        change(ADMIN, {"ldap_group_admin_dn": dn})
        user.refresh_from_db()
        assert user.admin_by_group is is_admin


def test_a_group_gives_its_role(ldap: Slapd) -> None:
    project = make_project("team")
    assert who("alice", "Passw0rd-alice") == "alice"
    identity = identify(Person("alice", "Passw0rd-alice").basic)
    assert not can(identity, Permission.PROJECT_READ, project)
    actions.add_member(ADMIN, project, Member.Role.DEVELOPER, who=UserGroup.objects.get(name="dev"))
    assert can(identity, Permission.REPOSITORY_PUSH, project)
    assert not can(identity, Permission.MEMBER_CREATE, project)


def remove_from_dev(ldap: Slapd, uid: str) -> None:
    member = f"uid={uid},ou=people,{BASE}"
    ldap.change("ldapmodify", f"dn: cn=dev,ou=groups,{BASE}\nchangetype: modify\ndelete: member\nmember: {member}\n")


def test_groups_are_refreshed_by_the_worker(ldap: Slapd) -> None:
    who("alice", "Passw0rd-alice")
    remove_from_dev(ldap, "alice")
    assert "dev" in groups_of("alice")
    assert sources.refresh() == 1
    assert groups_of("alice") == {"admins"}


def test_who_is_gone_there_is_out_here(ldap: Slapd) -> None:
    token = browser.sign_in("carol", "Passw0rd-carol", HOME) or ""
    ldap.change("ldapmodify", f"dn: uid=carol,ou=people,{BASE}\nchangetype: delete\n")
    assert who("carol", "Passw0rd-carol") == "carol"  # kept for a minute
    sources.refresh()
    assert who("carol", "Passw0rd-carol") is None
    assert browser.find(token) is None
    assert User.objects.filter(username="carol").exists()
    lockout._table()[:] = bytes(len(lockout._table()))
    ldap.change("ldapadd", PERSON.format("carol"))
    sources.refresh()  # somebody else of that name: the directory calls them otherwise
    assert User.objects.get(username="carol").suspended


def test_who_comes_back_into_the_filter_is_in_again(ldap: Slapd) -> None:
    token = browser.sign_in("carol", "Passw0rd-carol", HOME) or ""
    for wanted, suspended in (("(uid=bob)", True), ("", False)):
        configuration.set_values({"ldap_filter": wanted})
        sources.refresh()
        assert User.objects.get(username="carol").suspended is suspended
        assert (browser.find(token) is None) is suspended


def test_an_outage_takes_nothing_from_anybody(ldap: Slapd) -> None:
    who("alice", "Passw0rd-alice")
    ldap.stop()
    with pytest.raises(errors.Unavailable):
        sources.refresh()
    assert groups_of("alice") == {"dev", "admins", "all", "loop"}
    assert not User.objects.get(username="alice").suspended


def test_everybody_is_found(ldap: Slapd) -> None:
    assert {e.username for e in Directory.configured().search()} == set(PEOPLE)
    assert Project.objects.exists()


