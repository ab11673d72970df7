"""What the rows read: put into each registry through its API, the same bytes in each.

bench/blobs            256 blobs of 4 KiB, 16 of 1 MiB, one of 256 MiB, and the parts of the images
bench/r000 … r099      100 tags each, every tag another image
bench/long             10,000 tags
bench/c0000 … c1899    one tag each, for the catalogue
bench/referred         an image with 100 referrers, where the registry has them
"""

from __future__ import annotations

import concurrent.futures
import functools
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tests.bench import generator
from tests.bench.generator import Request
from tests.bench.progress import say
from tests.bench.registries import PROJECT, Registry
from tests.bench.rows import RowFailed
from tests.content import MANIFEST, descriptor, digest_of, encode, image_document

VERSION = "2"  # of what is stored; a kept store of another one is not used
BLOBS = f"{PROJECT}/blobs"
TAGGED = [f"{PROJECT}/r{i:03}" for i in range(100)]
TAGS = [f"t{i:03}" for i in range(100)]
LONG = f"{PROJECT}/long"
LONG_TAGS = [f"v{i:05}" for i in range(10_000)]
CATALOG = [f"{PROJECT}/c{i:04}" for i in range(1900)]
REFERRED = f"{PROJECT}/referred"
REFERRERS = 100
TOGETHER = 20  # repositories that share a token while they are filled


def blob(kind: str, number: int, size: int) -> bytes:
    source, piece = random.Random(f"{kind} {number}"), min(size, 1 << 20)
    return b"".join(source.randbytes(piece) for _ in range(size // piece))


PARTS = [blob("part", i, 1 << 10) for i in range(3)]  # a config and two layers


KINDS = [
    *(("part", i, 1 << 10) for i in range(3)),
    *(("small", i, 4 << 10) for i in range(256)),
    *(("medium", i, 1 << 20) for i in range(16)),
    ("large", 0, 256 << 20),
]


@functools.cache
def small() -> list[str]:
    return [digest_of(blob("small", i, 4 << 10)) for i in range(256)]


@functools.cache
def medium() -> list[str]:
    return [digest_of(blob("medium", i, 1 << 20)) for i in range(16)]


@functools.cache
def large() -> str:
    return digest_of(blob("large", 0, 256 << 20))


@dataclass(frozen=True)
class Stored:
    """One tag and what it names."""

    repository: str
    tag: str
    payload: bytes

    @property
    def digest(self) -> str:
        return digest_of(self.payload)


def image(title: str, **more: Any) -> bytes:
    return encode(image_document(PARTS[0], PARTS[1:], annotations={"org.bench.title": title}, **more))


@functools.cache
def tagged() -> list[Stored]:
    """10,000 tags; neighbours are in different repositories."""
    return [Stored(name, tag, image(f"{name}:{tag}")) for tag in TAGS for name in TAGGED]


def subject() -> bytes:
    return image("subject")


def referrers() -> Iterator[bytes]:
    of = descriptor(MANIFEST, subject())
    for i in range(REFERRERS):
        yield image(f"referrer {i}", subject=of, artifactType="application/vnd.bench.note")


# Loading


def ensure_stored(registry: Registry) -> None:
    """Load it, unless that was done already."""
    mark = registry.directory / "stored"
    if mark.exists() and mark.read_text() == VERSION:
        return
    say(f"loading {registry.name}")
    _push_blobs(registry)
    holder = Request(
        "PUT",
        f"/v2/{BLOBS}/manifests/all",
        registry.authorization(BLOBS),
        201,
        content_type=MANIFEST,
        body=encode(image_document(PARTS[0], [blob(*kind) for kind in KINDS])),
    )
    _send(registry, [holder])
    repositories = [*TAGGED, LONG, REFERRED, *CATALOG]
    tokens = _tokens(registry, repositories)
    _send(registry, _mounts(tokens, repositories))
    _send(registry, _manifests(registry, tokens))
    mark.write_text(VERSION)
    registry.changed_at = time.monotonic()


def _tokens(registry: Registry, repositories: Sequence[str]) -> dict[str, str]:
    """A token for every few repositories; each may also be mounted to from BLOBS."""
    groups = [repositories[i : i + TOGETHER] for i in range(0, len(repositories), TOGETHER)]
    return {name: registry.authorization(*group, BLOBS) for group in groups for name in group}


def _mounts(tokens: dict[str, str], repositories: Sequence[str]) -> Iterator[Request]:
    for part in PARTS:
        for name in repositories:
            path = f"/v2/{name}/blobs/uploads/?mount={digest_of(part)}&from={BLOBS}"
            yield Request("POST", path, tokens[name], 201)


def _manifests(registry: Registry, tokens: dict[str, str]) -> list[Request]:
    def put(name: str, reference: str, payload: bytes) -> Request:
        return Request("PUT", f"/v2/{name}/manifests/{reference}", tokens[name], 201, "", MANIFEST, payload)

    some = [image(f"long {i}") for i in range(100)]
    requests = [put(one.repository, one.tag, one.payload) for one in tagged()]
    requests += [put(LONG, tag, some[i % 100]) for i, tag in enumerate(LONG_TAGS)]
    requests += [put(name, "latest", image(name)) for name in CATALOG]
    random.Random(0).shuffle(requests)  # no repository has all connections at once
    if registry.has_referrers:
        requests.append(put(REFERRED, "latest", subject()))
        requests += [put(REFERRED, digest_of(payload), payload) for payload in referrers()]
    return requests


def _send(registry: Registry, requests: Iterator[Request] | list[Request]) -> None:
    file = generator.write(registry.directory / "requests" / "load", registry.host, requests)
    generator.run(file, registry.port, connections=16).check()


def _push_blobs(registry: Registry) -> None:
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for _ in pool.map(lambda kind: push_blob(registry, BLOBS, blob(*kind)), KINDS):
            pass


def push_blob(registry: Registry, name: str, data: bytes) -> None:
    """POST, PATCH, PUT: what every registry takes."""
    headers = {"Authorization": registry.authorization(name), "Content-Type": "application/octet-stream"}
    connection = registry.connect()
    location = f"/v2/{name}/blobs/uploads/"
    for method, body, status in (("POST", b"", 202), ("PATCH", data, 202), ("PUT", b"", 201)):
        if method == "PUT":
            location += f"{'&' if '?' in location else '?'}digest={digest_of(data)}"
        connection.request(method, location.removeprefix(registry.url), body=body, headers=headers)
        answer = connection.getresponse()
        said = answer.read()
        if answer.status != status:
            raise RowFailed(f"{method} {location}: {answer.status} {said[:300]!r}")
        location = answer.getheader("Location", "")
    connection.close()
