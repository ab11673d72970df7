"""_catalog (distribution API of docker; contract 3.1, 3.2)."""

from __future__ import annotations

import secrets

import httpx
import pytest

from tests.server import ADMIN, Pair, Server, assert_refused


@pytest.fixture(scope="module")
def admin(server: Server) -> httpx.Client:
    return server.client(ADMIN)


@pytest.fixture(scope="module")
def prefix() -> str:
    return f"c{secrets.token_hex(3)}"


@pytest.fixture(scope="module")
def expected(server: Server, prefix: str) -> list[str]:
    """Names that another order than that of their bytes would mix up: - and . come before /, digits after it."""
    names = []
    for project in (prefix, f"{prefix}-b", f"{prefix}.c", f"{prefix}_d", f"{prefix}0", f"{prefix}a"):
        server.create_project(project)
        robot = server.create_robot(project)
        for path in ("x", "x/y", "x-y", "a"):
            server.repository(f"{project}/{path}", robot).push_image("latest")
            names.append(f"{project}/{path}")
        server.repository(f"{project}/untagged", robot).push_image()
        server.repository(f"{project}/begun", robot).push_blob(b"x")
        emptied = server.repository(f"{project}/emptied", robot)
        image = emptied.push_image("latest")
        assert emptied.delete(f"manifests/{image.digest}").status_code == 202
    return sorted(names, key=str.encode)


def names_of(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    assert list(answer.json()) == ["repositories"]
    return list(answer.json()["repositories"])


def test_it_lists_what_has_a_tag_in_byte_order(admin: httpx.Client, expected: list[str], prefix: str) -> None:
    names = names_of(admin.get("/_catalog"))
    assert names == sorted(names, key=str.encode)
    assert [n for n in names if n.startswith(prefix)] == expected


@pytest.mark.parametrize("n", [1, 5])
def test_a_walk_is_the_whole(admin: httpx.Client, expected: list[str], prefix: str, n: int) -> None:
    answer = admin.get("/_catalog", params={"n": n, "last": prefix})
    seen = names_of(answer)
    while "next" in answer.links and seen[-1].startswith(prefix):
        url = answer.links["next"]["url"]
        assert url.startswith("/v2/_catalog?")
        answer = admin.get(url.removeprefix("/v2"))
        assert len(names_of(answer)) <= n
        seen += names_of(answer)
    assert [name for name in seen if name.startswith(prefix)] == expected


@pytest.mark.parametrize("at", ["", "/", "/a", "/m", "/x", "/x-", "-b/x/y", "/x/y/z", "0", "~"])
def test_last_may_be_any_text(admin: httpx.Client, expected: list[str], prefix: str, at: str) -> None:
    answer = admin.get("/_catalog", params={"last": prefix + at})
    following = [n for n in expected if n.encode() > (prefix + at).encode()]
    assert [n for n in names_of(answer) if n.startswith(prefix)] == following


def test_n_0_is_an_empty_page(admin: httpx.Client, expected: list[str]) -> None:
    answer = admin.get("/_catalog", params={"n": 0})
    assert names_of(answer) == []
    assert "Link" not in answer.headers


@pytest.mark.parametrize("n", ["-1", "x", "1.5"])
def test_n_is_a_whole_number(admin: httpx.Client, n: str) -> None:
    assert_refused(admin.get("/_catalog", params={"n": n}), 400, "BAD_REQUEST", n=n)


def test_the_last_page_has_no_link(admin: httpx.Client, expected: list[str]) -> None:
    names = names_of(admin.get("/_catalog"))
    answer = admin.get("/_catalog", params={"n": 5, "last": names[-6]})
    assert names_of(answer) == names[-5:]
    assert "Link" not in answer.headers


@pytest.mark.parametrize("who", ["nobody", "robot", "unknown"])
def test_it_is_for_system_administrators(server: Server, robot: Pair, who: str) -> None:
    # Not the administrator's name with a wrong password: that locks the name for the tests that follow.
    pair = {"nobody": None, "robot": robot, "unknown": ("somebody", "wrong")}[who]
    answer = server.client(pair).get("/_catalog")
    assert_refused(answer, 401, "UNAUTHORIZED")
    assert answer.headers["Www-Authenticate"] == 'Basic realm="harbor"'


def test_no_token_opens_it(server: Server) -> None:
    answer = server.client(token=server.token(ADMIN, "registry:catalog:*")).get("/_catalog")
    assert_refused(answer, 401, "UNAUTHORIZED")
    assert answer.headers["Www-Authenticate"] == 'Basic realm="harbor"'
