"""A refusal that is decided before the body has come reaches the client all the same (RFC 9112 9.6: a close with unread
data resets the connection, and takes the answer with it)."""

from __future__ import annotations

import http.client
import json
import select
import socket
import time

import pytest

from tests.content import MANIFEST
from tests.registry_core.oci.test_interrupted_uploads import answer_of
from tests.server import ADMIN, Pair, Server

MIB = 1 << 20


def send_all_of_it(connection: socket.socket, rest: bytes) -> None:
    """As clients do that read nothing until they have sent everything; the server has decided long before the end."""
    assert select.select([connection], [], [], 20)[0], "no early answer"
    for at in range(0, len(rest), MIB // 2):
        connection.sendall(rest[at : at + MIB // 2])
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("path", "who", "status"),
    [
        ("manifests/v1", "robot", "413"),
        ("blobs/uploads/?digest=sha256:short", "robot", "400"),
        ("manifests/v1", "stranger", "401"),
    ],
)
def test_the_client_reads_why(
    server: Server, name: str, robot: Pair, stranger: Pair, path: str, who: str, status: str
) -> None:
    pair = {"robot": robot, "stranger": stranger}[who]
    method = "POST" if "uploads" in path else "PUT"
    body = b"x" * (6 * MIB)
    with server.unfinished(
        method, f"/v2/{name}/{path}", pair, body[:MIB], Content_Length=str(len(body)), Content_Type=MANIFEST
    ) as connection:
        send_all_of_it(connection, body[MIB:])
        assert answer_of(connection).startswith(f"HTTP/1.1 {status} ")


def test_a_body_that_never_ends_is_not_waited_for(server: Server, name: str, robot: Pair) -> None:
    began = time.monotonic()
    with server.unfinished(
        "PUT", f"/v2/{name}/manifests/v1", robot, b"x" * MIB, Content_Length=str(1 << 40), Content_Type=MANIFEST
    ) as connection:
        answer = http.client.HTTPResponse(connection, method="PUT")
        answer.begin()
        assert answer.status == 413
        assert answer.getheader("Connection") == "close"
        assert json.loads(answer.read())["errors"][0]["code"] == "REQUEST_ENTITY_TOO_LARGE"
    assert time.monotonic() - began < 5


def test_the_rest_side_says_so_too(server: Server) -> None:
    body = b"x" * (9 * MIB)
    with server.unfinished(
        "POST", "/api/v2.0/projects", ADMIN, body, Content_Length=str(len(body)), Content_Type="application/json"
    ) as connection:
        assert answer_of(connection).startswith("HTTP/1.1 413 ")
