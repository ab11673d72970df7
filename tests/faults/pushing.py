"""Clients that push for as long as it takes, and keep a record of what they were told."""

from __future__ import annotations

import collections
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import httpx

from tests.content import digest_of, encode, image_document, new_bytes
from tests.server import Image, Repository, new_image

PATIENCE = 90.0  # seconds for one request, its retries included


class GaveUp(Exception):
    """A client that does not try again: nobody told it whether its push got through."""


@dataclass
class Record:
    """Of all clients of a run. Keys are (repository, tag) and (repository, digest)."""

    sent: dict[str, Image] = field(default_factory=dict)
    tags: dict[tuple[str, str], str] = field(default_factory=dict)
    blobs: dict[tuple[str, str], bytes] = field(default_factory=dict)
    abandoned: set[tuple[str, str]] = field(default_factory=set)
    deleted: dict[tuple[str, str], Image] = field(default_factory=dict)
    statuses: collections.Counter[int] = field(default_factory=collections.Counter)
    broken: collections.Counter[str] = field(default_factory=collections.Counter)
    pushed: int = 0
    failed: int = 0
    changed: threading.Condition = field(default_factory=threading.Condition)

    def has_failed(self) -> None:
        with self.changed:
            self.failed += 1
            self.changed.notify_all()

    def has_pushed(self) -> None:
        with self.changed:
            self.pushed += 1
            self.changed.notify_all()


@dataclass
class Client:
    """One docker that pushes image after image to a repository of its own, and deletes some of the old ones."""

    repository: Repository
    record: Record
    base: bytes  # the layer that all clients share
    chance: random.Random
    kept: list[tuple[str, Image]] = field(default_factory=list)

    def push_all(self, count: int) -> None:
        try:
            for number in range(count):
                self.push(number, patient=number % 10 != 7)
        except BaseException:
            self.record.has_failed()
            raise

    def push(self, number: int, *, patient: bool) -> None:
        image, tag = self._new_image(), f"t{number}"
        self.record.sent[image.digest] = image
        try:
            for blob in image.blobs:
                self._push_blob(blob, patient=patient)
            self._push_manifest(image, tag, patient=patient)
            self.kept.append((tag, image))
            if number % 5 == 0:
                self._push_manifest(image, "latest", patient=True)
            elif number % 5 == 4:
                self._delete(*self.kept.pop(0))
        except GaveUp:
            self.record.abandoned.add((self.repository.name, tag))
        self.record.has_pushed()

    def _new_image(self) -> Image:
        own = new_image(1, self.chance.randrange(1000, 300_000))
        layers = [self.base, *own.layers]
        return Image(encode(image_document(own.config, layers)), own.config, layers)

    def _push_blob(self, data: bytes, *, patient: bool) -> None:
        """As docker does: asked for first, then sent in one PATCH, and from the beginning when anything breaks."""
        digest = digest_of(data)

        def attempt() -> bool:
            if self._ask("HEAD", f"blobs/{digest}", 200, 404) == 200:
                return True
            answer = self.repository.post("blobs/uploads/")
            if self._told(answer, 202) != 202:
                return False
            where = answer.headers["Location"]
            if self._told(self.repository.client.patch(where, content=data), 202) != 202:
                return False
            put = self.repository.client.put(where, params={"digest": digest})
            return self._told(put, 201) == 201

        self._until(attempt, patient=patient)
        self.record.blobs[self.repository.name, digest] = data

    def _push_manifest(self, image: Image, tag: str, *, patient: bool) -> None:
        def attempt() -> bool:
            return self._told(self.repository.put_manifest(image.payload, tag), 201) == 201

        self._until(attempt, patient=patient)
        self.record.tags[self.repository.name, tag] = image.digest

    def _delete(self, tag: str, image: Image) -> None:
        """All its tags with it; absent, when an answer that never came had said so already."""
        names = [
            name
            for name in (tag, "latest")
            if self.record.tags.get((self.repository.name, name)) == image.digest
        ]
        self._until(lambda: bool(self._ask("DELETE", f"manifests/{image.digest}", 202, 404)), patient=True)
        for name in names:
            del self.record.tags[self.repository.name, name]
        self.record.deleted[self.repository.name, image.digest] = image

    def _ask(self, method: str, path: str, *expected: int) -> int:
        return self._told(self.repository.request(method, path), *expected)

    def _told(self, answer: httpx.Response, *expected: int) -> int:
        """The status, 0 for "try again". Nothing else is an answer on a bad day."""
        self.record.statuses[answer.status_code] += 1
        if answer.status_code == 503:
            assert int(answer.headers["Retry-After"]) >= 1
            # HEAD has no body to say it in.
            assert answer.request.method == "HEAD" or answer.json()["errors"][0]["message"]
            return 0
        assert answer.status_code in expected, (
            f"{answer.request.method} {answer.url}: {answer.status_code} {answer.text}"
        )
        return answer.status_code

    def _until(self, attempt: Callable[[], bool], *, patient: bool) -> None:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                if attempt():
                    return
            except httpx.TransportError as e:
                self.record.broken[type(e).__name__] += 1
            if not patient:
                raise GaveUp
            assert time.monotonic() < deadline, "the registry does not come back"
            time.sleep(self.chance.uniform(0.05, 0.2))


def shared_layer() -> bytes:
    return new_bytes(50_000)
