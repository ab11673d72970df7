"""Sessions and protection against forged requests (contract 1.4, 1.5, 7; golden: session_*, audit_log_sessions)."""

from __future__ import annotations

import base64
import datetime
from collections.abc import Callable

import pytest
from django.test import Client
from django.utils import timezone

from projects.models import Project
from rbac import actions
from rbac.authn import browser as sessions
from rbac.authn import local, lockout
from rbac.models import BrowserSession, User
from registry_core import configuration
from registry_core.models import AuditLog
from tests.api.browsing import Browser
from tests.api.conftest import ADMIN_PASSWORD, Api
from tests.builders import ADMIN, PASSWORD, Person, make_person, make_robot

pytestmark = pytest.mark.django_db

As = Callable[[Person], Api]
NEW_PASSWORD = "Secret-1234"


@pytest.fixture
def charlies(charlie: Person) -> Browser:
    """A browser in which charlie is signed in."""
    browser = Browser()
    assert browser.sign_in("charlie", PASSWORD).status == 200
    return browser


def user_of(person: Person) -> User:
    assert person.user is not None
    return person.user


# -- signing in and out


def test_a_session_begins_and_ends(charlie: Person) -> None:
    browser = Browser()
    reply = browser.sign_in("charlie", PASSWORD)
    assert (reply.status, reply.content, browser.set_cookies) == (200, b"", ["sid"])
    assert "Content-Type" not in reply.headers
    assert browser.who() == "charlie"
    token = browser.sid
    reply = browser.get("/c/log_out")
    assert (reply.status, reply.content, browser.set_cookies) == (200, b"", ["sid"])
    assert browser.client.cookies["sid"]["max-age"] == 0
    assert browser.who() is None
    browser.client.cookies["sid"] = token
    assert browser.who() is None
    assert not BrowserSession.objects.exists()


def test_the_e_mail_is_a_name_too(charlie: Person) -> None:
    browser = Browser()
    assert browser.sign_in("charlie@example.org", PASSWORD).status == 200
    assert browser.who() == "charlie"


def test_name_and_password_may_stand_in_the_query(charlie: Person) -> None:
    browser = Browser()
    assert browser.request("POST", f"/c/login?principal=charlie&password={PASSWORD}").status == 200
    assert browser.who() == "charlie"


@pytest.mark.parametrize(
    ("name", "password"),
    [("charlie", "Wrong-1234"), ("nobody", "Wrong-1234"), ("", ""), ("charlie", ""), ("char\0lie", PASSWORD),
     ("CHARLIE", PASSWORD), ("charlie", PASSWORD + "\0"), ("x" * 70_000, PASSWORD)],
)  # fmt: skip
def test_who_is_refused_hears_nothing_more(charlie: Person, name: str, password: str) -> None:
    browser = Browser()
    reply = browser.sign_in(name, password)
    assert (reply.status, reply.content, browser.set_cookies) == (401, b"", [])
    assert browser.who() is None


def test_json_is_no_form(charlie: Person) -> None:
    browser = Browser()
    assert browser.send("POST", "/c/login", {"principal": "charlie", "password": PASSWORD}).status == 401
    assert browser.send("POST", "/c/login").status == 401


def test_a_robot_has_no_session() -> None:
    robot = make_robot(("/", ["label:read"]), level="system")
    assert Browser().sign_in(robot.name, robot.secret).status == 401
    assert not BrowserSession.objects.exists()


def test_other_verbs_are_no_pages(charlies: Browser) -> None:
    for method, path in (("GET", "/c/login"), ("PUT", "/c/login"), ("POST", "/c/log_out"), ("GET", "/c/userExists"),
                         ("GET", "/c/nothing")):  # fmt: skip
        reply = charlies.request(method, path)
        assert (reply.status, reply.headers["Content-Type"]) == (404, "text/html; charset=utf-8")
    assert charlies.who() == "charlie"


def test_signing_in_again_ends_what_was(charlies: Browser) -> None:
    former = charlies.sid
    make_person("dora")
    assert charlies.sign_in("dora", PASSWORD).status == 200
    assert charlies.who() == "dora"
    charlies.client.cookies["sid"] = former
    assert charlies.who() is None
    assert BrowserSession.objects.count() == 1


def test_a_refused_attempt_leaves_the_session(charlies: Browser) -> None:
    assert charlies.sign_in("dora", "Wrong-1234").status == 401
    assert charlies.who() == "charlie"


def test_a_token_known_before_is_never_that_of_a_session(charlie: Person) -> None:
    """Session fixation: whoever planted the cookie holds nothing afterwards."""
    planted = sessions.new_token()
    browser = Browser()
    browser.client.cookies["sid"] = planted
    assert browser.sign_in("charlie", PASSWORD).status == 200
    assert browser.sid != planted
    browser.client.cookies["sid"] = planted
    assert browser.who() is None


def test_no_token_is_kept(charlies: Browser) -> None:
    stored = str(list(BrowserSession.objects.values()))
    assert charlies.sid not in stored
    assert charlies.sid.partition(".")[0] not in stored
    assert PASSWORD not in stored


def test_a_made_up_token_is_not_looked_for(
    charlies: Browser, django_assert_num_queries: Callable[[int], object]
) -> None:
    for token in ("0123456789abcdef0123456789abcdef", "", "a.b", "ä.ö", "x" * 5000, charlies.sid[:-1] + "x"):
        with django_assert_num_queries(0):  # type: ignore[attr-defined]
            assert sessions.find(token) is None


def test_a_session_costs_one_question(charlies: Browser, django_assert_num_queries: Callable[[int], object]) -> None:
    configuration.get("session_timeout")
    with django_assert_num_queries(2):  # type: ignore[attr-defined]  # the settings, in a transaction, are the other
        assert sessions.find(charlies.sid) is not None


def test_one_user_has_so_many_sessions(charlie: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "MAX_OF_ONE_USER", 3)
    tokens = [sessions.sign_in("charlie", PASSWORD, "192.0.2.1") or "" for _ in range(5)]
    assert [sessions.find(token) is not None for token in tokens] == [False, False, True, True, True]


def test_the_network_limit_of_a_person_holds(charlie: Person) -> None:
    User.objects.filter(pk=user_of(charlie).pk).update(networks=["10.0.0.0/8"])
    assert Browser().sign_in("charlie", PASSWORD).status == 401
    near = Browser("10.1.2.3")
    assert near.sign_in("charlie", PASSWORD).status == 200
    assert near.who() == "charlie"
    stolen = Browser("192.0.2.9")
    stolen.client.cookies["sid"] = near.sid
    assert stolen.who() is None


# -- who may, now and not then


def test_rights_follow_the_person(charlies: Browser, charlie: Person) -> None:
    assert charlies.get("/api/v2.0/users").status == 403
    actions.set_sysadmin(ADMIN, user_of(charlie), flag=True)
    assert charlies.get("/api/v2.0/users").status == 200
    actions.set_sysadmin(ADMIN, user_of(charlie), flag=False)
    assert charlies.get("/api/v2.0/users").status == 403


def test_who_is_deleted_is_out(charlies: Browser, charlie: Person) -> None:
    actions.delete_user(ADMIN, user_of(charlie))
    assert charlies.get("/api/v2.0/users/current").status == 401
    assert charlies.get("/api/v2.0/projects").status == 200


def test_a_new_password_ends_all_sessions(charlies: Browser, charlie: Person) -> None:
    actions.change_password(ADMIN, user_of(charlie), NEW_PASSWORD)
    assert charlies.who() is None


def test_a_new_password_of_ones_own_ends_the_other_sessions(charlies: Browser, charlie: Person) -> None:
    other = Browser()
    other.sign_in("charlie", PASSWORD)
    body = {"old_password": PASSWORD, "new_password": NEW_PASSWORD}
    assert charlies.send("PUT", f"/api/v2.0/users/{user_of(charlie).pk}/password", body).status == 200
    assert (charlies.who(), other.who()) == ("charlie", None)


def test_good_basic_counts_more_and_bad_basic_less(charlies: Browser) -> None:
    dora = make_person("dora")
    path = "/api/v2.0/users/current"
    assert charlies.get(path, authorization=dora.basic).body["username"] == "dora"
    for bad in (Person("dora", "Wrong-1234").basic, "Basic ???", "Bearer x"):
        assert charlies.get(path, authorization=bad).body["username"] == "charlie"


def test_the_token_service_knows_the_session(charlies: Browser, charlie: Person) -> None:
    charlies.send("POST", "/api/v2.0/projects", {"project_name": "hers"})
    reply = charlies.get("/service/token?service=harbor-registry&scope=repository:hers/x:pull")
    claims = base64.urlsafe_b64decode(reply.body["token"].split(".")[1] + "==")
    assert b'"sub":"charlie"' in claims
    assert b'"push"' in claims


# -- how long


def age(browser: Browser, minutes: float) -> None:
    row = BrowserSession.objects.filter(token_hash=sessions._hash(browser.sid))
    assert row.update(renewed_at=timezone.now() - datetime.timedelta(minutes=minutes)) == 1


def test_a_session_ends_unless_it_is_used(charlies: Browser) -> None:
    age(charlies, 59)
    assert charlies.who() == "charlie"
    age(charlies, 59)  # and not 118: it was renewed
    assert charlies.who() == "charlie"
    age(charlies, 61)
    assert charlies.who() is None


def test_polling_does_not_renew(charlies: Browser) -> None:
    age(charlies, 59)
    before = BrowserSession.objects.get().renewed_at
    assert charlies.get("/api/v2.0/users/current", X_Harbor_No_Session_Renewal="1").status == 200
    assert BrowserSession.objects.get().renewed_at == before
    assert charlies.get("/api/v2.0/users/current").status == 200
    assert BrowserSession.objects.get().renewed_at > before


@pytest.mark.parametrize(("timeout", "lives"), [(1, False), (9_999_999_999, True)])
def test_the_setting_holds_for_sessions_that_run(charlies: Browser, timeout: int, lives: bool) -> None:
    configuration.set_values({"session_timeout": timeout})
    age(charlies, 2)
    assert (charlies.who() == "charlie") is lives


def test_rows_of_old_sessions_go(charlies: Browser) -> None:
    other = Browser()
    other.sign_in("charlie", PASSWORD)
    age(charlies, 61)
    assert sessions.end_old() == 1
    assert BrowserSession.objects.count() == 1
    assert other.who() == "charlie"


# -- cookies


def test_the_first_answer_brings_a_session_the_second_a_token() -> None:
    client = Client()
    first = client.get("/api/v2.0/systeminfo")
    assert sorted(first.cookies) == ["sid"]
    assert first.cookies["sid"].OutputString().split("; ", 1)[1] == "HttpOnly; Path=/"
    assert "X-Harbor-CSRF-Token" not in first.headers
    second = client.get("/api/v2.0/systeminfo")
    assert sorted(second.cookies) == ["_gorilla_csrf"]
    attributes = second.cookies["_gorilla_csrf"]
    assert (attributes["path"], attributes["httponly"], attributes["samesite"], attributes["secure"]) == (
        "/", True, "Strict", "",
    )  # fmt: skip
    assert len(base64.b64decode(second.headers["X-Harbor-CSRF-Token"])) == 64
    third = client.get("/api/v2.0/systeminfo")
    assert not third.cookies
    assert third.headers["X-Harbor-CSRF-Token"] != second.headers["X-Harbor-CSRF-Token"]
    assert not BrowserSession.objects.exists()


def test_over_tls_cookies_stay_there() -> None:
    secure = {"breakwater.base_url": "https://registry.example.com"}
    answer = Client().get("/c/log_out", **secure)  # type: ignore[arg-type]
    assert all(answer.cookies[name]["secure"] for name in ("sid", "_gorilla_csrf"))


def test_a_session_that_is_not_ours_is_replaced(admin: Api) -> None:
    reply = admin.get("/users/current", headers={"Cookie": "sid=0123456789abcdef0123456789abcdef"})
    assert reply.status == 200
    assert reply.headers["X-Harbor-CSRF-Token"]


@pytest.mark.parametrize("path", ["/c/login", "/api/v2.0/projects?x=%zz", "/api/v2.0/projects?x;y"])
def test_refusals_before_the_session_bring_none(path: str) -> None:
    answer = Client().post(path, REQUEST_URI=path)
    assert answer.status_code in (400, 403)
    assert "sid" not in answer.cookies


def test_metrics_are_without_cookies() -> None:
    answer = Client().get("/metrics", REQUEST_URI="/metrics")
    assert not answer.cookies
    assert "X-Harbor-CSRF-Token" not in answer.headers


# -- forged requests


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/c/login"),
        ("POST", "/c/userExists"),
        ("PUT", "/c/nothing"),
        ("POST", "/elsewhere"),
        ("POST", "/api/v2.0/projects"),
        ("DELETE", "/api/v2.0/projects/library"),
        ("POST", "/api/v2.0/nothing"),
    ],
)
def test_unsafe_requests_need_the_token(charlies: Browser, method: str, path: str) -> None:
    for token, text in (("", "CSRF token not found in request"), ("nonsense", "CSRF token invalid"),
                        (base64.b64encode(b"x" * 64).decode(), "CSRF token invalid")):  # fmt: skip
        reply = charlies.request(method, path, token=token)
        assert (reply.status, reply.code, reply.message) == (403, "FORBIDDEN", text)
        assert reply.headers["X-Harbor-CSRF-Token"]
    assert Project.objects.filter(namespace__name="library").exists()


def test_basic_beside_a_session_is_no_way_around_it(charlies: Browser) -> None:
    admin = Person("admin", ADMIN_PASSWORD).basic
    body = {"project_name": "forged"}
    assert charlies.send("POST", "/api/v2.0/projects", body, token="", authorization=admin).status == 403
    assert charlies.send("POST", "/api/v2.0/projects", body, authorization=admin).status == 201


def test_an_unknown_session_asks_for_the_token_too(admin: Api) -> None:
    reply = admin.post("/projects", {"project_name": "p"}, headers={"Cookie": "sid=0123456789abcdef"})
    assert (reply.status, reply.message) == (403, "CSRF token not found in request")


def test_without_a_session_the_apis_ask_for_none(admin: Api) -> None:
    reply = admin.post("/projects", {"project_name": "p"}, headers={"Cookie": "other=1"})
    assert reply.status == 201
    assert "X-Harbor-CSRF-Token" not in reply.headers


def test_the_token_of_another_browser_is_none(charlies: Browser) -> None:
    reply = charlies.send("POST", "/api/v2.0/projects", {"project_name": "p"}, token=Browser().token)
    assert (reply.status, reply.message) == (403, "CSRF token invalid")


@pytest.mark.parametrize("cookie", ["", "x", "A" * 64, base64.urlsafe_b64encode(b"\0" * 48).decode(), "ä"])
def test_a_made_up_secret_is_replaced(charlies: Browser, cookie: str) -> None:
    charlies.client.cookies["_gorilla_csrf"] = cookie
    token = base64.b64encode(bytes(64)).decode()  # would fit a secret of zeros
    assert charlies.send("POST", "/api/v2.0/projects", {"project_name": "p"}, token=token).status == 403
    assert charlies.set_cookies == ["_gorilla_csrf"]
    assert charlies.send("POST", "/api/v2.0/projects", {"project_name": "p"}).status == 201


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_another_site_is_refused_by_what_the_browser_says(charlies: Browser, site: str) -> None:
    body = {"project_name": "p"}
    refused = charlies.send("POST", "/api/v2.0/projects", body, Sec_Fetch_Site=site)
    assert (refused.status, refused.code) == (403, "FORBIDDEN")
    assert charlies.send("POST", "/api/v2.0/projects", body, Sec_Fetch_Site="same-origin").status == 201


def test_an_old_token_goes_on_after_signing_out(charlies: Browser) -> None:
    charlies.get("/c/log_out")
    assert charlies.sign_in("charlie", PASSWORD).status == 200


# -- guessing


def test_a_failure_refuses_that_name_from_there_for_a_moment(charlie: Person) -> None:
    guesser = Browser("192.0.2.66")
    assert guesser.sign_in("charlie", "Wrong-1234").status == 401
    assert guesser.sign_in("charlie", PASSWORD).status == 401
    assert Browser("198.51.100.7").sign_in("charlie", PASSWORD).status == 200


def test_an_unknown_name_costs_what_a_known_one_does(charlie: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed = []
    verify = local._hasher.verify

    def counted(secret: str, encoded: str) -> bool:
        hashed.append(encoded)
        return bool(verify(secret, encoded))

    monkeypatch.setattr(local._hasher, "verify", counted)
    replies = [Browser(f"192.0.2.{i}").sign_in(name, "Wrong-1234") for i, name in enumerate(("charlie", "nobody"))]
    known, unknown = ((r.status, r.content, sorted(set(r.headers) - {"X-Request-Id"})) for r in replies)
    assert known == unknown
    assert len(hashed) == 2


def test_signing_in_and_out_is_in_the_audit_log(charlie: Person) -> None:
    browser = Browser()
    browser.sign_in("charlie", "Wrong-1234")
    browser.sign_in("charlie", PASSWORD)  # refused without a look: no row of its own
    lockout._table()[:] = bytes(len(lockout._table()))
    browser.sign_in("charlie", PASSWORD)
    browser.get("/c/log_out")
    browser.get("/c/log_out")
    rows = AuditLog.objects.filter(username="charlie", resource_type="user").order_by("occurred_at", "succeeded")
    assert [(r.operation, r.description, r.resource, r.succeeded) for r in rows] == [
        ("login", "login", "charlie", False), ("login", "login", "charlie", True),
        ("logout", "logout", "charlie", True),
    ]  # fmt: skip
    assert {r.address for r in rows} == {"192.0.2.77"}


# -- registration


def new(name: str, **changes: object) -> dict[str, object]:
    return {"username": name, "email": f"{name}@example.org", "realname": name, "password": PASSWORD} | changes


def test_off_nobody_registers(anonymous: Api) -> None:
    assert Browser().send("POST", "/api/v2.0/users", new("dora")).status == 401
    assert anonymous.post("/users", new("dora")).status == 401


def test_on_people_register_in_the_browser(charlie: Person, admin: Api, anonymous: Api, as_: As) -> None:
    configuration.set_values({"self_registration": True})
    browser = Browser()
    assert browser.send("POST", "/api/v2.0/users", new("dora"), token="").status == 403
    reply = browser.send("POST", "/api/v2.0/users", new("dora", sysadmin_flag=True))
    assert (reply.status, reply.headers["Location"]) == (201, f"/api/v2.0/users/{reply.id}")
    assert User.objects.get(username="dora").sysadmin_flag is False
    assert browser.send("POST", "/api/v2.0/users", new("dora")).status == 409
    assert browser.send("POST", "/api/v2.0/users", new("emil", password="weak")).status == 400
    assert browser.sign_in("dora", PASSWORD).status == 200
    assert browser.send("POST", "/api/v2.0/users", new("emil")).status == 201
    for caller in (anonymous, as_(charlie)):
        refused = caller.post("/users", new("frida"))
        assert (refused.status, refused.message) == (403, "self-registration cannot be triggered via API")
    assert admin.post("/users", new("frida")).status == 201


def exists(browser: Browser, target: str, value: str) -> object:
    reply = browser.form("/c/userExists", target=target, value=value)
    if reply.status == 412:
        assert reply.headers["Content-Type"] == "text/plain; charset=utf-8"
        return reply.content.decode()
    assert reply.status == 200
    return reply.body


OFF = "self registration deactivated, only sysadmin can check user existence"


def test_who_exists_is_told_to_administrators(charlies: Browser) -> None:
    for browser in (Browser(), charlies):
        for target, value in (("username", "charlie"), ("email", "charlie@example.org"), ("username", "nobody")):
            assert exists(browser, target, value) == OFF
    boss = Browser()
    make_person("boss", sysadmin=True)
    boss.sign_in("boss", PASSWORD)
    cases = {("username", "charlie"): True, ("email", "charlie@example.org"): True, ("username", "nobody"): False,
             ("username", "admin"): False, ("username", "CHARLIE"): False, ("colour", "red"): True,
             ("username", "char\0lie"): True}  # fmt: skip
    assert {case: exists(boss, *case) for case in cases} == cases
    assert boss.request("POST", "/c/userExists").body is True


def test_who_exists_is_told_to_who_may_register(charlie: Person) -> None:
    configuration.set_values({"self_registration": True})
    assert exists(Browser(), "username", "charlie") is True
    assert exists(Browser(), "username", "nobody") is False


def test_in_read_only_mode_people_sign_in(charlie: Person) -> None:
    configuration.set_values({"read_only": True})
    browser = Browser()
    assert browser.sign_in("charlie", PASSWORD).status == 200
    assert browser.who() == "charlie"
    assert exists(browser, "username", "x") == OFF
    assert browser.send("POST", "/api/v2.0/projects", {"project_name": "p"}).code == "DENIED"
    assert browser.request("POST", "/c/nothing").code == "DENIED"
    assert browser.get("/c/log_out").status == 200
