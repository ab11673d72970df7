"""The registry that is fuzzed: what lies in it, who may come, and what every answer of it must be.

Requests are written before the registry runs, so they say `<<project>>` or `<<layer>>` for what is known only then.
"""

from __future__ import annotations

import base64
import collections
import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jwt

from tests.content import INDEX, MANIFEST, descriptor, digest_of, encode, image_document, index_document
from tests.fuzz.wire import Answer, Line, read_answers, talk
from tests.server import ADMIN, Pair, Server, new_image

_NAME = re.compile(rb"<<(\w+)>>")
# What a server says to what it cannot read as HTTP; it need not be in the words of the registry.
PARSER = frozenset({400, 408, 413, 414, 431})
_POLICY = frozenset({"DENIED", "UNAUTHORIZED"})
_NGINX = (501, 505)
_VERSION = b"docker-distribution-api-version"
_FORGED = jwt.utils.base64url_encode


@dataclass(frozen=True, slots=True)
class Ask:
    """One request with an honest frame. `route` is for the tally."""

    route: str
    method: bytes
    target: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes | None = None
    chunks: int = 0  # the body in so many chunks, instead of a Content-Length
    trailers: bytes = b""
    version: bytes = b"HTTP/1.1"

    def encode(self, host: bytes = b"<<host>>") -> bytes:
        head = [b"%s %s %s" % (self.method, self.target, self.version), b"Host: " + host]
        head += [b"%s: %s" % pair for pair in self.headers]
        body = self.body or b""
        if self.chunks:
            head.append(b"Transfer-Encoding: chunked")
            body = _chunked(body, self.chunks) + self.trailers + b"\r\n"
        elif self.body is not None:
            head.append(b"Content-Length: <<len%d>>" % len(body))
        return b"\r\n".join([*head, b"", b""]) + body


def _chunked(body: bytes, count: int) -> bytes:
    size = max(1, -(-len(body) // count))
    parts = [body[i : i + size] for i in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in parts) + b"0\r\n"


class Tally:
    """What became of the requests of each route."""

    def __init__(self) -> None:
        self.kinds: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
        self.statuses: collections.Counter[int] = collections.Counter()

    def count(self, route: str, answer: Answer | None) -> None:
        self.kinds[route][f"{answer.status // 100}xx" if answer else "closed"] += 1
        self.statuses[answer.status if answer else 0] += 1

    @property
    def total(self) -> int:
        return sum(self.statuses.values())

    def share(self, kind: str) -> float:
        return sum(c[kind] for c in self.kinds.values()) / max(self.total, 1)

    def lines(self) -> list[str]:
        every = sum(self.kinds.values(), collections.Counter())
        rows = [("all routes", every), *sorted(self.kinds.items())]
        return [
            f"{route}: {sum(c.values())} requests: "
            + ", ".join(f"{c[k]} {k}" for k in ("2xx", "3xx", "4xx", "5xx"))
            + f", {c['closed']} closed without an answer"
            for route, c in rows
        ]


class World:
    """`port`: where its clients come in, if that is not the server itself."""

    def __init__(self, server: Server, port: int = 0) -> None:
        self.server, self.port = server, port or server.port
        self.project = server.create_project()
        self.elsewhere = server.create_project()
        self.robot = server.create_robot(self.project)
        self.victim = server.create_robot(self.project)
        self.image = new_image(3, 300)
        self.names: dict[bytes, bytes] = {
            b"host": server.host.encode(), b"project": self.project.encode(), b"elsewhere": self.elsewhere.encode()
        }  # fmt: skip
        self.sessions: collections.deque[str] = collections.deque(maxlen=400)
        self.tally = Tally()
        self._alive = Line(self.port)
        self._fill()
        self._name_credentials()

    # -- what lies in it

    def _fill(self) -> None:
        """Images, tags, an index, referrers in `<<project>>/full`; `w0` to `w3` are there to be written to."""
        for path in ("full", "w0", "w1", "w2", "w3"):
            self._push(f"{self.project}/{path}", self.robot, tags=40 if path == "full" else 2)
        stranger = self.server.create_robot(self.elsewhere)
        self._push(f"{self.elsewhere}/full", stranger, tags=1)
        for i, layer in enumerate(self.image.layers):
            self.names[b"layer%d" % i] = digest_of(layer).encode()
            self.names[b"sha512_%d" % i] = digest_of(layer, "sha512").encode()
        self.names[b"config"] = digest_of(self.image.config).encode()
        self.names[b"manifest"] = self.image.digest.encode()

    def _push(self, name: str, pair: Pair, tags: int) -> None:
        repository = self.server.repository(name, pair)
        for blob in self.image.blobs:
            repository.push_blob(blob)
        for i in range(tags):
            repository.push_manifest(self.image.payload, f"v{i}")
        index = encode(index_document([self.image.payload]))
        repository.push_manifest(index, "index", INDEX)
        self.names[b"index"] = digest_of(index).encode()
        repository.push_blob(b"{}")
        for i in range(5):
            subject = descriptor(MANIFEST, self.image.payload)
            kind = f"application/x.{i % 2}"
            document = image_document(
                b"{}", [], subject=subject, artifactType=kind, annotations={"i": str(i)}
            )
            repository.push_manifest(encode(document))

    # -- who may come

    def _name_credentials(self) -> None:
        full = [
            f"repository:{self.project}/{p}:pull,push,delete" for p in ("full", "w0", "w1", "w2", "w3", "new")
        ]
        token = self.server.token(self.robot, *full)
        claims = jwt.decode(token, options={"verify_signature": False})
        rs = {"alg": "RS256"}
        head, payload, signature = token.split(".")
        sign = self.server.actor.do
        bodies = {
            b"token": token,
            b"other": self.server.token(self.robot, f"repository:{self.project}/none:pull,push,delete"),
            b"anonymous": self.server.token(None, full[0]),
            b"expired": sign("sign", claims | {"exp": int(time.time()) - 3600}),
            b"early": sign("sign", claims | {"nbf": int(time.time()) + 3600}),
            b"audience": sign("sign", claims | {"aud": "another"}),
            b"bare": sign("sign", {k: v for k, v in claims.items() if k != "bw"}),
            b"odd": sign("sign", claims | {"bw": [None], "access": "x"}),
            b"tampered": f"{head}.{_raised(payload)}.{signature}",
            b"unsigned": f"{_header({'alg': 'none', 'typ': 'JWT'})}.{payload}.",
            b"jwk": f"{_header(rs | {'kid': 'x', 'jwk': {'kty': 'RSA', 'e': 'AQAB'}})}.{payload}.{signature}",
            b"jku": f"{_header(rs | {'kid': 'http://127.0.0.1:1/', 'jku': 'http://127.0.0.1:1/'})}.{payload}.{signature}",
            b"deep": f"{_FORGED(b'[' * 5000).decode()}.{payload}.{signature}",
            b"giant": f"{head}.{'A' * 20000}.{signature}",
        }
        for name, value in bodies.items():
            self.names[name] = b"Bearer " + value.encode()
        self.names[b"basic"] = _basic(*self.robot)
        self.names[b"admin"] = _basic(*ADMIN)
        self.names[b"wrong"] = _basic(self.victim[0], "Wrong-Secret1")
        self.names[b"nobody"] = _basic("nobody", "Wrong-Secret1")
        self.names[b"nul"] = _basic("a\0b", "c\0d\r\n")

    # -- asking

    def resolve(self, text: bytes) -> bytes:
        return _NAME.sub(lambda m: self._value(m[1], m[0]), text)

    def _value(self, name: bytes, text: bytes) -> bytes:
        if name.startswith(b"len") and name[3:].isdigit():
            return name[3:]
        if name.startswith(b"session") and name[7:].isdigit():
            at = int(name[7:])
            return self.sessions[at % len(self.sessions)].encode() if self.sessions else b"0" * 32
        return self.names.get(name, text)

    def ensure_sessions(self, line: Line) -> None:
        """Some are open, and not so many that no more may be."""
        head = ((b"Authorization", b"<<token>>"),)
        while len(self.sessions) < 4:
            self.ask(line, Ask("start", b"POST", b"/v2/<<project>>/w0/blobs/uploads/", head, b""))
        while len(self.sessions) > 100:
            target = b"/v2/<<project>>/w0/blobs/uploads/%s" % self.sessions.popleft().encode()
            self.ask(line, Ask("cancel", b"DELETE", target, head, b""), counted=False)

    def ask(self, line: Line, ask: Ask, *, counted: bool = True) -> Answer | None:
        """Send it and hold the answer against the contract; what fails is shown as it was sent."""
        request = self.encoded(ask)
        try:
            answer = line.exchange(request, ask.method)
            if answer is not None:
                check(answer, ask.method, is_v2=ask.target.startswith(b"/v2"))
        except AssertionError as e:
            raise AssertionError(f"{e}\nrequest: {request[:20000]!r}") from e
        if counted:
            self.tally.count(ask.route, answer)
        if answer is not None:
            self._note_sessions(ask, request, answer)
        return answer

    def _note_sessions(self, ask: Ask, request: bytes, answer: Answer) -> None:
        upload = answer.header(b"docker-upload-uuid")
        if upload and ask.method == b"POST" and answer.status == 202 and b"/w0/" in ask.target:
            self.sessions.append(upload.decode())
        if ask.method in (b"PUT", b"DELETE") and answer.status in (201, 204):
            for ended in [s for s in self.sessions if s.encode() in request]:
                self.sessions.remove(ended)

    def encoded(self, ask: Ask) -> bytes:
        """Lengths are those of the bytes that are sent, after the names in them were filled in."""
        body = None if ask.body is None else self.resolve(ask.body)
        whole = Ask(
            ask.route, ask.method, ask.target, ask.headers, body, ask.chunks, ask.trailers, ask.version
        )
        return self.resolve(whole.encode())

    def talk(
        self, route: str, texts: Sequence[bytes], methods: Sequence[Sequence[bytes]]
    ) -> list[list[Answer]]:
        """Each text on a connection of its own (wire.talk), every answer held against the contract."""
        said = [self.resolve(text) for text in texts]
        heard = talk(self.port, said)
        found: list[list[Answer]] = []
        for request, names, data in zip(said, methods, heard, strict=True):
            if data and not data.startswith(b"HTTP/") and self.port != self.server.port:
                found.append([])  # to what names no version nginx speaks HTTP/0.9, which has no heads
                continue
            try:
                answers = read_answers(data, names)
                for answer, method in zip(answers, [*names, *[b"GET"] * len(answers)], strict=False):
                    check(answer, method, is_v2=answer.header(_VERSION) is not None)
            except AssertionError as e:
                raise AssertionError(f"{e}\nrequest: {request[:20000]!r}\nanswer: {data[:2000]!r}") from e
            for answer in answers:
                self.tally.count(route, answer)
            if not answers:
                self.tally.count(route, None)
            found.append(answers)
        return found

    def assert_alive(self) -> None:
        answer = self._alive.exchange(
            self.resolve(b"GET /v2/ HTTP/1.1\r\nHost: <<host>>\r\nAuthorization: <<token>>\r\n\r\n"), b"GET"
        )
        assert answer is not None, "the registry does not answer any more"
        assert answer.status == 200, answer

    def close(self) -> None:
        self._alive.close()


def _basic(name: str, secret: str) -> bytes:
    return b"Basic " + base64.b64encode(f"{name}:{secret}".encode())


def _header(values: dict[str, Any]) -> str:
    return _FORGED(json.dumps(values).encode()).decode()


def _raised(payload: str) -> str:
    """The claims with more rights than were signed."""
    claims = json.loads(jwt.utils.base64url_decode(payload.encode()))
    claims["bw"]["a"] = 1
    return _header(claims)


def check(answer: Answer, method: bytes, *, is_v2: bool) -> None:
    """No 5xx, no header that the client wrote, and an error in the words of the distribution-spec (design 2.8)."""
    # nginx in front has 5xx of its own for what is not HTTP as it knows it.
    excused = _NGINX if (answer.header(b"server") or b"").startswith(b"nginx") else ()
    assert answer.status < 500 or answer.status in excused, answer
    assert not any(name.startswith(b"x-injected") for name, _ in answer.headers), answer
    if answer.status < 400 or method == b"HEAD":
        return
    if answer.header(_VERSION) is None and is_v2:
        assert (answer.status in PARSER, answer.body) == (True, b""), answer
        return
    if is_v2:
        _check_error(answer)


def _check_error(answer: Answer) -> None:
    assert answer.header(b"content-type") == b"application/json; charset=utf-8", answer
    document = json.loads(answer.body)
    assert set(document) == {"errors"}, answer
    assert document["errors"], answer
    for error in document["errors"]:
        assert set(error) <= {"code", "message", "detail"}, answer
        assert re.fullmatch("[A-Z_0-9]+", error["code"]), answer
        assert isinstance(error["message"], str), answer
        assert error["message"], answer
        if error["code"] in _POLICY:
            assert {"rule", "principal", "fix", "who"} <= set(error["detail"]), answer
