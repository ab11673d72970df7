"""Stands between the driver and a real S3 server, writes down each call and lets single ones fail.

The server checks signatures over the Host header, which is passed on as it came.
"""

from __future__ import annotations

import http.client
import http.server
import threading
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Call:
    """`name` is the key without the test's prefix; `query` has the parameters that say which operation it is."""

    method: str
    name: str
    query: dict[str, str]
    headers: dict[str, str]

    @property
    def operation(self) -> str:
        known = ("partNumber", "uploads", "uploadId", "delete", "list-type")
        return " ".join([self.method, *(name for name in known if name in self.query)])


@dataclass(frozen=True, slots=True)
class Answer:
    """Instead of the server's. `forward` lets the server do its work first; without a status the connection is cut,
    after `sent` bytes of the body. With `etag` the server's own answer is passed on, with another ETag."""

    status: int = 0
    body: str = ""
    forward: bool = False
    sent: int | None = None
    etag: str = ""


CUT_BEFORE = Answer()
CUT_AFTER = Answer(forward=True)


def error(status: int, code: str) -> Answer:
    return Answer(status, f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>no</Message></Error>")


@dataclass
class S3Proxy:
    """A fault is a function of the call: None lets it pass."""

    target: int
    fault: Callable[[Call], Answer | None] = lambda _: None
    calls: list[Call] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    # Part uploads wait here.
    gate: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.gate.set()
        self.lock = threading.Lock()
        proxy = self

        class Handler(_Handler):
            owner = proxy

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self._thread = threading.Thread(target=self._server.serve_forever, args=[0.05], daemon=True)
        self._thread.start()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def operations(self) -> list[str]:
        return [call.operation for call in self.calls]

    def stop(self) -> None:
        self.gate.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    owner: S3Proxy
    protocol_version = "HTTP/1.1"

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
        name = url.path.partition("/objects/")[2]
        call = Call(self.command, name, query, {key.lower(): value for key, value in self.headers.items()})
        with self.owner.lock:
            self.owner.calls.append(call)
        answer = self.owner.fault(call)
        if answer is None:
            self._pass(call, body)
            return
        if answer.etag:
            response, content = self._forward(body)
            response.headers.replace_header("ETag", answer.etag)
            self._reply(response.status, response.headers.items(), content)
            return
        if answer.forward or answer.sent is not None:
            response, content = self._forward(body)
            if answer.sent is not None:
                self._reply(response.status, response.headers.items(), content[: answer.sent])
        if answer.status:
            content = answer.body.encode()
            self._reply(answer.status, [("content-length", str(len(content)))], content)
        else:
            self.close_connection = True

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_any  # noqa: N815

    def _pass(self, call: Call, body: bytes) -> None:
        owner = self.owner
        if "partNumber" in call.query:
            with owner.lock:
                owner.at_once += 1
                owner.most_at_once = max(owner.most_at_once, owner.at_once)
            owner.gate.wait(60)
        response, content = self._forward(body)
        if "partNumber" in call.query:
            with owner.lock:
                owner.at_once -= 1
        self._reply(response.status, response.headers.items(), content)

    def _forward(self, body: bytes) -> tuple[http.client.HTTPResponse, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.owner.target, timeout=60)
        try:
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in ("expect", "connection"):
                    connection.putheader(name, value)
            connection.endheaders(body)
            response = connection.getresponse()
            return response, response.read()
        finally:
            connection.close()

    def _reply(self, status: int, headers: object, content: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers:  # type: ignore[attr-defined]
            if name.lower() not in ("connection", "transfer-encoding"):
                self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """The test reads `calls`."""
