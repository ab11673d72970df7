"""Requests to `/v2`: good ones, and good ones in which something is odd.

Most of a request is right most of the time: one that is all noise ends at the first check and proves nothing behind it.
"""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from tests.content import CONFIG, DOCKER_LIST, DOCKER_MANIFEST, EMPTY, INDEX, LAYER, MANIFEST
from tests.fuzz.world import Ask

Draw = st.DrawFn
Header = tuple[bytes, bytes]
HEX = b"0123456789abcdef" * 4

# -- odd text

PIECES = (
    b"%00", b"%0d%0aX-Injected:%201", b"%2f", b"%2e%2e", b"%", b"%zz", b"//", b"/./", b"/../", b"..", b";",
    b"\\", b"@", b":", b"+", b"*", b"~", b"_", b"__", b"___", b"-", b"--", b".", b"A", b"sha256:",
    b"sha256:" + HEX, b"\xff\xfe", "é".encode(), "\u202e".encode(), "\uff11".encode(), "\u017f".encode(), b"?",
    b"??", b"?n=1", b"#", b"&", b"=", b"<script>", b"manifests/", b"blobs/uploads/", b"/tags/list", b"_catalog",
    b"referrers/", b"${jndi:ldap://x}", b"'--", b"{}", b"x" * 129, b"x" * 256, b"a/" * 130, b"x" * 5000,
)  # fmt: skip
VALUES = (
    b"", b" ", b"\0", b"a\0b", b"a\r\nX-Injected: 1", b"a\nX-Injected: 1", b"a\rX-Injected: 1",
    b"a\x0bX-Injected: 1", b"%0d%0aX-Injected: 1", b"\x85X-Injected: 1", "\u2028X-Injected: 1".encode(),
    b"\x01", b"\x7f", b"\x1b[31m", b"\xff\xfe", "é€".encode(), b"\t", b",", b",,,", b'"', b'"""', b"*", b"*/*",
    b"-1", b"0", b"1", b"99999999999999999999", b"1e9", b"NaN", b"null", b"true", b"a" * 127, b"a" * 129,
    b"a" * 4000, b"q=" + b"1," * 500, b"<script>", b"'; DROP TABLE x; --", b"${jndi:ldap://x}",
    b"../../etc/passwd", b'W/"x"', b'a;b=c;d="e', b"::1", b"127.0.0.1, 6.6.6.6", b"http://x\r\n y",
)  # fmt: skip
NUMBERS = (
    b"0", b"1", b"2", b"7", b"39", b"40", b"100", b"10000", b"10001", b"-1", b"-0", b"+1", b"1.5", b"1e3",
    b"0x10", b"", b"%00", b"1%00", b"9223372036854775807", b"9223372036854775808", b"9" * 18, b"9" * 19,
    b"9" * 5000, b"%D9%A1", b"NaN", b" 1", b"1%20", b"true",
)  # fmt: skip
DIGESTS = (
    b"<<layer0>>", b"<<layer1>>", b"<<layer2>>", b"<<config>>", b"<<manifest>>", b"<<index>>", b"<<sha512_0>>",
    b"sha256:" + HEX, b"sha512:" + HEX * 2, b"sha256:" + HEX[1:], b"sha256:" + HEX.upper(), b"sha512:" + HEX,
    b"md5:" + HEX[:32], b"sha256:", b"sha256", b":", b"SHA256:" + HEX, b"sha256+b64:" + HEX,
    b"sha256:" + b"g" * 64, b"sha256:" + "\uff11".encode() * 64, b"sha256:" + HEX + b"%00", b"blake3:" + HEX,
    b"x" * 300,
)  # fmt: skip
TAGS = (
    b"v0", b"v1", b"index", b"v39", b"absent", b"latest", b"V1", b"_", b"x" * 128, b"x" * 129, b".x", b"-x",
    b"sha256-" + HEX,
)  # fmt: skip
REPOSITORIES = (
    b"<<project>>/full", b"<<project>>/w0", b"<<project>>/none", b"<<elsewhere>>/full", b"absent/full", b"full",
    b"library/x", b"<<project>>/a/b/c/d", b"<<project>>/Full", b"<<project>>/full/", b"<<project>>",
    b"<<project>>/" + b"x" * 300,
)  # fmt: skip
CREDENTIALS = (
    *[b"<<token>>"] * 150, *[b"<<basic>>"] * 10, *[b"<<admin>>"] * 10, b"<<other>>", b"<<anonymous>>",
    b"<<expired>>", b"<<early>>", b"<<audience>>", b"<<bare>>", b"<<odd>>", b"<<tampered>>", b"<<unsigned>>",
    b"<<jwk>>", b"<<jku>>", b"<<deep>>", b"<<giant>>", b"<<wrong>>", b"<<nobody>>", b"<<nul>>", b"Basic",
    b"Basic ", b"Basic !!!", b"Bearer", b"Bearer  ", b"Bearer a.b.c", b"Bearer \xff.\xff.\xff", b"bearer ..",
    b"Digest x", b"Negotiate " + b"A" * 2000,
)  # fmt: skip

digests = st.sampled_from(DIGESTS)
numbers = st.sampled_from(NUMBERS)
values = st.sampled_from(VALUES) | st.binary(max_size=24).map(
    lambda b: b.replace(b"\n", b"").replace(b"\r", b"")
)
# A good part far more often than an odd one.
good_repositories = st.sampled_from(REPOSITORIES[:1] * 80 + REPOSITORIES)
good_digests = st.sampled_from(DIGESTS[:7] * 20 + DIGESTS)
good_tags = st.sampled_from(TAGS[:4] * 20 + TAGS)
writable = st.sampled_from(
    (b"<<project>>/w0", b"<<project>>/w1", b"<<project>>/w2") * 40 + (b"<<project>>/new",) + REPOSITORIES[2:]
)

# -- headers

RANGES = (
    b"bytes=0-", b"bytes=0-0", b"bytes=1-5", b"bytes=-1", b"bytes=-5", b"bytes=0-299", b"bytes=0-999999",
    b"bytes=299-", b"bytes=300-", b"bytes=5-1", b"bytes=-0", b"bytes=--1", b"bytes=-", b"bytes=", b"bytes",
    b"bytes=0-1,3-4", b"bytes=0-1, -1", b"bytes=0-0," * 200, b"bytes=99999999999999999999-",
    b"bytes=0-99999999999999999999", b"bytes=-99999999999999999999", b"bytes=" + b"9" * 5000 + b"-",
    b"bytes=0-9223372036854775807", b"bytes=9223372036854775807-", "bytes=\uff11-\uff12".encode(),
    b"bytes=\xb2-\xb3", b"bytes= 0-1", b"bytes=0 - 1", b"items=0-1", b"BYTES=0-1", b"bytes=0x1-0x2",
    b"bytes=1.5-2", b"bytes=0-1;q=1", b"bytes=\0-1", b"0-1",
)  # fmt: skip
CONTENT_RANGES = (
    b"0-9", b"bytes 0-9/10", b"bytes 0-9/*", b"bytes=0-9", b"0-0", b"10-19", b"9-0", b"-1-5", b"0-", b"-",
    b"0-99999999999999999999", b"99999999999999999999-99999999999999999999", b"0-999999999999999999",
    b"bytes */10", "\uff11-\uff12".encode(), b"0-9\0", b"a-b", b"0-9/x",
)  # fmt: skip
ACCEPTS = (
    MANIFEST.encode(), INDEX.encode(), b"*/*", b"application/json;q=0", b"text/html", b"a/b," * 400,
    b"application/" + b"x" * 3000,
)  # fmt: skip
NAMED: dict[bytes, tuple[bytes, ...]] = {
    b"Range": RANGES,
    b"If-Range": (b'"<<layer0>>"', b"<<layer0>>", b"Wed, 21 Oct 2015 07:28:00 GMT"),
    b"If-None-Match": (b'"<<manifest>>"', b"<<manifest>>", b'W/"<<manifest>>"', b"*",
                       b'"a","<<layer0>>"', b'"a",' * 300),
    b"Accept": ACCEPTS,
    b"Content-Range": CONTENT_RANGES,
    b"Content-Encoding": (b"gzip", b"br", b"identity", b"gzip, gzip"),
    b"Accept-Encoding": (b"gzip", b"*;q=0", b"identity;q=0"),
    b"X-Request-Id": (b"r-1", b"a" * 128, b"a" * 129),
    b"User-Agent": (b"docker/27.0", b"harbor-registry-client", b"x" * 8000),
    b"Connection": (b"keep-alive", b"close", b"Authorization", b"X, close, Y"),
    b"X-Forwarded-For": (b"6.6.6.6", b"127.0.0.1", b"unknown", b"1.1.1.1," * 300),
    b"X-Forwarded-Host": (b"evil.example", b"<<host>>"),
    b"X-Forwarded-Proto": (b"https", b"javascript"),
    b"X-Accel-Location": (b"/etc/",),
    b"X-HTTP-Method-Override": (b"DELETE", b"PUT"),
    b"Upgrade": (b"websocket", b"h2c"),
    b"Referer": (b"http://x/",),
    b"Cookie": (b"sid=x; __csrf=y",),
    b"Content-Type": (MANIFEST.encode(), b"application/octet-stream", b"text/plain; charset=\xff"),
    b"Docker-Content-Digest": (b"<<layer0>>",),
    b"Date": (b"tomorrow",),
    b"Origin": (b"null",),
    b"TE": (b"trailers",),
    b"Via": (b"1.1 x",),
}  # fmt: skip


@st.composite
def extra_headers(draw: Draw, likely: tuple[bytes, ...] = ()) -> tuple[Header, ...]:
    found = []
    for _ in range(draw(st.sampled_from((0, 0, 1, 1, 2, 3)))):
        name = draw(st.sampled_from((*NAMED, *likely * 8)))
        text = draw(values) if draw(st.integers(0, 2)) == 2 else draw(st.sampled_from(NAMED[name]))
        found.append((name, text))
    return tuple(found)


@st.composite
def credentials(draw: Draw) -> tuple[Header, ...]:
    first = draw(st.sampled_from(CREDENTIALS))
    match draw(st.integers(0, 39)):
        case 39:
            return ()
        case 38:
            return ((b"Authorization", draw(values)),)
        case 37:
            return ((b"Authorization", first), (b"authorization", draw(st.sampled_from(CREDENTIALS))))
    return ((b"Authorization", first),)


# -- targets


@st.composite
def targets(draw: Draw, path: bytes, query: tuple[bytes, ...] = ()) -> bytes:
    """The path, or something odd in it, and then parameters."""
    if draw(st.integers(0, 7)) == 7:
        at = draw(st.integers(4, max(4, len(path))))
        path = path[:at] + draw(st.sampled_from(PIECES)) + path[at:]
    elif draw(st.integers(0, 39)) == 39:
        path = (
            draw(st.sampled_from((b"http://<<host>>", b"http://evil.example", b"https://x@y", b"/", b"//")))
            + path
        )
    parameters = [name + b"=" + draw(_parameter(name)) for name in query if draw(st.booleans())]
    if draw(st.integers(0, 15)) == 15:
        parameters.append(
            draw(
                st.sampled_from(
                    (
                        b"",
                        b"&&&",
                        b"=",
                        b"a",
                        b"n",
                        b"\xff",
                        b"a=%zz",
                        b"x=1&" * 70,
                        b"a;b",
                        b"%00=%00",
                        b"last=a&last=b",
                    )
                )
            )
        )
    return path + (b"?" + b"&".join(parameters) if parameters else b"")


def _parameter(name: bytes) -> st.SearchStrategy[bytes]:
    odd = st.sampled_from([p for p in PIECES if b"?" not in p and b"#" not in p])
    match name:
        case b"n":
            return numbers
        case b"digest" | b"mount":
            return good_digests | odd
        case b"from":
            return good_repositories | odd
        case b"digest-algorithm":
            return st.sampled_from((b"sha256", b"sha512", b"md5", b"", b"sha256%00", b"SHA256"))
        case b"artifactType":
            return st.sampled_from((b"application/x.0", b"application/x.1", b"", b"a%00b", b"x" * 400)) | odd
        case b"last":
            return (
                st.sampled_from(
                    (b"v0", b"v1", b"v39", b"", b"0", b"1", b"%00", b"zzz", b"<<project>>/full", b"-1")
                )
                | odd
            )
    return good_tags | odd


# -- requests

METHODS = (
    b"OPTIONS", b"TRACE", b"CONNECT", b"PROPFIND", b"BREW", b"get", b"POST", b"PUT", b"PATCH", b"DELETE",
    b"GET", b"HEAD",
)  # fmt: skip
_PLACES = (
    ("manifest by tag", b"/v2/%s/manifests/%s", good_tags, (b"tag", b"ns")),
    ("manifest by digest", b"/v2/%s/manifests/%s", good_digests, (b"ns",)),
    ("blob", b"/v2/%s/blobs/%s", good_digests, (b"ns",)),
    ("referrers", b"/v2/%s/referrers/%s", good_digests, (b"artifactType", b"last", b"n")),
    ("tags", b"/v2/%s/tags/list", None, (b"n", b"last")),
)  # fmt: skip


@st.composite
def places(draw: Draw) -> tuple[str, bytes]:
    """(route, target)."""
    kind = draw(st.integers(0, 11))
    if kind == 10:
        return "catalog", draw(targets(b"/v2/_catalog", (b"n", b"last")))
    if kind == 11:
        return "version", draw(targets(b"/v2/"))
    route, form, last, query = _PLACES[kind % len(_PLACES)]
    parts = (draw(good_repositories),) if last is None else (draw(good_repositories), draw(last))
    return route, draw(targets(form % parts, query))


@st.composite
def reads(draw: Draw) -> Ask:
    route, target = draw(places())
    methods = (b"GET",) * 40 + (b"HEAD",) * 15 + METHODS[:6]
    method = draw(st.sampled_from(methods))
    likely = (
        (b"Range", b"If-None-Match", b"Accept", b"If-Range")
        if route in ("blob", "manifest by digest")
        else ()
    )
    known = (
        ((b"Authorization", b"<<admin>>"),)
        if route == "catalog" and draw(st.booleans())
        else draw(credentials())
    )
    headers = known + draw(extra_headers(likely))
    body = draw(st.sampled_from((None,) * 12 + (b"", b"body", b"x" * 3000)))
    version = draw(st.sampled_from((b"HTTP/1.1",) * 14 + (b"HTTP/1.0",)))
    return Ask(route, method, target, headers, body, version=version)


@st.composite
def deletions(draw: Draw) -> Ask:
    name = draw(writable)
    route, form, last = draw(st.sampled_from((
        ("delete tag", b"/v2/%s/manifests/%s", good_tags), ("delete manifest", b"/v2/%s/manifests/%s", good_digests),
        ("delete blob", b"/v2/%s/blobs/%s", good_digests),
    )))  # fmt: skip
    target = draw(targets(form % (name, draw(last))))
    return Ask(
        route,
        draw(st.sampled_from((b"DELETE",) * 9 + METHODS)),
        target,
        draw(credentials()) + draw(extra_headers()),
    )


# -- manifests

MEDIA_TYPES = (
    MANIFEST, INDEX, DOCKER_MANIFEST, DOCKER_LIST, EMPTY, CONFIG, LAYER, "", "application/json", "x" * 255,
    "x" * 256, "é", "a\0b", "application/vnd.docker.distribution.manifest.v1+prettyjws",
    "application/vnd.oci.image.layer.nondistributable.v1.tar", "a/b; c=d",
)  # fmt: skip
_SCALARS: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 1.5, 1 << 31, 1 << 62, (1 << 62) - 1, 1 << 63, 1 << 70, 10**400, "", "x",
    "\0", "\ud800", "é\u202e", "x" * 300, "sha256:", "sha256:" + HEX.decode(), "<<layer0>>", "<script>", [], {},
    [[]], [None], {"": ""}, {"a": {"b": [{}]}}, 1e308, -0.0,
)  # fmt: skip
_KEYS = (
    "schemaVersion", "mediaType", "config", "layers", "manifests", "subject", "annotations", "artifactType",
    "fsLayers", "urls", "data", "platform", "digest", "size", "", "\0", "__proto__", "x" * 300,
)  # fmt: skip
scalars = st.sampled_from(_SCALARS) | st.text(max_size=8) | st.integers() | st.floats()
_wild = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_KEYS), inner, max_size=3),
    max_leaves=8,
)


def _descriptor(media_type: str, name: str, size: int, **more: Any) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": f"<<{name}>>", "size": size, **more}


@st.composite
def documents(draw: Draw) -> tuple[Any, str]:
    """A manifest or an index that may be pushed, and its media type; in half of them something is changed."""
    docker, index = draw(st.booleans()), draw(st.integers(0, 3)) == 3
    document: dict[str, Any] = {"schemaVersion": 2}
    if index:
        media_type = DOCKER_LIST if docker else INDEX
        document["manifests"] = [
            _descriptor(MANIFEST, "manifest", 700) for _ in range(draw(st.integers(0, 2)))
        ]
    else:
        media_type = DOCKER_MANIFEST if docker else MANIFEST
        document["config"] = _descriptor(CONFIG, "config", 80)
        document["layers"] = [_descriptor(LAYER, f"layer{i}", 300) for i in range(draw(st.integers(0, 3)))]
    if draw(st.booleans()):
        document["mediaType"] = media_type
    if draw(st.integers(0, 3)) == 3:
        document["subject"] = _descriptor(
            MANIFEST, draw(st.sampled_from(("manifest", "index", "layer0"))), 700
        )
    if draw(st.integers(0, 2)) == 2:
        document["annotations"] = draw(
            st.dictionaries(
                st.text(max_size=8),
                st.text(max_size=12) | st.sampled_from(("\0", "\ud800", "<b>")),
                max_size=3,
            )
        )
    if draw(st.integers(0, 4)) == 4:
        document["artifactType"] = draw(st.sampled_from(("application/x.0", *MEDIA_TYPES)))
    for _ in range(draw(st.sampled_from((0, 0, 0, 1, 1, 2)))):
        _change(draw, document)
    return document, media_type


def _change(draw: Draw, document: dict[str, Any]) -> None:
    """Put something else into one place."""
    node: Any = document
    for _ in range(draw(st.integers(0, 3))):
        inner = [
            v for v in (node.values() if isinstance(node, dict) else node) if isinstance(v, dict | list) and v
        ]
        if not inner:
            break
        node = inner[draw(st.integers(0, len(inner) - 1))]
    new = draw(_wild)
    if isinstance(node, list):
        node[draw(st.integers(0, len(node) - 1))] = new
    elif draw(st.integers(0, 4)) == 4 and node:
        del node[draw(st.sampled_from(sorted(node)))]
    else:
        node[draw(st.sampled_from((*_KEYS, *(k for k in node if k not in _KEYS))))] = new


BROKEN = (
    b"", b"\0", b"null", b"[]", b"{", b"{}", b'"x"', b"\xff\xfe{}", b"\xef\xbb\xbf{}", b"[" * 100000,
    b'{"a":' * 70 + b"1" + b"}" * 70, b'{"schemaVersion":2,"schemaVersion":2}', b'{"schemaVersion":NaN}',
    b'{"schemaVersion":1e999}', b'{"schemaVersion":' + b"9" * 5000 + b"}",
    b'{"schemaVersion":2,"config":{},"layers":[' + b"{}," * 2000 + b"{}]}", b" " * 100000, b'{"\\ud800":1}',
)  # fmt: skip


@st.composite
def manifest_pushes(draw: Draw) -> Ask:
    if draw(st.integers(0, 9)) == 9:
        body, media_type = draw(st.sampled_from(BROKEN)), draw(st.sampled_from(MEDIA_TYPES[:4]))
    else:
        document, media_type = draw(documents())
        body = json.dumps(document, ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")
    if draw(st.integers(0, 9)) == 9:
        media_type = draw(st.sampled_from(MEDIA_TYPES))
    name = draw(writable)
    route, last = draw(st.sampled_from((
        ("put by tag", good_tags), ("put by digest", st.just(b"<<own>>")),
        ("put by digest", st.just(b"<<own512>>")), ("put by digest", good_digests),
    )))  # fmt: skip
    target = draw(targets(b"/v2/%s/manifests/%s" % (name, draw(last))))
    if draw(st.integers(0, 4)) == 4:
        many = draw(st.sampled_from((1, 2, 16, 17, 64, 65)))
        sign = b"&" if b"?" in target else b"?"
        target += sign + b"&".join(b"tag=%s%d" % (draw(good_tags), i) for i in range(many))
    kind = () if media_type == "" else ((b"Content-Type", media_type.encode("utf-8")),)
    headers = draw(credentials()) + kind + draw(extra_headers((b"Content-Encoding", b"Content-Type")))
    return Ask(
        route, b"PUT", target, headers, body, draw(st.sampled_from((0, 0, 0, 0, 1, 3))), draw(trailers)
    )


trailers = st.sampled_from(
    (
        b"",
        b"",
        b"",
        b"X-Trailer: 1\r\n",
        b"Content-Length: 5\r\n",
        b"Authorization: x\r\nX-Request-Id: t\r\n",
        b"A: \0\r\n",
    )
)

# -- uploads

UPLOADS = (
    *[b"<<session%d>>" % i for i in range(4)] * 20, b"00000000-0000-0000-0000-000000000000", b"x", b"..",
    b"%00", b"{00000000-0000-0000-0000-000000000000}", b"urn:uuid:00000000-0000-0000-0000-000000000000",
    b"0" * 32, b"0" * 31 + b"_", "\uff11".encode() * 32, b"x" * 3000, b"<<session0>>/x",
)  # fmt: skip
BODIES = (b"", b"0123456789", b"x" * 300, b"\x1f\x8b\x08" + b"\0" * 30, b"x" * 70000)


@st.composite
def uploads(draw: Draw) -> Ask:
    # All sessions are begun in w0; the others are somebody else's repositories to them.
    name = draw(st.sampled_from((b"<<project>>/w0",) * 80 + (b"<<project>>/w1",) + REPOSITORIES))
    route, method = draw(st.sampled_from((
        ("start", b"POST"), ("start", b"POST"), ("mount", b"POST"), ("append", b"PATCH"), ("append", b"PATCH"),
        ("finish", b"PUT"), ("status", b"GET"),
        ("cancel", b"DELETE"),
    )))  # fmt: skip
    body = draw(st.sampled_from(BODIES))
    if route in ("start", "mount"):
        known = (
            (b"mount", b"from") if route == "mount" else (b"digest", b"digest-algorithm", b"mount", b"from")
        )
        target = draw(targets(b"/v2/%s/blobs/uploads/" % name, known))
    else:
        path = b"/v2/%s/blobs/uploads/%s" % (name, draw(st.sampled_from(UPLOADS)))
        target = draw(targets(path, (b"digest",) if route == "finish" else ()))
        if route == "finish" and draw(st.booleans()):
            target = path + b"?digest=<<body>>"
    if draw(st.integers(0, 19)) == 19:
        method = draw(st.sampled_from(METHODS))
    headers = draw(credentials()) + draw(
        extra_headers((b"Content-Range",) if route in ("append", "finish") else ())
    )
    chunks = draw(st.sampled_from((0, 0, 0, 0, 1, 5)))
    return Ask(route, method, target, headers, body, chunks, draw(trailers) if chunks else b"")
