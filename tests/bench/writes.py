"""The rows that write. What was pushed is read back, a sample of it, before the row counts."""

from __future__ import annotations

import functools
import hashlib
import json
import secrets
from collections.abc import Sequence

from tests.bench.pushers import (
    TAIL,
    Client,
    Content,
    Job,
    Large,
    Mass,
    Refused,
    Small,
    new_name,
    push_blob,
    run,
)
from tests.bench.registries import PROJECT, Registry
from tests.bench.rows import Bench, Goal, Measure, RowFailed, row

KIB, MIB = 1 << 10, 1 << 20
AT_ONCE = 8
IMAGES_AT_ONCE = 16
LAYERS = 10
SAMPLE = 5
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_TYPE = f"Content-Type: {MANIFEST}\r\n"
_ACCEPT = f"Accept: {MANIFEST}\r\n"

Expected = tuple[str, str]  # a path below /v2/, and the digest of what it leads to


def _measured(registry: Registry, token: str, clients: Sequence[Sequence[Job]]) -> Measure:
    """Everything that was asked for was done, or the row fails."""
    with registry.measured() as used:
        load = run(registry.url, token, clients)
    if load.refused:
        raise RowFailed(
            f"{registry.name}: {load.refused.total()} refused, such as {next(iter(load.refused))}"
        )
    notes = {"p50_ms": load.percentile(50) * 1000, "p99_ms": load.percentile(99) * 1000}
    return Measure(load.operations, load.seconds, used.cpu, load.cpu, notes=notes)


def _done(registry: Registry, token: str, clients: Sequence[Sequence[Job]]) -> None:
    """Preparation that no row counts."""
    load = run(registry.url, token, clients)
    if load.refused:
        raise RowFailed(f"{registry.name}, preparing: {next(iter(load.refused))}")


def _check(registry: Registry, token: str, expected: Sequence[Expected]) -> None:
    """A sample comes back to the byte."""
    client = Client(registry.url, token)
    step = max(len(expected) // SAMPLE, 1)
    for path, digest in expected[::step]:
        answer = client.request("GET", f"/v2/{path}", headers=_ACCEPT)
        if answer.status != 200 or f"sha256:{hashlib.sha256(answer.body).hexdigest()}" != digest:
            raise RowFailed(
                f"{registry.name}: {path} was pushed and reads {answer.status}, {len(answer.body)} bytes"
            )
    client.close()


def _dealt(jobs: Sequence[Job], clients: int) -> list[Sequence[Job]]:
    return [jobs[number::clients] for number in range(clients)]


def _repository(kind: str) -> str:
    return f"{PROJECT}/{new_name(kind)}"


def _small(size: int = 4 * KIB) -> Small:
    return Small(secrets.token_bytes(size))


# -- blobs


def _push_blobs(registry: Registry, blobs: Sequence[Content], at_once: int, chunk: int = 0) -> Measure:
    repository = _repository("blobs")
    token = registry.token(repository)
    jobs = [functools.partial(push_blob, repository=repository, content=blob, chunk=chunk) for blob in blobs]
    measure = _measured(registry, token, _dealt(jobs, at_once))
    _check(registry, token, [(f"{repository}/blobs/{blob.digest}", blob.digest) for blob in blobs])
    return measure


@row("push_4k", "blob push 4 KB, 8 at once", group="write", goal=Goal(dreg=4))
def push_4k(bench: Bench, registry: Registry) -> Measure:
    return _push_blobs(registry, [_small() for _ in range(int(240 * bench.seconds))], AT_ONCE)


@functools.cache
def _mass(size: int) -> Mass:
    return Mass(size - TAIL)


def _push_large(registry: Registry, count: int, at_once: int, chunk: int = 0) -> Measure:
    return _push_blobs(registry, [Large(_mass(256 * MIB)) for _ in range(count)], at_once, chunk)


@row("push_256m", "blob push 256 MB, one PATCH", group="write", goal=Goal(dreg=1.8, v3=1))
def push_256m(bench: Bench, registry: Registry) -> Measure:
    return _push_large(registry, 2, 1)


@row("push_256m_4", "blob push 256 MB, one PATCH, 4 at once", group="write", goal=Goal(dreg=1.2))
def push_256m_4(bench: Bench, registry: Registry) -> Measure:
    return _push_large(registry, 4, 4)


@row("push_256m_chunks", "blob push 256 MB, 16 chunks", group="write")
def push_256m_chunks(bench: Bench, registry: Registry) -> Measure:
    return _push_large(registry, 2, 1, 16 * MIB)


@row("push_256m_chunks_4", "blob push 256 MB, 16 chunks, 4 at once", group="write")
def push_256m_chunks_4(bench: Bench, registry: Registry) -> Measure:
    return _push_large(registry, 4, 4, 16 * MIB)


@row("mount", "mount from another repository, 8 at once", group="write", goal=Goal(dreg=2))
def mount(bench: Bench, registry: Registry) -> Measure:
    source, target = _repository("source"), _repository("target")
    blobs = [_small() for _ in range(int(240 * bench.seconds))]
    token = registry.token(source)
    pushing = [functools.partial(push_blob, repository=source, content=blob) for blob in blobs]
    _done(registry, token, _dealt(pushing, AT_ONCE))
    token = registry.token(source, target)
    jobs: list[Job] = [
        functools.partial(_mount, place=f"/v2/{target}/blobs/uploads/?mount={blob.digest}&from={source}")
        for blob in blobs
    ]
    measure = _measured(registry, token, _dealt(jobs, AT_ONCE))
    _check(registry, token, [(f"{target}/blobs/{blob.digest}", blob.digest) for blob in blobs])
    return measure


def _mount(client: Client, place: str) -> None:
    client.expect(201, "POST", place)


# -- manifests and images


class Image:
    """Layers, a config, and a manifest that names them."""

    def __init__(self, layers: Sequence[Content], **annotations: str) -> None:
        self.layers = layers
        self.config = Small(
            _json({"architecture": "amd64", "os": "linux", "created_by": secrets.token_hex(8)})
        )
        document = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": _descriptor(self.config, "application/vnd.oci.image.config.v1+json"),
            "layers": [_descriptor(layer, "application/vnd.oci.image.layer.v1.tar+gzip") for layer in layers],
        }
        self.manifest = Small(_json({**document, "annotations": annotations} if annotations else document))

    @property
    def blobs(self) -> list[Content]:
        return [*self.layers, self.config]


def _json(document: object) -> bytes:
    return json.dumps(document).encode()


def _descriptor(content: Content, media_type: str) -> dict[str, object]:
    return {"mediaType": media_type, "size": content.size, "digest": content.digest}


def _put(client: Client, repository: str, tag: str, manifest: Small) -> None:
    client.expect(201, "PUT", f"/v2/{repository}/manifests/{tag}", manifest, headers=_TYPE)


def _push_image(client: Client, repository: str, tag: str, image: Image, expected: int) -> None:
    """As docker does: asks for each blob, sends those that are not there, then the manifest."""
    for blob in image.blobs:
        answer = client.request("HEAD", f"/v2/{repository}/blobs/{blob.digest}")
        if answer.status != expected:
            raise Refused(f"{answer.status} to HEAD of a blob, not {expected}")
        if expected == 404:
            push_blob(client, repository, blob)
    _put(client, repository, tag, image.manifest)


@row("manifest_put", "manifest PUT with a new tag, 8 at once", group="write", goal=Goal(dreg=2))
def manifest_put(bench: Bench, registry: Registry) -> Measure:
    """New manifests over blobs that are there: what a build leaves whose layers did not change."""
    repository = _repository("manifests")
    token = registry.token(repository)
    image = Image([_small() for _ in range(3)])
    _done(
        registry,
        token,
        [[functools.partial(push_blob, repository=repository, content=b) for b in image.blobs]],
    )
    _done(
        registry,
        token,
        [[functools.partial(_put, repository=repository, tag="base", manifest=image.manifest)]],
    )
    documents = []
    for number in range(int(240 * bench.seconds)):
        document = {**json.loads(image.manifest.data), "annotations": {"number": str(number)}}
        documents.append((f"t{number}", Small(_json(document))))
    jobs: list[Job] = [
        functools.partial(_put, repository=repository, tag=tag, manifest=manifest)
        for tag, manifest in documents
    ]
    measure = _measured(registry, token, _dealt(jobs, AT_ONCE))
    _check(registry, token, [(f"{repository}/manifests/{tag}", m.digest) for tag, m in documents])
    return measure


def _images(count: int) -> list[tuple[str, str, Image]]:
    """Repository, tag and image; every client has a repository of its own."""
    repositories = [_repository("image") for _ in range(IMAGES_AT_ONCE)]
    mass = _mass(MIB)
    return [
        (repositories[number % IMAGES_AT_ONCE], f"t{number}", Image([Large(mass) for _ in range(LAYERS)]))
        for number in range(count)
    ]


def _pushing(images: Sequence[tuple[str, str, Image]], expected: int) -> list[Job]:
    return [
        functools.partial(_push_image, repository=repository, tag=tag, image=image, expected=expected)
        for repository, tag, image in images
    ]


def _check_images(registry: Registry, token: str, images: Sequence[tuple[str, str, Image]]) -> None:
    _check(registry, token, [(f"{r}/manifests/{tag}", image.manifest.digest) for r, tag, image in images])
    _check(
        registry, token, [(f"{r}/blobs/{b.digest}", b.digest) for r, _, image in images for b in image.blobs]
    )


@row("image_push", "whole image, 10 layers of 1 MB, 16 at once", group="write", goal=Goal(dreg=3))
def image_push(bench: Bench, registry: Registry) -> Measure:
    images = _images(IMAGES_AT_ONCE * 2)
    token = registry.token(*{repository for repository, _, _ in images})
    measure = _measured(registry, token, _dealt(_pushing(images, 404), IMAGES_AT_ONCE))
    _check_images(registry, token, images)
    return measure


@row("image_push_again", "the same image again, 16 at once", group="write", goal=Goal(dreg=4))
def image_push_again(bench: Bench, registry: Registry) -> Measure:
    images = _images(IMAGES_AT_ONCE)
    token = registry.token(*{repository for repository, _, _ in images})
    _done(registry, token, _dealt(_pushing(images, 404), IMAGES_AT_ONCE))
    again = images * max(int(4 * bench.seconds), 1)
    measure = _measured(registry, token, _dealt(_pushing(again, 200), IMAGES_AT_ONCE))
    _check_images(registry, token, images)
    return measure
