"""tags/list (distribution-spec "Listing Tags"; contract 3.2)."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest

from tests.server import Repository, Server, assert_refused

# In byte order: digits, capitals, underscore, small letters; a dot or dash comes before all of them.
TAGS = ["0", "1.0", "10", "2", "A", "Z", "_", "a", "a-", "a.b", "a0", "aZ", "a_", "aa", "v1", "v10", "v2"]


@pytest.fixture
def tagged(repository: Repository) -> Repository:
    image = repository.push_image()
    for start in range(0, len(TAGS), 16):
        chunk = TAGS[::-1][start : start + 16]
        assert repository.put_manifest(image.payload, image.digest, params={"tag": chunk}).status_code == 201
    return repository


def test_all_in_byte_order(tagged: Repository) -> None:
    assert sorted(TAGS, key=str.encode) == TAGS
    answer = tagged.get("tags/list")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("application/json")
    assert answer.json() == {"name": tagged.name, "tags": TAGS}
    assert "Link" not in answer.headers


def test_head_has_no_body(tagged: Repository) -> None:
    answer = tagged.head("tags/list")
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["Content-Length"] == str(len(tagged.get("tags/list").content))


@pytest.mark.parametrize("n", [1, 2, 5, 16, 17, 18])
def test_a_walk_meets_every_tag_once(tagged: Repository, n: int) -> None:
    seen: list[str] = []
    answer = tagged.get("tags/list", params={"n": n})
    while True:
        page = answer.json()["tags"]
        assert len(page) <= n
        seen += page
        if "next" not in answer.links:
            break
        assert len(page) == n
        link = urlsplit(answer.links["next"]["url"])
        assert link.path == f"/v2/{tagged.name}/tags/list"
        assert parse_qs(link.query) == {"n": [str(n)], "last": [page[-1]]}
        answer = tagged.client.get(answer.links["next"]["url"].removeprefix("/v2"))
    assert seen == TAGS


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        ("", TAGS),
        ("v1", ["v10", "v2"]),
        ("v15", ["v2"]),
        ("v2", []),
        ("zzz", []),
        ("\u00e9", []),
        ("\0", TAGS),
        ("A/..", TAGS[5:]),
    ],
)
def test_last_need_not_exist(tagged: Repository, last: str, expected: list[str]) -> None:
    assert tagged.get("tags/list", params={"last": last}).json()["tags"] == expected


def test_n_0_is_an_empty_page(tagged: Repository) -> None:
    answer = tagged.get("tags/list", params={"n": 0})
    assert (answer.status_code, answer.json()["tags"]) == (200, [])
    assert "Link" not in answer.headers


@pytest.mark.parametrize("n", ["17", "10000", "10001", "999999999999999999"])
def test_n_may_be_more_than_there_are(tagged: Repository, n: str) -> None:
    answer = tagged.get("tags/list", params={"n": n})
    assert answer.json()["tags"] == TAGS
    assert "Link" not in answer.headers


@pytest.mark.parametrize("n", ["-1", "x", "1.5", "1e3", " 1", "+1", "0x10", "\u0661", "9" * 100])
def test_n_is_a_whole_number(tagged: Repository, n: str) -> None:
    error = assert_refused(tagged.get("tags/list", params={"n": n}), 400, "BAD_REQUEST", n=n[:40])
    assert "10000" in error["detail"]["form"]


def test_a_page_holds_10000_at_most(server: Server, repository: Repository) -> None:
    repository.push_image("seed")
    server.rows(
        "INSERT INTO registry_core_tag (repository_id, name, artifact_id, pushed_at) SELECT t.repository_id, "
        "'t' || lpad(n::text, 6, '0'), t.artifact_id, now() FROM registry_core_tag t "
        "JOIN registry_core_repository r ON r.id = t.repository_id, generate_series(1, 10050) AS n WHERE r.path = %s",
        repository.name.partition("/")[2],
    )
    for params in ({}, {"n": 20000}):
        answer = repository.get("tags/list", params=params)
        assert len(answer.json()["tags"]) == 10000
        rest = repository.client.get(answer.links["next"]["url"].removeprefix("/v2"))
        assert len(rest.json()["tags"]) == 51
        assert "next" not in rest.links
    assert repository.delete("manifests/seed").status_code == 202


def test_a_repository_without_tags_has_an_empty_list(repository: Repository) -> None:
    repository.push_image()
    assert repository.get("tags/list").json() == {"name": repository.name, "tags": []}


@pytest.mark.parametrize("begun", [False, True])
def test_an_unknown_repository(repository: Repository, begun: bool) -> None:
    """One to which a blob was uploaded and nothing else is none yet."""
    if begun:
        repository.push_blob(b"x")
    answer = repository.get("tags/list")
    assert_refused(answer, 404, "NAME_UNKNOWN", repository=repository.name)
