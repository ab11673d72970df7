"""`/service/token` and a light pass over `/api/v2.0`: whatever path, query, header or body comes, no 5xx."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import strategies as st

from tests.fuzz.running import REQUESTS, SEED, fuzz
from tests.fuzz.strategies import (
    BROKEN,
    NUMBERS,
    PIECES,
    REPOSITORIES,
    Draw,
    credentials,
    extra_headers,
    scalars,
)
from tests.fuzz.wire import Line
from tests.fuzz.world import Ask, World
from tests.reporting import Report

_PROJECT = "/projects/<<project>>"
_ARTIFACT = _PROJECT + "/repositories/full/artifacts/<<manifest>>"
_LISTS = ("q", "sort", "page", "page_size", "with_tag", "name")
# Some of each tag of the contract; what is changed or deleted is nobody's.
_OPERATIONS = (
    *[("GET", path) for path in (
        "/health", "/ping", "/systeminfo", "/permissions", "/projects", _PROJECT, _PROJECT + "/summary",
        _PROJECT + "/members",
        _PROJECT + "/metadatas/", _PROJECT + "/repositories", _PROJECT + "/repositories/full",
        _PROJECT + "/repositories/full/artifacts",
        _ARTIFACT, _ARTIFACT + "/tags", _ARTIFACT + "/accessories", _PROJECT + "/artifacts", "/repositories",
        "/usergroups", "/usergroups/search",
        "/robots", "/robots/1", "/users", "/users/current", "/users/search", "/users/1",
        "/users/current/permissions", "/labels", "/labels/1", "/nothing",
    )],
    *[(method, path) for method in ("POST", "PUT", "DELETE", "PATCH", "HEAD") for path in (
        "/projects", "/projects/999999", "/projects/999999/members", "/projects/999999/metadatas/public",
        "/usergroups", "/usergroups/999999",
        "/robots", "/robots/999999", "/users", "/users/999999", "/labels", "/labels/999999",
        "/projects/999999/repositories/a%252Fb",
    )],
)  # fmt: skip
_QUERIES = (
    "name=~a", "name=[1~2]", "name={a b}", "name=(a b)", "creation_time=[2020-01-01~]", "a=b=c", "=", "name=[",
    "id=99999999999999999999", "x\0=1", "-",
    "name,-id", "name," * 300, "true", "%00", "%ff", "[~]", "{}", "()", "id=[9~1]", "id=x", "public=maybe",
    "name=%00",
)  # fmt: skip
_BODIES = (
    '{"project_name":"%s","metadata":{"public":"true"}}', '{"name":%s,"scope":"g"}',
    '{"username":%s,"email":%s,"password":%s}',
    '{"name":"x","level":"system","duration":%s,"permissions":%s}', '{"group_name":%s,"group_type":%s}',
    '{"metadata":%s}', "%s",
)  # fmt: skip


@st.composite
def operations(draw: Draw) -> Ask:
    method, path = draw(st.sampled_from(_OPERATIONS))
    target = b"/api/v2.0" + path.encode()
    if draw(st.integers(0, 6)) == 3:
        at = draw(st.integers(9, len(target)))
        target = target[:at] + draw(st.sampled_from(PIECES)) + target[at:]
    values = st.sampled_from(NUMBERS) | st.sampled_from(
        [q.encode().replace(b"\0", b"%00").replace(b" ", b"+") for q in _QUERIES]
    )
    parameters = [name.encode() + b"=" + draw(values) for name in _LISTS if draw(st.integers(0, 4)) == 2]
    if parameters:
        target += (b"&" if b"?" in target else b"?") + b"&".join(parameters)
    body = None
    if method in ("POST", "PUT", "PATCH"):
        text = draw(st.sampled_from(_BODIES))
        body = text.replace("%s", json.dumps(draw(scalars))).encode("utf-8", "surrogatepass")
        body = body if draw(st.integers(0, 9)) != 5 else draw(st.sampled_from(BROKEN))
    known = (((b"Authorization", b"<<admin>>"),) if draw(st.integers(0, 3)) else draw(credentials())) + (
        (b"Content-Type", b"application/json"),
    )
    return Ask(f"{method} rest", method.encode(), target, known + draw(extra_headers()), body)


@st.composite
def tokens(draw: Draw) -> Ask:
    names = st.sampled_from(REPOSITORIES[:1] * 40 + REPOSITORIES)
    actions = st.sampled_from(
        (b"pull", b"pull,push", b"*", b"", b",,,", b"pull,pull,delete", b"x" * 300, b"\xff", b"%00")
    )
    scopes = [
        b"repository:%s:%s" % (draw(names), draw(actions))
        for _ in range(draw(st.sampled_from((0, 1, 1, 2, 5))))
    ]
    if draw(st.integers(0, 4)) == 2:
        scopes.append(
            draw(
                st.sampled_from(
                    (
                        b"registry:catalog:*",
                        b":::",
                        b"repository",
                        b"%20" * 50,
                        b"a:b:c:d:e:f",
                        b"repository:" + b"a" * 4000,
                        b"x:y:z%20" * 120,
                    )
                )
            )
        )
    service = draw(
        st.sampled_from((b"harbor-registry",) * 30 + (b"", b"x", b"harbor-registry%00", b"harbor-notary"))
    )
    query = b"&".join([b"service=" + service, *(b"scope=" + scope for scope in scopes)])
    target = b"/service/token?" + query
    if draw(st.integers(0, 9)) == 5:
        at = draw(st.integers(14, len(target)))
        target = target[:at] + draw(st.sampled_from(PIECES)) + target[at:]
    good = st.sampled_from((b"<<basic>>", b"<<admin>>")).map(lambda one: ((b"Authorization", one),))
    method = draw(st.sampled_from((b"GET",) * 30 + (b"POST", b"HEAD", b"PUT", b"OPTIONS")))
    headers = draw(good if draw(st.integers(0, 2)) else credentials()) + draw(extra_headers())
    return Ask("token", method, target, headers, None)


@pytest.mark.parametrize(("name", "each", "least"), [("tokens", tokens(), 0.3), ("rest", operations(), 0.12)])
def test_no_request_breaks_it(
    world: World, report: Report, name: str, each: st.SearchStrategy[Ask], least: float
) -> None:
    with contextlib.closing(Line(world.port)) as line:
        fuzz(name, each, lambda asks: [world.ask(line, ask) for ask in asks])
    report(f"seed {SEED}")
    for text in world.tally.lines():
        report(text)
    assert world.tally.total >= REQUESTS[name]
    assert world.tally.share("2xx") >= least
    assert world.tally.share("4xx") >= 0.1
