"""Paths, methods, query strings and request ids (contract 1.1, 1.3; golden: routes_unknown)."""

from __future__ import annotations

import re

import pytest
from django.db import DataError, IntegrityError, OperationalError

from api import contract, dispatch
from api.urls import OPERATIONS
from tests.api.conftest import Api, Reply

ON_PROJECTS = {"GET", "HEAD", "POST"}
pytestmark = pytest.mark.django_db


def error(reply: Reply) -> tuple[int, str, str]:
    assert reply.headers["Content-Type"] == "application/json; charset=utf-8"
    assert reply.content.endswith(b"\n")
    assert "Allow" not in reply.headers
    return reply.status, reply.code, reply.message


@pytest.mark.parametrize(
    "path", ["/nothing", "/projects/1/nothing", "", "/", "/Health", "/he%61lth", "/health/x", "/../v2/"]
)
def test_unknown_paths_before_authentication(anonymous: Api, admin: Api, path: str) -> None:
    for caller in (anonymous, admin):
        assert error(caller.get(path)) == (404, "NOT_FOUND", f"path /api/v2.0{path} was not found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("DELETE", "/projects", ON_PROJECTS), ("POST", "/health", {"GET"}), ("OPTIONS", "/projects", ON_PROJECTS),
     ("TRACE", "/projects", ON_PROJECTS), ("BREW", "/projects", ON_PROJECTS), ("PATCH", "/users", {"GET", "POST"}),
     ("DELETE", "/users", {"GET", "POST"}), ("POST", "/quotas", {"GET"})],
)  # fmt: skip
def test_wrong_methods_before_authentication(
    anonymous: Api, method: str, path: str, allowed: set[str]
) -> None:
    status, code, message = error(anonymous.request(method, path))
    assert (status, code) == (405, "METHOD_NOT_ALLOWED")
    found = re.fullmatch(rf"method {method} is not allowed, but \[(.*)\] are", message)
    assert found is not None
    assert set(found[1].split(",")) == allowed


@pytest.mark.parametrize("path", ["/ping", "/users/current", "/repositories"])
def test_head_is_a_method_like_others(anonymous: Api, path: str) -> None:
    reply = anonymous.head(path)
    assert (reply.status, reply.content) == (405, b"")


@pytest.mark.parametrize("path", ["/ping/", "//ping", "/./ping", "/ping/.", "///./ping//"])
def test_slashes_and_dots_that_do_not_count(anonymous: Api, path: str) -> None:
    assert anonymous.get(path).content == b"Pong"
    assert anonymous.request("GET", path, prefix="//api//v2.0").content == b"Pong"


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("x=%zz", 'invalid URL escape "%zz"'),
        ("x=%", 'invalid URL escape "%"'),
        ("a=1;b=2", "invalid semicolon separator in query"),
    ],
)
def test_a_query_that_does_not_parse(anonymous: Api, query: str, message: str) -> None:
    for path in ("/ping", "/nothing"):
        assert error(anonymous.get(f"{path}?{query}")) == (400, "BAD_REQUEST", message)


def test_a_path_that_does_not_parse(anonymous: Api) -> None:
    assert error(anonymous.get("/projects/%zz"))[:2] == (400, "BAD_REQUEST")


def test_unknown_query_parameters_are_ignored(anonymous: Api) -> None:
    assert anonymous.get("/ping?colour=red").status == 200


@pytest.mark.parametrize(
    "path",
    [
        "/api/nothing",
        "/api/projects",
        "/api/v2.1/projects",
        "/c/nothing",
        "/service/nothing",
        "/nothing",
        "/api",
    ],
)
def test_elsewhere_is_a_page(anonymous: Api, path: str) -> None:
    reply = anonymous.request("GET", path, prefix="")
    assert (reply.status, reply.headers["Content-Type"]) == (404, "text/html; charset=utf-8")
    assert b"<h1>404</h1>" in reply.content


def test_the_version_of_the_api(anonymous: Api) -> None:
    reply = anonymous.request("GET", "/api/version", prefix="")
    assert (reply.status, reply.headers["Content-Type"]) == (200, "text/plain; charset=utf-8")
    assert reply.body == {"version": "v2.0"}
    assert anonymous.request("POST", "/api/version", prefix="").status == 404


@pytest.mark.parametrize("given", ["my-request-4711", "a b<c>"])
def test_a_request_id_comes_back(anonymous: Api, given: str) -> None:
    for path in ("/ping", "/nothing", "/ping?x=%zz"):
        assert anonymous.get(path, {"X-Request-Id": given}).headers["X-Request-Id"] == given


@pytest.mark.parametrize("given", ["", "x" * 256, "a\tb"])
def test_a_request_without_id_gets_one(anonymous: Api, given: str) -> None:
    shown = anonymous.get("/ping", {"X-Request-Id": given}).headers["X-Request-Id"]
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", shown)


def test_validation_comes_before_authentication(anonymous: Api) -> None:
    reply = anonymous.get("/users?page_size=101")
    assert error(reply)[:2] == (422, "UNPROCESSABLE_ENTITY")
    assert reply.headers["Www-Authenticate"] == 'Basic realm="API"'
    wrong = Api("Basic bm9ib2R5Ondyb25n").get("/users?page_size=101")
    assert wrong.status == 422
    assert "Www-Authenticate" not in wrong.headers


def test_refusals_carry_no_challenge(anonymous: Api) -> None:
    reply = anonymous.get("/users")
    assert error(reply) == (401, "UNAUTHORIZED", "unauthorized")
    assert "Www-Authenticate" not in reply.headers


def test_bad_credentials_are_no_refusal_by_themselves(anonymous: Api) -> None:
    for authorization in ("Basic bm9ib2R5Ondyb25n", "Basic !!!", "Bearer x.y.z", "nonsense"):
        assert Api(authorization).get("/projects").status == 200
        assert Api(authorization).get("/users/current").status == 401


def test_what_is_not_built_says_so(admin: Api, anonymous: Api) -> None:
    for caller in (admin, anonymous):
        reply = caller.get("/scanners")
        assert error(reply) == (404, "NOT_FOUND", "listScanners is not built yet")
        assert reply.body["errors"][0]["detail"] == {"operation": "listScanners", "tag": "scanner"}


def test_the_list_of_operations_knows_no_others_than_the_contract() -> None:
    assert set(OPERATIONS) <= {operation.id for operation in contract.operations()}


def test_a_body_over_the_limit(admin: Api) -> None:
    reply = admin.request("POST", "/projects", raw=b'{"project_name":"' + b"x" * (8 << 20) + b'"}')
    assert error(reply)[:2] == (413, "REQUEST_ENTITY_TOO_LARGE")


def test_an_unforeseen_error_is_masked(
    admin: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def break_down() -> None:
        raise RuntimeError("the password is hunter2")

    monkeypatch.setattr("api.systeminfo.driver", break_down)
    assert error(admin.get("/systeminfo")) == (500, "UNKNOWN", "internal server error")
    assert "hunter2" in caplog.text


@pytest.mark.parametrize(
    ("error_type", "status", "code"),
    [(OperationalError, 503, "UNKNOWN"), (IntegrityError, 409, "CONFLICT"), (DataError, 400, "BAD_REQUEST")],
)
def test_what_the_database_says(
    admin: Api, monkeypatch: pytest.MonkeyPatch, error_type: type[Exception], status: int, code: str
) -> None:
    def fail() -> None:
        raise error_type("secret host db1")

    monkeypatch.setattr("api.systeminfo.driver", fail)
    reply = admin.get("/systeminfo")
    assert (reply.status, reply.code) == (status, code)
    assert "db1" not in reply.message
    assert ("Retry-After" in reply.headers) is (status == 503)


def test_a_list_without_pages_has_a_limit(admin: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "MAX_UNPAGED", 0)
    assert admin.get("/projects?page_size=100").status == 200
    for size in (0, -1):
        reply = admin.get(f"/projects?page_size={size}")
        assert (reply.status, reply.message) == (
            400,
            "a list of 1 is shown in pages only: give page_size (1 to 100)",
        )


def test_link_headers_cannot_be_split(admin: Api) -> None:
    reply = admin.get("/projects?page_size=-1&x=a%0d%0aSet-Cookie:%20a=b%00&y=%E4%B8%AD")
    assert reply.status == 200
    assert not set("\r\n\0") & set(reply.headers["Link"])
    assert reply.headers["Link"].encode("latin-1").decode() == (
        '</api/v2.0/projects?page=2&page_size=-1&x=a  Set-Cookie: a=b &y=中>; rel="next"'
    )
