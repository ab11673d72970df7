"""What a path may be: routes, methods, names at and over their limits, nothing that reads in two ways (design 8.3)."""

from __future__ import annotations

import base64
import json
import re
import time
from typing import Any

import httpx
import pytest

from tests.content import absent_digest, digest_of
from tests.server import ADMIN, Pair, Repository, Server, assert_refused

HEX = "0" * 64


def authorization(pair: Pair) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(":".join(pair).encode()).decode()}


def raw(server: Server, pair: Pair | None, method: str, target: str) -> tuple[int, dict[str, Any]]:
    answer = server.exchange(method, target, authorization(pair) if pair else {})
    assert answer.headers["Docker-Distribution-Api-Version"] == "registry/2.0"
    return answer.status, json.loads(answer.content or b"{}")  # type: ignore[attr-defined]


ODD = {
    "escaped slash": "/v2/{project}%2fapp/manifests/latest",
    "escaped slash, upper case": "/v2/{project}/a%2Fb/manifests/latest",
    "escaped letter": "/v2/{project}/%61pp/manifests/latest",
    "escaped dots": "/v2/{project}/%2e%2e/{project}/app/manifests/latest",
    "doubly escaped": "/v2/{project}/a%252fb/manifests/latest",
    "escaped in the reference": "/v2/{project}/app/manifests/lat%65st",
    "escaped in the digest": "/v2/{project}/app/blobs/sha256%3A" + HEX,
    "two slashes": "/v2/{project}//app/manifests/latest",
    "two slashes in front": "/v2//{project}/app/manifests/latest",
    "dot": "/v2/{project}/./app/manifests/latest",
    "dots": "/v2/{project}/x/../app/manifests/latest",
    "dots at the end": "/v2/{project}/app/manifests/..",
    "dots in front": "/v2/../v2/{project}/app/manifests/latest",
    "semicolon": "/v2/{project}/app;x=1/manifests/latest",
    "backslash": "/v2/{project}\\app/manifests/latest",
    "upper case": "/v2/{project}/App/manifests/latest",
    "upper case project": "/v2/Library/app/manifests/latest",
    "no project": "/v2/app/manifests/latest",
    "leading dash": "/v2/{project}/-app/manifests/latest",
    "three underscores": "/v2/{project}/a___b/manifests/latest",
    "trailing dot": "/v2/{project}/app./manifests/latest",
    "at sign": "/v2/{project}/app@x/manifests/latest",
    "star": "/v2/{project}/*/manifests/latest",
}


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("who", ["robot", "nobody"])
def test_an_odd_path_is_refused_before_anybody_is_asked_for(
    server: Server, project: str, robot: Pair, odd: str, who: str
) -> None:
    target = ODD[odd].format(project=project)
    status, body = raw(server, robot if who == "robot" else None, "GET", target)
    assert status == 400
    (error,) = body["errors"]
    assert error["code"] == "NAME_INVALID"
    assert error["message"]
    assert error["detail"]


@pytest.mark.parametrize(
    "target",
    ["/v2/{name}", "/v2/{name}/", "/v2/{name}/manifests", "/v2/{name}/manifests/", "/v2/{name}/tags",
     "/v2/{name}/tags/", "/v2/{name}/blobs/", "/v2/{name}/referrers", "/v2/{name}/tags/list/more",
     "/v2/_catalog/more", "/v2/manifests/latest"],
)  # fmt: skip
def test_what_is_no_route_is_said_so(server: Server, robot: Pair, name: str, target: str) -> None:
    target = target.format(name=name)
    status, body = raw(server, robot, "GET", target)
    assert (status, body["errors"][0]["code"]) == (404, "NOT_FOUND")
    assert body["errors"][0]["message"] == f"un-recognized request: GET {target}"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "manifests/latest", "DELETE, GET, HEAD, PUT"),
        ("PATCH", "manifests/latest", "DELETE, GET, HEAD, PUT"),
        ("PUT", f"blobs/sha256:{HEX}", "DELETE, GET, HEAD"),
        ("GET", "blobs/uploads/", "POST"),
        ("POST", "blobs/uploads/00000000-0000-0000-0000-000000000000", "DELETE, GET, PATCH, PUT"),
        ("POST", "tags/list", "GET, HEAD"),
        ("DELETE", f"referrers/sha256:{HEX}", "GET, HEAD"),
        ("OPTIONS", "manifests/latest", "DELETE, GET, HEAD, PUT"),
        ("BREW", "manifests/latest", "DELETE, GET, HEAD, PUT"),
    ],
)
def test_another_method_is_told_which_there_are(
    repository: Repository, method: str, path: str, allowed: str
) -> None:
    answer = repository.request(method, path)
    assert_refused(answer, 405, "UNSUPPORTED", allowed=allowed.split(", "))
    assert answer.headers["Allow"] == allowed


@pytest.mark.parametrize(("path", "allowed"), [("/", "GET, HEAD"), ("/_catalog", "GET")])
def test_the_version_check_and_the_catalogue_are_read_only(
    client: httpx.Client, path: str, allowed: str
) -> None:
    answer = client.post(path)
    assert_refused(answer, 405, "UNSUPPORTED")
    assert answer.headers["Allow"] == allowed


# -- limits of names


def test_a_name_of_255_characters_works_and_one_more_is_refused(
    server: Server, robot: Pair, project: str
) -> None:
    longest = f"{project}/".ljust(200, "a") + "/" + "b" * 54
    assert len(longest) == 255
    repository = server.repository(longest, robot)
    repository.assert_holds(repository.push_image("latest"), "latest")
    answer = server.repository(longest + "b", robot).get("manifests/latest")
    assert_refused(answer, 400, "NAME_INVALID", {"limit": 255, "length": 256})


def test_a_tag_of_128_characters_works_and_one_more_is_refused(repository: Repository) -> None:
    longest = "v" * 128
    image = repository.push_image(longest)
    repository.assert_holds(image, longest)
    assert_refused(
        repository.put_manifest(image.payload, longest + "v"), 400, "BAD_REQUEST", tag=longest + "v"
    )
    assert_refused(repository.get(f"manifests/{longest}v"), 404, "MANIFEST_UNKNOWN")
    assert repository.get("tags/list").json()["tags"] == [longest]


@pytest.mark.parametrize("tag", [".hidden", "-dash", "a:b", "a@b", "a+b", "~"])
def test_a_bad_tag_is_refused_when_pushed_and_absent_when_pulled(repository: Repository, tag: str) -> None:
    image = repository.push_image("latest")
    answer = repository.put_manifest(image.payload, tag)
    # What has a digest's form is taken for one.
    code = "DIGEST_INVALID" if ":" in tag else "BAD_REQUEST"
    assert assert_refused(answer, 400, code)["message"]
    for method in ("GET", "DELETE"):
        assert_refused(repository.request(method, f"manifests/{tag}"), 404, "MANIFEST_UNKNOWN")


@pytest.mark.parametrize(
    "digest", [f"sha256:{HEX[1:]}", f"sha256:{HEX}0", "md5:" + "0" * 32, f"sha256:{HEX[1:]}G"]
)
def test_a_bad_digest_is_no_reference(repository: Repository, digest: str) -> None:
    image = repository.push_image("latest")
    assert_refused(repository.get(f"manifests/{digest}"), 404, "MANIFEST_UNKNOWN")
    assert_refused(repository.put_manifest(image.payload, digest), 400, "DIGEST_INVALID")
    assert_refused(repository.get(f"blobs/{digest}"), 400, "DIGEST_INVALID")
    assert_refused(repository.delete(f"blobs/{digest}"), 400, "DIGEST_INVALID")
    assert_refused(repository.get(f"referrers/{digest}"), 400, "DIGEST_INVALID")


def test_words_of_the_api_may_be_in_names(server: Server, robot: Pair, project: str) -> None:
    for path in ("manifests", "blobs/uploads", "tags/list", "referrers", "v2", "a/manifests/b"):
        repository = server.repository(f"{project}/{path}", robot)
        image = repository.push_image("list")
        repository.assert_holds(image, "list")
        assert repository.get("tags/list").json() == {"name": repository.name, "tags": ["list"]}


# -- what every answer carries


@pytest.mark.parametrize(
    "path", ["manifests/latest", f"blobs/{absent_digest()}", "tags/list"], ids=["manifest", "blob", "tags"]
)
def test_a_head_that_is_refused_has_no_body(repository: Repository, path: str) -> None:
    answer = repository.head(path)
    assert (answer.status_code, answer.content) == (404, b"")
    assert answer.headers["Docker-Distribution-Api-Version"] == "registry/2.0"


def test_a_request_id_is_given_back(repository: Repository) -> None:
    image = repository.push_image("latest")
    for path in ("manifests/latest", "manifests/absent", f"blobs/{digest_of(image.layers[0])}", "tags/list"):
        answer = repository.get(path, headers={"X-Request-Id": "trace-7/a b"})
        assert answer.headers["X-Request-Id"] == "trace-7/a b"


UUID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@pytest.mark.parametrize("given", [b"", b"a\tb", b"\xc3\xa9", b"x" * 129])
def test_a_request_id_that_is_no_plain_line_is_replaced(repository: Repository, given: bytes) -> None:
    answer = repository.get("manifests/latest", headers={b"X-Request-Id": given})
    assert UUID.fullmatch(answer.headers["X-Request-Id"])


def test_a_request_without_an_id_gets_one_of_its_own(repository: Repository) -> None:
    first, second = (repository.get("tags/list").headers["X-Request-Id"] for _ in range(2))
    assert UUID.fullmatch(first)
    assert first != second


@pytest.mark.parametrize(
    "target",
    ["manifests/a\r\nX-Evil: 1", "blobs/uploads/?digest=%0d%0aX-Evil:%201", "tags/list?n=1&last=%0d%0aX-Evil:%201",
     "blobs/uploads/?mount=%0d%0aX-Evil:1&from=%0d%0aX-Evil:1", "referrers/x?artifactType=%0d%0aX-Evil:%201"],
)  # fmt: skip
def test_no_header_can_be_smuggled_into_an_answer(
    server: Server, robot: Pair, name: str, target: str
) -> None:
    method = "POST" if "uploads" in target else "GET"
    with server.unfinished(method, f"/v2/{name}/{target}", robot, b"", Content_Length="0") as connection:
        head = connection.recv(65536).partition(b"\r\n\r\n")[0].lower()
    assert head.startswith(b"http/1.1 ")
    assert b"\r\nx-evil" not in head


def test_more_parameters_than_anybody_needs_are_refused(repository: Repository) -> None:
    answer = repository.get("tags/list?" + "&".join("n=1" for _ in range(65)))
    assert_refused(answer, 400, "BAD_REQUEST", limit=64)


def read_metrics(server: Server, until: str, seconds: float = 5) -> str:
    """The page, once it shows what was counted: a process writes its numbers down every second."""
    end = time.monotonic() + seconds
    while until not in (page := httpx.get(f"{server.url}/metrics", auth=ADMIN).text) and time.monotonic() < end:
        time.sleep(0.1)
    assert until in page
    return page


def test_a_method_that_anybody_makes_up_is_no_new_number(server: Server, repository: Repository) -> None:
    """Operations are Harbor's words for routes (contract 6.10), for refusals too."""
    repository.request("BREW", "manifests/latest")
    repository.get("manifests/absent")
    read_metrics(server, 'code="405",method="OTHER",operation="v2_manifest"')
    page = read_metrics(server, 'code="404",method="GET",operation="v2_manifest"')
    assert "BREW" not in page


def test_every_request_is_counted_and_timed_once(server: Server, repository: Repository) -> None:
    """A counter, and a histogram whose buckets add up (Prometheus exposition: the last bucket is the count)."""
    labels = 'method="OPTIONS",operation="v2_referrers"'
    for _ in range(7):
        assert repository.request("OPTIONS", f"referrers/sha256:{'0' * 64}").status_code == 405
    name = "harbor_core_http_request"
    page = read_metrics(server, f'{name}_total{{code="405",{labels}}} 7.0')
    assert f"{name}_duration_seconds_count{{{labels}}} 7.0" in page
    assert f'{name}_duration_seconds_bucket{{le="+Inf",{labels}}} 7.0' in page
    total = re.search(rf"{name}_duration_seconds_sum{{{re.escape(labels)}}} (\S+)", page)
    assert total is not None
    assert 0 < float(total[1]) < 7 * 5
