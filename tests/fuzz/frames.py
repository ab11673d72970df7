"""Requests whose frame lies: lengths, chunks, versions, line ends, heads that no client would write."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import strategies as st

from tests.content import MANIFEST
from tests.fuzz.strategies import HEX, VALUES, Draw, credentials


@dataclass(frozen=True, slots=True)
class Said:
    """What goes out on one connection; the methods of the requests in it, as far as they are requests."""

    text: bytes
    methods: tuple[bytes, ...]


GOOD = b"GET /v2/ HTTP/1.1\r\nHost: <<host>>\r\nAuthorization: <<token>>\r\n\r\n"
_TARGETS = (
    (b"PATCH", b"/v2/<<project>>/w0/blobs/uploads/<<session0>>"), (b"PUT", b"/v2/<<project>>/w1/manifests/v1"),
    (b"POST", b"/v2/<<project>>/w0/blobs/uploads/"),
    (b"POST", b"/v2/<<project>>/w0/blobs/uploads/?digest=sha256:" + HEX),
    (b"PUT", b"/v2/<<project>>/w0/blobs/uploads/<<session1>>?digest=sha256:" + HEX),
    (b"GET", b"/v2/<<project>>/full/blobs/<<layer0>>"), (b"HEAD", b"/v2/<<project>>/full/manifests/v0"),
    (b"DELETE", b"/v2/<<project>>/w0/manifests/absent"), (b"OPTIONS", b"*"), (b"TRACE", b"/v2/"),
    (b"CONNECT", b"127.0.0.1:80"), (b"GET", b"/service/token?service=harbor-registry"),
    (b"POST", b"/api/v2.0/projects"), (b"GET", b"/v2/" + b"a" * 65536), (b"GET", b"/v2/?" + b"a=b&" * 20000),
    (b"GET", b"/v2/ /x"), (b"GET", b""), (b"GET", b"v2/"), (b"GET", b"http://<<host>>/v2/"),
    (b"GET", b"HTTP://evil.example:99999/v2/"), (b"GET", b"/v2/#x"), (b"GET", b"/v2/\x00"), (b"G\0T", b"/v2/"),
    (b"GET\t", b"/v2/"), (b"", b"/v2/"), (b"X" * 70000, b"/v2/"),
)  # fmt: skip
_VERSIONS = (
    *[b"HTTP/1.1"] * 30, *[b"HTTP/1.0"] * 4, b"", b"HTTP/0.9", b"HTTP/1.2", b"HTTP/2.0", b"HTTP/3", b"http/1.1",
    b"HTTP/1.1 ", b"HTTP/1.1\r", b"HTTP/11",
)  # fmt: skip
_BODY = b"0123456789"
_LENGTHS = (
    b"10", b"7", b"15", b"0", b"-1", b"+10", b"10, 10", b"10,11", b" 10 ", b"0x0a", b"1e1",
    "\uff11\uff10".encode(), b"010", b"9223372036854775807", b"9223372036854775808", b"18446744073709551615",
    b"18446744073709551616", b"9" * 40, b"9" * 5000, b"", b"ten", b"10\t", b"10;", b"10\0",
    b"10\r\nContent-Length: 10", b"10\r\nContent-Length: 11", b"10\r\nContent-Length: 5",
    b"0\r\nContent-Length: 10",
)  # fmt: skip
_CODINGS = (
    b"chunked", b"chunked, chunked", b"gzip, chunked", b"chunked, gzip", b"identity", b"xchunked", b"Chunked",
    b"\x0bchunked", b"chunked\0", b"", b"chunked\r\nTransfer-Encoding: identity",
    b"identity\r\nTransfer-Encoding: chunked", b"chunked\r\nTransfer-encoding: x", b"chunked;q=1", b"\tchunked",
)  # fmt: skip
_CHUNKED = (
    b"a\r\n0123456789\r\n0\r\n\r\n", b"5\r\n01234\r\n5\r\n56789\r\n0\r\n\r\n",
    b"A;ext=1\r\n0123456789\r\n0\r\n\r\n", b"0\r\n\r\n", b'a;x="\r\n"\r\n0123456789\r\n0\r\n\r\n',
    b"a\r\n0123456789\r\n0\r\nX-T: 1\r\nContent-Length: 3\r\n\r\n", b"000000a\r\n0123456789\r\n0\r\n\r\n",
    b"zz\r\n0123456789\r\n0\r\n\r\n", b"-1\r\n0123456789\r\n0\r\n\r\n", b"0xa\r\n0123456789\r\n0\r\n\r\n",
    b"a\n0123456789\n0\n\n", b"FFFFFFFFFFFFFFFF\r\n0123456789", b"FFFFFFFFFFFFFFFFF\r\n0123456789\r\n0\r\n\r\n",
    b"7fffffffffffffff\r\n0123456789", b"a\r\n01234567890\r\n\r\n", b"a\r\n0123456789", b"a\r\n01234", b"a",
    b"a\r\n0123456789\r\n", b"a\r\n0123456789\r\n0\r\n", b"14\r\n0123456789\r\n0\r\n\r\n", b"",
    b"a;" + b"x" * 20000 + b"\r\n0123456789\r\n0\r\n\r\n", b"a \r\n0123456789\r\n0\r\n\r\n", b"\r\n\r\n",
    b"0\r\n" + b"T: x\r\n" * 5000 + b"\r\n", b"0\r\nno trailer\r\n\r\n", b"0\r\nA: \0\r\n\r\n",
    b"1;\0\r\nx\r\n0\r\n\r\n", b"5\r\n01234\r\nG\r\n", b"a\r0123456789\r0\r\r", b"0" * 40 + b"\r\n\r\n",
)  # fmt: skip
_LINES = (
    b"Host: <<host>>", b"Host:", b"Host: a b", b"Host: evil.example", b"X: y\r\n folded", b"X : y", b" X: y",
    b": y", b"X", b"X\0Y: z", "é: y".encode(), b"X\x7f: y", b"X: " + b"a" * 65536, b"X: " + b"a" * 500000,
    b"\r\n".join(b"X-%d: y" % i for i in range(90)), b"\r\n".join(b"X-%d: y" % i for i in range(300)),
    b"Expect: 100-continue", b"Expect: 200-maybe", b"Expect: 100-continue, 100-continue", b"Connection: close",
    b"Connection: Transfer-Encoding",
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA",
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIQ==\r\nSec-WebSocket-Version: 13",
    b"Content-Encoding: gzip", b"Content-Range: 0-9", b"Content-Range: 0-4", b"X-A: b\nX-Injected: 1",
    b"X-A: b\rX-Injected: 1", b"X-A: b\r\n\r\nGET /v2/ HTTP/1.1\r\nHost: x",
)  # fmt: skip
_GARBAGE = (
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 200, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 100, b"\r\n\r\n\r\n" + GOOD, b"\0" * 1000, b"\n", b"GET",
    b"GET /v2/", b"GET /v2/ HTTP/1.1\r\n", b"GET /v2/ HTTP/1.1\r\nHost: x\r\nX", b"SSH-2.0-x\r\n",
    b"a" * 600000, b"GET /v2/\n\n", b"GET /v2/ HTTP/1.1\nHost: x\n\n", b"*1\r\n$4\r\nPING\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
)  # fmt: skip


@st.composite
def frames(draw: Draw) -> Said:
    if draw(st.integers(0, 15)) == 9:
        return Said(draw(st.sampled_from(_GARBAGE)) + draw(st.sampled_from((b"", GOOD))), (b"GET",))
    method, target = draw(st.sampled_from(_TARGETS[:5] * 10 + _TARGETS))
    lines = [b"%s %s %s" % (method, target, draw(st.sampled_from(_VERSIONS))), b"Host: <<host>>"]
    lines += [b"%s: %s" % pair for pair in draw(credentials())]
    lines.append(b"Content-Type: " + MANIFEST.encode())
    for _ in range(draw(st.sampled_from((0, 0, 1, 1, 2)))):
        lines.append(draw(st.sampled_from(_LINES)))
    if draw(st.integers(0, 9)) == 5:
        lines.append(b"X: " + draw(st.sampled_from(VALUES)))
    body = b""
    match draw(st.integers(0, 4)):
        case 0 | 1:
            lines.append(b"Content-Length: " + draw(st.sampled_from(_LENGTHS)))
            body = _BODY
        case 2 | 3:
            lines.append(b"Transfer-Encoding: " + draw(st.sampled_from((b"chunked",) * 12 + _CODINGS)))
            body = draw(st.sampled_from(_CHUNKED))
        case _:
            both = [
                b"Content-Length: " + draw(st.sampled_from(_LENGTHS)),
                b"Transfer-Encoding: " + draw(st.sampled_from(_CODINGS)),
            ]
            lines += both if draw(st.booleans()) else both[::-1]
            body = draw(st.sampled_from(_CHUNKED))
    end = draw(st.sampled_from((b"\r\n",) * 15 + (b"\n", b"\r")))
    after = GOOD * draw(st.sampled_from((0, 0, 0, 1, 3)))
    return Said(end.join([*lines, b"", b""]) + body + after, (method,))
