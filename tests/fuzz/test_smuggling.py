"""Through nginx, with connections to the registry that are used again: what nginx takes for one request is one request.

A request that only one of the two sees would be answered to somebody else (RFC 9112 11.2). nginx writes a line for each
request it saw, the registry counts each it saw: the registry must never have seen more.
"""

from __future__ import annotations

import base64
import contextlib
import re
import time
from collections.abc import Iterator

import pytest
from hypothesis import strategies as st

from tests.components import process
from tests.components.nginx import Nginx
from tests.components.postgres import Postgres
from tests.components.valkey import Valkey
from tests.fuzz.conftest import assert_unharmed
from tests.fuzz.frames import Said, frames
from tests.fuzz.running import REQUESTS, SEED, fuzz
from tests.fuzz.strategies import Draw
from tests.fuzz.wire import Line
from tests.fuzz.world import World
from tests.reporting import Report
from tests.server import ADMIN, Server

_HIDDEN = b"GET /v2/smuggled/x/tags/list HTTP/1.1\r\nHost: <<host>>\r\nX-Request-Id: smuggled\r\n\r\n"
_NEXT = (
    b"GET /v2/<<project>>/full/tags/list HTTP/1.1\r\nHost: <<host>>\r\nAuthorization: <<token>>\r\n"
    b"X-Request-Id: next-%d\r\n\r\n"
)
_COUNTED = re.compile(r'^harbor_core_http_request_total\{.*operation="v2_.*\} (\S+)$', re.MULTILINE)
_PAIRS = (
    (b"Content-Length", b"Transfer-Encoding"), (b"Content-Length", b"Transfer_Encoding"),
    (b"Content_Length", b"Transfer-Encoding"),
    (b"Content-Length", b"Transfer-Encoding "), (b"Content-Length ", b"Transfer-Encoding"),
    (b"content-length", b"TRANSFER-ENCODING"),
    (b"Content-Length", b" Transfer-Encoding"), (b"Content-Length", b"X: y\r\n\tTransfer-Encoding"),
    (b"Content-Length", b"Transfer-Encoding\t"),
    (b"Content-Length", b"\x0bTransfer-Encoding"), (b"Content-Length\0", b"Transfer-Encoding"),
    (b"X-HTTP-Content-Length", b"X: y\nTransfer-Encoding"),
)  # fmt: skip
_CODINGS = (
    b"chunked", b"xchunked", b" chunked", b"\tchunked", b"chunked\t", b"\x0bchunked", b"chunked, identity",
    b"identity, chunked", b"chunked;x=1",
    b"Chunked", b"chunked\r\nTransfer-Encoding: x", b"x\r\nTransfer-Encoding: chunked", b'"chunked"',
    b"chunked\0", b"chunked\n y", b"\n chunked",
)  # fmt: skip


@st.composite
def smuggles(draw: Draw) -> Said:
    method, target = draw(st.sampled_from((
        (b"PATCH", b"/v2/<<project>>/w0/blobs/uploads/<<session0>>"), (b"PUT", b"/v2/<<project>>/w0/manifests/v1"),
        (b"POST", b"/v2/<<project>>/w0/blobs/uploads/"), (b"GET", b"/v2/<<project>>/full/manifests/v0"),
        (b"HEAD", b"/v2/"),
    )))  # fmt: skip
    length, coding = draw(st.sampled_from(_PAIRS))
    ended = b"0\r\n\r\n" + _HIDDEN
    chunked = draw(st.sampled_from((
        ended, b"5\r\nabcde\r\n" + ended, b"0\n\n" + _HIDDEN, b"0\r\n\n" + _HIDDEN, b"0;\n\r\n\r\n" + _HIDDEN,
        b"0;x\r\r\n\r\n" + _HIDDEN, b"00000000000000000\r\n\r\n" + _HIDDEN,
        b"1\r\nZ" + ended, b"0\r\nA: b\n\n" + _HIDDEN, b"0\r\nContent-Length: 3\r\n\r\n" + _HIDDEN,
        b"%x\r\n%s\r\n0\r\n\r\n" % (len(_HIDDEN), _HIDDEN),
        b"0x0\r\n\r\n" + _HIDDEN, b"10000000000000000\r\n\r\n" + _HIDDEN,
    )))  # fmt: skip
    whole = len(chunked.replace(b"<<host>>", b"127.0.0.1:12345"))
    size = draw(
        st.sampled_from(
            (b"<<whole>>", b"5", b"0", b"4", b"6", b"5, 5", b"5\r\nContent-Length: 0", b"+5", b"1")
        )
    )
    lines = [
        length + b": " + size.replace(b"<<whole>>", b"%d" % whole), coding + b": " + draw(st.sampled_from(_CODINGS))
    ]  # fmt: skip
    kept = draw(st.sampled_from((lines, lines[::-1], lines[1:], lines[:1])))
    hosts = draw(
        st.sampled_from(
            ([b"Host: <<host>>"],) * 8
            + ([b"Host: <<host>>", b"Host: x"], [b"Host: x", b"Host: <<host>>"], [])
        )
    )
    head = [b"%s %s HTTP/1.1" % (method, target), *hosts, b"Authorization: <<token>>", *kept]
    return Said(b"\r\n".join([*head, b"", b""]) + chunked, (method,))


@pytest.fixture(scope="module")
def nginx() -> Iterator[Nginx]:
    server = Nginx(process.own_directory("fuzz-nginx"), process.free_port())
    yield server
    server.stop()


@pytest.fixture(scope="module")
def server(postgres: Postgres, valkey: Valkey, nginx: Nginx) -> Iterator[Server]:
    url = f"http://{nginx.host}"
    server = Server(
        postgres, valkey.url(62), BREAKWATER_TRUSTED_PROXIES="127.0.0.1/32", BREAKWATER_EXTERNAL_URL=url
    )
    server.start()
    nginx.start(server.host, server.storage, keepalive=True)
    try:
        yield server
        assert_unharmed(server)
    finally:
        server.stop()


@pytest.fixture(scope="module")
def world(server: Server, nginx: Nginx) -> Iterator[World]:
    world = World(server, nginx.port)
    yield world
    world.close()


def requests_seen(server: Server) -> int:
    """By the registry, whatever became of them."""
    page = server.exchange("GET", "/metrics", {"Authorization": _basic()}).content  # type: ignore[attr-defined]
    return int(sum(float(value) for value in _COUNTED.findall(page.decode())))


def _basic() -> str:
    return "Basic " + base64.b64encode(":".join(ADMIN).encode()).decode()


def test_no_request_hides_in_another(world: World, server: Server, nginx: Nginx, report: Report) -> None:
    seen, sent = requests_seen(server), len(nginx.sent())
    ids = 0

    def examine(said: list[Said]) -> None:
        nonlocal ids
        world.ensure_sessions(line)
        world.talk("proxied", [one.text for one in said], [one.methods for one in said])
        for _ in range(4):  # whoever comes next on the connections of nginx gets an answer to what they asked
            ids += 1
            answer = line.exchange(world.resolve(_NEXT % ids), b"GET")
            assert answer is not None
            assert (answer.status, answer.header(b"x-request-id")) == (200, b"next-%d" % ids)
        both = requests_seen(server) - seen, len(nginx.sent()) - sent
        assert both[0] <= both[1], (
            f"{both} requests seen by registry and nginx; one of {[one.text for one in said]!r:.20000}"
        )

    with contextlib.closing(Line(world.port)) as line:
        fuzz("proxied", smuggles() | frames(), examine, batch=25)
    time.sleep(0.5)
    both = requests_seen(server) - seen, len(nginx.sent()) - sent
    report(f"seed {SEED}; nginx saw {both[1]} requests, the registry {both[0]} of them")
    for text in world.tally.lines():
        report(text)
    assert both[0] <= both[1]
    assert both[0] >= REQUESTS["proxied"] / 10
    assert world.tally.total >= REQUESTS["proxied"]
