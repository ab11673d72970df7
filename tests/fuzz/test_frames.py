"""Lies about where a request ends: every connection is answered or closed, and no answer is without its request."""

from __future__ import annotations

import contextlib
import socket

import pytest

from tests.fuzz.frames import GOOD, Said, frames
from tests.fuzz.running import REQUESTS, SEED, fuzz
from tests.fuzz.wire import Line, read_answers, talk
from tests.fuzz.world import World
from tests.reporting import Report


def test_lies(world: World, report: Report) -> None:
    def examine(said: list[Said]) -> None:
        world.ensure_sessions(line)
        heard = world.talk("frames", [one.text for one in said], [one.methods for one in said])
        for one, answers in zip(said, heard, strict=True):
            assert len(answers) <= max(1, one.text.upper().count(b"HTTP/")), (one, answers)

    with contextlib.closing(Line(world.port)) as line:
        fuzz("frames", frames(), examine, batch=40)
    report(f"seed {SEED}; each connection lies about a frame")
    for text in world.tally.lines():
        report(text)
    assert world.tally.total >= REQUESTS["frames"]
    assert world.tally.share("2xx") >= 0.05
    assert world.tally.share("4xx") >= 0.3
    assert world.tally.share("closed") <= 0.05


def test_pipelined_requests_are_answered_in_their_order(world: World, report: Report) -> None:
    head = b"Host: <<host>>\r\nAuthorization: <<token>>\r\nX-Request-Id: %s\r\n"
    targets = (
        b"GET /v2/ HTTP/1.1", b"GET /v2/<<project>>/full/manifests/v0 HTTP/1.1",
        b"HEAD /v2/<<project>>/full/blobs/<<layer0>> HTTP/1.1",
        b"GET /v2/<<project>>/full/blobs/<<layer0>> HTTP/1.1", b"GET /v2/<<project>>/full/tags/list HTTP/1.1",
        b"DELETE /v2/<<project>>/w0/manifests/absent HTTP/1.1", b"GET /v2/%2f HTTP/1.1",
    )  # fmt: skip
    lines = [targets[i % len(targets)] for i in range(60)]
    text = b"".join(b"%s\r\n%s\r\n" % (line, head % (b"id-%d" % i)) for i, line in enumerate(lines))
    (answers,) = world.talk("pipelined", [text], [[line.partition(b" ")[0] for line in lines]])
    assert [a.header(b"x-request-id") for a in answers] == [b"id-%d" % i for i in range(60)]
    statuses = (200, 200, 200, 200, 200, 404, 400)
    assert [a.status for a in answers] == [statuses[i % len(statuses)] for i in range(60)]
    report("60 requests on one connection, all answered in order")


@pytest.mark.parametrize("trailer", [b"A: \0\r\n", b"no trailer\r\n", b"A\r\n"])
@pytest.mark.parametrize(
    "target",
    [b"PATCH /v2/<<project>>/w0/blobs/uploads/<<session0>>", b"PUT /v2/<<project>>/w1/manifests/v1",
     b"POST /v2/<<project>>/w0/blobs/uploads/?digest=<<layer0>>", b"POST /api/v2.0/projects"],
)  # fmt: skip
def test_a_frame_that_breaks_amid_the_body_is_a_fault_of_the_client(
    world: World, target: bytes, trailer: bytes
) -> None:
    """Once answered with 500: the application took it for a client that is gone, and said nothing."""
    with contextlib.closing(Line(world.port)) as line:
        world.ensure_sessions(line)
    head = b"%s HTTP/1.1\r\nHost: <<host>>\r\nAuthorization: <<basic>>\r\nTransfer-Encoding: chunked\r\n\r\n"
    (heard,) = talk(world.server.port, [world.resolve(head % target + b"2\r\n{}\r\n0\r\n%s\r\n" % trailer)])
    (answer,) = read_answers(heard, [b"POST"])
    assert answer.status == 400
    assert b"the body ended before it was complete" in answer.body


def test_a_client_may_wait_for_permission_to_send(world: World) -> None:
    """RFC 9110 10.1.1: `100 Continue` invites the body; a refusal comes in its place, and no invitation with it."""
    head = b"PUT /v2/<<project>>/%s/manifests/v1 HTTP/1.1\r\nHost: <<host>>\r\nAuthorization: <<token>>\r\n"
    head += b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n"
    with socket.create_connection(("127.0.0.1", world.server.port), timeout=10) as allowed:
        allowed.sendall(world.resolve(head % b"w0"))
        assert allowed.recv(4096) == b"HTTP/1.1 100 Continue\r\n\r\n"
        allowed.sendall(b"{}")
        assert allowed.recv(4096).startswith(b"HTTP/1.1 400 ")
    with socket.create_connection(("127.0.0.1", world.server.port), timeout=10) as refused:
        refused.sendall(world.resolve(head % b"none"))
        assert refused.recv(4096).startswith(b"HTTP/1.1 401 ")


@pytest.mark.parametrize("version", [b"HTTP/1.0", b"HTTP/1.1"])
def test_the_older_version_of_the_protocol(world: World, version: bytes) -> None:
    """Answered in full; the connection of 1.0 ends by itself."""
    text = GOOD.replace(b"HTTP/1.1", version)
    heard = talk(world.server.port, [world.resolve(text)], pause=0.5)[0]
    (answer,) = read_answers(heard, [b"GET"])
    assert (answer.status, answer.body) == (200, b"{}\n")
