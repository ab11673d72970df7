"""GET /service/token: what docker and its kin ask first (contract 3.1; expected answers are those of a real Harbor)."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.http import HttpResponse
from django.test import Client

from projects.models import Project
from rbac import actions
from rbac.models import Member, Robot
from registry_core import configuration, epochs, keys, tokens
from tests import hot
from tests.builders import ADMIN, PASSWORD, Person, make_member, make_person, make_project, make_robot

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def new_process() -> Iterator[None]:
    hot.forget_everything()
    yield
    hot.forget_everything()


def get(
    who: Person | None, *scopes: str, service: str | None = "harbor-registry", **more: str
) -> HttpResponse:
    headers = {"authorization": who.basic} if who else {}
    query: dict[str, Any] = {"scope": list(scopes), **more}
    if service is not None:
        query["service"] = service
    answer = Client().get("/service/token", query, headers=headers)
    assert isinstance(answer, HttpResponse)
    return answer


def claims_of(answer: HttpResponse) -> dict[str, Any]:
    assert answer.status_code == 200, answer.content
    body = json.loads(answer.content)["token"].split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(body + "=="))
    return claims


def access(who: Person | None, *scopes: str) -> Any:
    """The access list, actions sorted: their order is not part of the contract."""
    granted = claims_of(get(who, *scopes))["access"]
    return granted and [(one["type"], one["name"], ",".join(sorted(one["actions"]))) for one in granted]


# -- the answer


def test_the_answer(alice: Person) -> None:
    answer = get(alice, "repository:library/app:pull,push")
    assert answer["Content-Type"] == "application/json; charset=utf-8"
    body = json.loads(answer.content)
    assert list(body) == ["token", "access_token", "expires_in", "issued_at"]
    assert (body["access_token"], body["expires_in"]) == ("", 1800)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", body["issued_at"])


def test_the_claims(alice: Person) -> None:
    claims = claims_of(get(alice, "repository:library/app:pull,push"))
    assert list(claims)[:8] == ["iss", "sub", "aud", "exp", "nbf", "iat", "jti", "access"]
    assert (claims["iss"], claims["sub"], claims["aud"]) == (
        "harbor-token-issuer",
        "alice",
        "harbor-registry",
    )
    assert claims["exp"] - claims["iat"] == 1800
    assert claims["nbf"] == claims["iat"]
    assert abs(claims["iat"] - time.time()) < 5
    assert re.fullmatch(r"[A-Za-z0-9]{16}", claims["jti"])


def test_the_header_and_signature(alice: Person) -> None:
    token = json.loads(get(alice).content)["token"]
    header = json.loads(base64.urlsafe_b64decode(token.split(".")[0] + "=="))
    key = keys.signing_key()
    assert header == {"alg": "RS256", "kid": key.kid, "typ": "JWT"}
    assert re.fullmatch(r"([A-Z2-7]{4}:){11}[A-Z2-7]{4}", key.kid)
    assert tokens.verify(token, {key.kid: key.private.public_key()}, time.time())


def test_our_own_claims(alice: Person, library: Project) -> None:
    make_project("hidden")
    claims = claims_of(
        get(alice, "repository:library/app:pull", "repository:hidden/app:pull", "repository:absent/x:pull")
    )
    assert claims["bw"]["s"] == alice.identity.principal.subject
    assert claims["bw"]["q"] == epochs.current_seq()
    # Names under which nothing is held are left out: their numbers would tell which of them exist.
    assert claims["bw"]["n"] == {"library/app": library.namespace_id}
    assert set(claims["bw"]) == {"s", "q", "n", "c"}


def test_the_lifetime_is_a_setting(alice: Person) -> None:
    configuration.set_values({"token_expiration": 45})
    answer = get(alice)
    assert json.loads(answer.content)["expires_in"] == 45 * 60
    claims = claims_of(answer)
    assert claims["exp"] - claims["iat"] == 45 * 60


def test_a_robots_token_ends_with_the_robot(library: Project) -> None:
    robot = make_robot(("library", ["repository:pull"]))
    Robot.objects.update(expires_at=int(time.time()) + 100)
    answer = get(robot, "repository:library/app:pull")
    assert json.loads(answer.content)["expires_in"] <= 100


# -- who asks


def test_anonymous_without_scope_is_401_without_a_body() -> None:
    answer = get(None)
    assert (answer.status_code, answer.content) == (401, b"")
    assert "WWW-Authenticate" not in answer


def test_anonymous_with_a_scope_gets_an_anonymous_token(library: Project) -> None:
    claims = claims_of(get(None, "repository:library/app:pull,push"))
    assert "sub" not in claims
    assert claims["access"] == [{"type": "repository", "name": "library/app", "actions": ["pull"]}]


@pytest.mark.parametrize("secret", ["Wrong-1x", ""])
def test_a_wrong_password_is_anonymous(bob: Person, secret: str) -> None:
    wrong = Person("bob", secret)
    assert get(wrong).status_code == 401
    assert "sub" not in claims_of(get(wrong, "repository:library/app:push"))


def test_deleted_users_and_disabled_robots_are_anonymous(bob: Person, library: Project) -> None:
    robot = make_robot(("library", ["repository:pull"]))
    Robot.objects.update(disable=True)
    assert bob.user
    actions.delete_user(ADMIN, bob.user)
    for gone in (bob, robot):
        assert get(gone).status_code == 401
        assert "sub" not in claims_of(get(gone, "repository:library/app:pull"))


def test_a_user_without_scope_gets_an_empty_token(charlie: Person) -> None:
    assert claims_of(get(charlie))["access"] is None
    assert claims_of(get(charlie, ""))["access"] is None


def test_account_client_id_and_offline_token_are_ignored(alice: Person) -> None:
    answer = get(
        alice, "repository:library/app:pull", account="admin", client_id="docker", offline_token="true"
    )
    assert claims_of(answer)["sub"] == "alice"
    assert "refresh_token" not in json.loads(answer.content)


def test_a_registry_token_is_no_credential_here(alice: Person) -> None:
    token = json.loads(get(alice, "repository:library/app:push").content)["token"]
    answer = Client().get(
        "/service/token", {"service": "harbor-registry"}, headers={"authorization": f"Bearer {token}"}
    )
    assert answer.status_code == 401


# -- methods and services


@pytest.mark.parametrize("method", ["post", "put", "delete", "patch"])
def test_other_methods(alice: Person, method: str) -> None:
    answer = getattr(Client(), method)(
        "/service/token?service=harbor-registry", headers={"authorization": alice.basic}
    )
    assert (answer.status_code, answer.content) == (405, b"Method Not Allowed\n")
    assert answer["Content-Type"] == "text/plain; charset=utf-8"


def test_head() -> None:
    answer = Client().head("/service/token?service=harbor-registry")
    assert (answer.status_code, answer["Content-Type"]) == (405, "text/plain; charset=utf-8")


@pytest.mark.parametrize(
    ("service", "shown"), [("other", "other"), (None, ""), ("harbor-notary", "harbor-notary"), ("", "")]
)
def test_another_service(service: str | None, shown: str) -> None:
    answer = get(None, service=service)
    assert (answer.status_code, answer.content.decode()) == (400, f"Unable to handle service: {shown}")
    assert answer["Content-Type"] == "text/plain; charset=utf-8"


ALL = "delete,pull,push"


# -- scopes: every action that is held, whatever was asked for


@pytest.mark.parametrize(
    ("scope", "entry"),
    [
        ("repository", ("repository", "", "")),
        ("repository:library/app", ("repository", "library/app", ALL)),
        ("repository:library/app:", ("repository", "library/app", ALL)),
        ("repository:library/app:*", ("repository", "library/app", ALL)),
        ("repository:library/app:pull", ("repository", "library/app", ALL)),
        ("repository:library/a/b/c:pull", ("repository", "library/a/b/c", ALL)),
        ("repository:absent/app:pull", ("repository", "absent/app", "")),
        ("repository:library:pull", ("repository", "library", "")),
        ("repository:library/:pull", ("repository", "library/", "")),
        ("repository:host:5000/library/app:pull", ("repository", "host:5000/library/app", "")),
        ("repository(plugin):library/app:pull", ("repository(plugin)", "library/app", "")),
        ("thing:library/app:pull", ("thing", "library/app", "")),
        ("registry:catalog:*", ("registry", "catalog", "*")),
        ("registry:other:*", ("registry", "other", "")),
        ("repository:a\x00b/app:pull", ("repository", "a\x00b/app", "")),
        ("::", ("", "", "")),
    ],
)
def test_scopes_of_an_administrator(scope: str, entry: tuple[str, str, str], library: Project) -> None:
    assert access(make_person(sysadmin=True), scope) == [entry]


def test_entries_come_in_the_order_asked_and_repeat(bob: Person) -> None:
    make_project("hidden")
    asked = (
        "repository:hidden/app:pull",
        "repository:library/app:pull registry:catalog:*",
        "repository:hidden/app:pull",
    )
    assert access(bob, *asked) == [
        ("repository", "hidden/app", ""),
        ("repository", "library/app", "pull,push"),
        ("registry", "catalog", ""),
        ("repository", "hidden/app", ""),
    ]


# Contract 4.2 as a real Harbor's token service answered: [private project, public project where nobody is a member].
@pytest.mark.parametrize(
    ("role", "private"),
    [(Member.Role.PROJECT_ADMIN, ALL), (Member.Role.MAINTAINER, ALL), (Member.Role.DEVELOPER, "pull,push"),
     (Member.Role.GUEST, "pull"), (Member.Role.LIMITED_GUEST, "pull"), (None, "")],
)  # fmt: skip
def test_roles(role: int | None, private: str) -> None:
    project, public, person = make_project(), make_project(public=True), make_person()
    if role:
        make_member(project, person, role)
    answer = access(person, f"repository:{project.name}/app:pull", f"repository:{public.name}/app:pull")
    assert [entry[2] for entry in answer] == [private, "pull"]


# The robots of a real Harbor's token_robots scene: own project, another private one, a public one, the catalogue.
@pytest.mark.parametrize(
    ("level", "place", "pairs", "own", "other", "public"),
    [
        ("project", "own", ["repository:pull"], "pull", "", "pull"),
        ("project", "own", ["repository:push"], "pull,push", "", "pull"),
        ("project", "own", ["repository:pull", "repository:push", "repository:delete"], ALL, "", "pull"),
        ("project", "own", ["repository:list"], "", "", "pull"),
        ("system", "*", ["repository:pull"], "pull", "pull", "pull"),
        ("system", "own", ["repository:push"], "push", "", "pull"),
        ("system", "/", ["catalog:read"], "", "", ""),
    ],
)
def test_robots(level: str, place: str, pairs: list[str], own: str, other: str, public: str) -> None:
    for name in ("own", "other"):
        make_project(name)
    make_project("open", public=True)
    robot = make_robot((place, pairs), level=level)
    scopes = [f"repository:{name}/app:pull" for name in ("own", "other", "open")]
    answer = access(robot, *scopes, "registry:catalog:*")
    assert [entry[2] for entry in answer] == [own, other, public, ""]
    assert claims_of(get(robot))["sub"] == robot.name


def test_charlie_learns_nothing_of_hidden_projects(charlie: Person) -> None:
    make_project("hidden")
    hidden, absent = access(charlie, "repository:hidden/app:pull", "repository:absent/app:pull")
    assert (hidden[2], absent[2]) == ("", "")
    assert claims_of(get(charlie, "repository:hidden/app:pull"))["bw"]["n"] == {}


# -- limits


def test_too_many_scopes_are_refused_with_the_limit(alice: Person) -> None:
    answer = get(alice, *(f"repository:library/a{i}:pull" for i in range(101)))
    assert (answer.status_code, answer.content) == (400, b"more than 100 scopes")


def test_a_token_that_nobody_would_take_is_not_issued(alice: Person) -> None:
    answer = get(alice, *(f"repository:library/{'x' * 200}{i}:pull" for i in range(99)))
    assert answer.status_code == 400
    assert b"16384" in answer.content


def test_read_only_mode_does_not_stop_tokens(alice: Person) -> None:
    configuration.set_values({"read_only": True})
    assert access(alice, "repository:library/app:push") == [("repository", "library/app", ALL)]


def test_a_password_is_needed_once_a_minute_only(alice: Person) -> None:
    assert PASSWORD
    get(alice)
    began = time.thread_time()
    for _ in range(5):
        get(alice)
    assert (time.thread_time() - began) / 5 < 0.05
