"""Clients that push and pull all the time and try again as docker does, and a record of every answer that they got."""

from __future__ import annotations

import collections
import threading
import time
from dataclasses import dataclass, field
from typing import Self

import httpx

from tests.components.breakwater import Breakwater, Credentials
from tests.content import MANIFEST, digest_of
from tests.server import Image, new_image

LONGEST = 9.0  # seconds that any answer may take; what hangs does so for longer
# What a client may be told that is no success: come back later, or sign in again.
_LATER = (429, 503)


@dataclass
class Load:
    """`faults` are answers that no client should get. `pushed` are acknowledged images by repository and tag."""

    registry: Breakwater
    project: str
    who: Credentials
    answers: collections.Counter[int] = field(default_factory=collections.Counter)
    broken: collections.Counter[str] = field(default_factory=collections.Counter)
    faults: list[str] = field(default_factory=list)
    pushed: dict[str, Image] = field(default_factory=dict)
    pulls: int = 0
    times: list[float] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Self:
        loops = [self._push_on, self._push_on, self._pull_on, self._pull_on, self._rest_on]
        for number, loop in enumerate(loops):
            thread = threading.Thread(target=self._run, args=(loop, number), daemon=True)
            thread.start()
            self._threads.append(thread)
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(60)

    def done(self) -> int:
        """Whole operations so far."""
        return len(self.pushed) + self.pulls

    def wait_for_more(self, count: int, seconds: float) -> float:
        """Until so many more operations are done; how long that took."""
        began, wanted = time.monotonic(), self.done() + count
        while self.done() < wanted:
            assert time.monotonic() - began < seconds, f"{self.done()} of {wanted} operations; {self.summary()}"
            time.sleep(0.02)
        return time.monotonic() - began

    def assert_clear(self) -> None:
        defects = [line for line in self.registry.log.splitlines() if '"request failed"' in line]
        assert not self.faults, f"{len(self.faults)} answers: {sorted(set(self.faults))[:4]}; {defects[-2:]}"
        slowest = max(self.times)
        assert slowest < LONGEST, f"an answer took {slowest:.1f} s"

    def summary(self) -> str:
        answers = ", ".join(f"{count} x {status}" for status, count in sorted(self.answers.items()))
        return (
            f"{len(self.pushed)} pushes, {self.pulls} pulls; answers {answers}; "
            f"{self.broken.total()} broken connections; the slowest answer took {max(self.times, default=0):.1f} s"
        )

    # One client each

    def _run(self, loop: object, number: int) -> None:
        with httpx.Client(base_url=self.registry.url, timeout=30, auth=self.who.pair) as client:
            count = 0
            while not self._over.is_set():
                loop(client, f"{number}-{count}")  # type: ignore[operator]
                count += 1

    def _ask(self, client: httpx.Client, method: str, path: str, **options: object) -> httpx.Response | None:
        """None: try again, after a pause. The connection broke, or the answer asked for that."""
        began = time.monotonic()
        try:
            answer = client.request(method, path, **options)  # type: ignore[arg-type]
        except httpx.TransportError as e:
            self.broken[type(e).__name__] += 1
            self._over.wait(0.2)
            return None
        finally:
            self.times.append(time.monotonic() - began)
        self.answers[answer.status_code] += 1
        if answer.status_code < 300:
            return answer
        self._judge(answer, f"{method} {path}")
        self._over.wait(0.2)
        return None

    def _judge(self, answer: httpx.Response, what: str) -> None:
        try:
            error = answer.json()["errors"][0]
            waits = int(answer.headers["Retry-After"])
            is_clear = bool(error["code"]) and " " in error["message"] and waits >= 1
        except (ValueError, KeyError, IndexError, TypeError):
            is_clear = False
        if answer.status_code not in _LATER or not is_clear:
            self.faults.append(f"{what}: {answer.status_code} {answer.text[:200]}")

    def insist(self, client: httpx.Client, method: str, path: str, **options: object) -> httpx.Response | None:
        """Until it is done; None when the load ends first."""
        while not self._over.is_set():
            if (answer := self._ask(client, method, path, **options)) is not None:
                return answer
        return None

    def _push_on(self, client: httpx.Client, name: str) -> None:
        image, repository = new_image(1, 2000), f"/v2/{self.project}/load"
        for blob in image.blobs:
            # From the start, as docker does when an upload failed.
            path = f"{repository}/blobs/uploads/?digest={digest_of(blob)}"
            if self.insist(client, "POST", path, content=blob) is None:
                return
        headers = {"Content-Type": MANIFEST}
        path = f"{repository}/manifests/{name}"
        if self.insist(client, "PUT", path, content=image.payload, headers=headers):
            self.pushed[name] = image

    def _pull_on(self, client: httpx.Client, name: str) -> None:
        if not self.pushed:
            self._over.wait(0.05)
            return
        tag, image = list(self.pushed.items())[hash(name) % len(self.pushed)]
        answer = self.insist(client, "GET", f"/v2/{self.project}/load/manifests/{tag}")
        layer = self.insist(client, "GET", f"/v2/{self.project}/load/blobs/{digest_of(image.layers[0])}")
        if answer is None or layer is None:
            return
        if answer.content != image.payload or layer.content != image.layers[0]:
            self.faults.append(f"pull of {tag} brought something else")
        self.pulls += 1

    def _rest_on(self, client: httpx.Client, name: str) -> None:
        """What beside /v2 a client needs: tokens and the REST API."""
        scope = f"repository:{self.project}/load:pull"
        self.insist(client, "GET", f"/service/token?service=harbor-registry&scope={scope}")
        self.insist(client, "GET", "/api/v2.0/systeminfo")
        self.insist(client, "GET", f"/api/v2.0/projects/{self.project}/repositories")
        self._over.wait(0.02)
