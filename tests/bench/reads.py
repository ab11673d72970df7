"""The rows that read what stored.py has put there: warm, that is, asked for shortly before."""

from __future__ import annotations

import functools
import json
import os
import re
import time
from collections.abc import Callable, Iterable

from tests.bench import generator
from tests.bench.generator import ACCEPT, Request
from tests.bench.registries import Registry
from tests.bench.rows import Bench, Goal, Measure, RowFailed, row
from tests.bench.stored import LONG, LONG_TAGS, REFERRED, REFERRERS, TAGGED, Stored, subject, tagged
from tests.bench.writer import Writer
from tests.content import digest_of

WARM_UP = 0.5
# Of ten thousand tags each process of ours, one a core, then knows nearly all.
PASSES = 2 * (os.cpu_count() or 1)
MANIFEST = Goal(dreg=18, v3=7)
HEAD = Goal(dreg=15, v3=6)


# Manifests


def manifest_request(registry: Registry, one: Stored, method: str, *, by_tag: bool) -> Request:
    reference = one.tag if by_tag else one.digest
    path = f"/v2/{one.repository}/manifests/{reference}"
    return Request(method, path, registry.authorization(one.repository), digest=one.digest, accept=ACCEPT)


def _manifests(bench: Bench, registry: Registry, method: str, *, by_tag: bool) -> Measure:
    requests = (manifest_request(registry, one, method, by_tag=by_tag) for one in tagged())
    return warm(bench, registry, requests, passes=PASSES if registry is bench.ours else 0)


def warm(
    bench: Bench,
    registry: Registry,
    requests: Iterable[Request],
    *,
    connections: int = 64,
    check_every: int = 1,
    passes: int = 0,
) -> Measure:
    """So often each of them, and a while, to get warm; then the measurement. Every answer must be as expected."""
    file = generator.write(registry.directory / "requests" / "warm", registry.host, requests)
    for seconds in (*[0.0] * passes, WARM_UP):
        generator.run(
            file, registry.entry, seconds=seconds, connections=connections, check_every=check_every
        ).check()
    return generator.measure(
        registry, file, seconds=bench.seconds, connections=connections, check_every=check_every
    )


@row("manifest_get_tag", "manifest GET by tag", group="read", goal=MANIFEST)
def manifest_get_tag(bench: Bench, registry: Registry) -> Measure:
    return _manifests(bench, registry, "GET", by_tag=True)


@row("manifest_get_tag_logs", "manifest GET by tag, peers with their logs", group="read")
def manifest_get_tag_logs(bench: Bench, registry: Registry) -> Measure:
    with registry.logging():
        return _manifests(bench, registry, "GET", by_tag=True)


@row("manifest_get_digest", "manifest GET by digest", group="read", goal=MANIFEST)
def manifest_get_digest(bench: Bench, registry: Registry) -> Measure:
    return _manifests(bench, registry, "GET", by_tag=False)


@row("manifest_head_tag", "manifest HEAD by tag", group="read", goal=HEAD)
def manifest_head_tag(bench: Bench, registry: Registry) -> Measure:
    return _manifests(bench, registry, "HEAD", by_tag=True)


@row("manifest_head_digest", "manifest HEAD by digest", group="read", goal=HEAD)
def manifest_head_digest(bench: Bench, registry: Registry) -> Measure:
    return _manifests(bench, registry, "HEAD", by_tag=False)


@row("miss", "a miss (404)", group="read", goal=Goal(dreg=5))
def miss(bench: Bench, registry: Registry) -> Measure:
    requests = (
        Request("GET", f"/v2/{name}/manifests/absent{i}", registry.authorization(name), 404, accept=ACCEPT)
        for i in range(10)
        for name in TAGGED
    )
    return warm(bench, registry, requests)


# Lists


def walk(registry: Registry, first: str, authorization: str, key: str) -> tuple[list[str], list[str]]:
    """The paths of all pages, by their Link headers, and what they list."""
    connection, path = registry.connect(), first
    paths: list[str] = []
    found: list[str] = []
    while path:
        connection.request("GET", path, headers={"Authorization": authorization})
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise RowFailed(f"GET {path}: {answer.status} {body[:300]!r}")
        paths.append(path)
        found += json.loads(body)[key] or []
        link = re.match(r"<([^>]+)>", answer.getheader("Link") or "")
        path = link[1].removeprefix(registry.url) if link else ""
    connection.close()
    return paths, found


def tag_pages(registry: Registry) -> list[str]:
    paths, found = walk(registry, f"/v2/{LONG}/tags/list?n=100", registry.authorization(LONG), "tags")
    if sorted(found) != LONG_TAGS:  # docker-registry lists them in no order
        raise RowFailed(f"{len(found)} tags are listed, {len(set(found) ^ set(LONG_TAGS))} of them wrong")
    return paths


def catalog_pages(registry: Registry) -> list[str]:
    paths, found = walk(registry, "/v2/_catalog?n=100", registry.catalog_authorization(), "repositories")
    if len(found) < 2000 or found != sorted(set(found)):
        raise RowFailed(f"{len(found)} repositories are listed")
    return paths


def _lists(bench: Bench, registry: Registry, paths: list[str], authorization: str) -> Measure:
    return warm(bench, registry, (Request("GET", path, authorization) for path in paths), connections=16)


def _walks(measure: Measure, pages: int) -> Measure:
    """An operation is a whole walk."""
    return Measure(
        measure.operations / pages, measure.seconds, measure.cpu, measure.generator_cpu, notes=measure.notes
    )


@row("tags_page", "tags/list, n=100 of 10,000", group="read", goal=Goal(dreg=50))
def tags_page(bench: Bench, registry: Registry) -> Measure:
    return _lists(bench, registry, tag_pages(registry)[:1], registry.authorization(LONG))


@row("tags_walk", "tags/list, all 10,000 by 100", group="read")
def tags_walk(bench: Bench, registry: Registry) -> Measure:
    paths = tag_pages(registry)
    return _walks(_lists(bench, registry, paths, registry.authorization(LONG)), len(paths))


@row("catalog_page", "catalog, n=100 of 2,000", group="read", goal=Goal(dreg=50, v3=8))
def catalog_page(bench: Bench, registry: Registry) -> Measure:
    return _lists(bench, registry, catalog_pages(registry)[:1], registry.catalog_authorization())


@row("catalog_walk", "catalog, all 2,000 by 100", group="read")
def catalog_walk(bench: Bench, registry: Registry) -> Measure:
    paths = catalog_pages(registry)
    return _walks(_lists(bench, registry, paths, registry.catalog_authorization()), len(paths))


@row("referrers", "referrers, 100", group="read", goal=Goal(cpu_ms=0.3))
def referrers(bench: Bench, registry: Registry) -> Measure | None:
    if not registry.has_referrers:
        return None
    path = f"/v2/{REFERRED}/referrers/{digest_of(subject())}"
    authorization = registry.authorization(REFERRED)
    _, found = walk(registry, path, authorization, "manifests")
    if len(found) != REFERRERS:
        raise RowFailed(f"{len(found)} referrers are listed")
    return _lists(bench, registry, [path], authorization)


# Beside a writer: the last of the warm rows, since for a while nothing is settled after it.


@row("manifest_get_tag_writer", "manifest GET by tag, a writer moving tags", group="read")
def manifest_get_tag_writer(bench: Bench, registry: Registry) -> Measure:
    with Writer(registry) as writer:
        measure = _manifests(bench, registry, "GET", by_tag=True)
    if writer.stale or writer.reads == 0:
        raise RowFailed(
            f"{writer.stale} of {writer.reads} reads after a 201 gave an old digest {writer.trouble}"
        )
    notes = {**measure.notes, "moves": writer.moves, "reads_after_201": writer.reads}
    return Measure(measure.operations, measure.seconds, measure.cpu, measure.generator_cpu, notes=notes)


# Cold: the processes that answer are new, and no request repeats a token, a tag or a digest.

COLD = 3000
COLD_LISTS = 400


@functools.cache
def fresh_tokens(registry: Registry) -> list[str]:
    return registry.new_tokens([one.repository for one in tagged()[:COLD]])


@functools.cache
def fresh_list_tokens(registry: Registry) -> list[str]:
    return registry.new_tokens([LONG] * COLD_LISTS)


def _cold(registry: Registry, requests: Iterable[Request], connections: int = 64) -> Measure:
    file = generator.write(registry.directory / "requests" / "cold", registry.host, requests)
    registry.forget()
    return generator.measure(registry, file, connections=connections)


def _cold_manifests(registry: Registry, reference: Callable[[Stored], str]) -> Measure:
    return _cold(
        registry,
        [
            Request(
                "GET",
                f"/v2/{one.repository}/manifests/{reference(one)}",
                f"Bearer {token}",
                digest=one.digest,
                accept=ACCEPT,
            )
            for one, token in zip(tagged()[:COLD], fresh_tokens(registry), strict=True)
        ],
    )


@row("cold_manifest_get_tag", "cold: manifest GET by tag", group="cold", goal=Goal(dreg=3))
def cold_manifest_get_tag(bench: Bench, registry: Registry) -> Measure:
    return _cold_manifests(registry, lambda one: one.tag)


@row("cold_manifest_get_digest", "cold: manifest GET by digest", group="cold", goal=Goal(dreg=3))
def cold_manifest_get_digest(bench: Bench, registry: Registry) -> Measure:
    return _cold_manifests(registry, lambda one: one.digest)


@row("cold_tags_page", "cold: tags/list, n=100 of 10,000", group="cold", goal=Goal(dreg=15))
def cold_tags_page(bench: Bench, registry: Registry) -> Measure:
    """Every request another page."""
    starts = LONG_TAGS[: COLD_LISTS * 20 : 20]
    requests = [
        Request("GET", f"/v2/{LONG}/tags/list?n=100&last={start}", f"Bearer {token}")
        for start, token in zip(starts, fresh_list_tokens(registry), strict=True)
    ]
    return _cold(registry, requests, connections=16)


# What is left


@row("first_answer", "start to the first answer, loaded", group="cold", unit="s", goal=Goal(most=5), rounds=1)
def first_answer(bench: Bench, registry: Registry) -> Measure:
    one = tagged()[0]
    file = generator.write(
        registry.directory / "requests" / "first",
        registry.host,
        [manifest_request(registry, one, "GET", by_tag=True)],
    )
    registry.stop()
    began = time.monotonic()
    registry.start()
    generator.run(file, registry.port, connections=1, processes=1).check()
    return Measure(value=time.monotonic() - began)
