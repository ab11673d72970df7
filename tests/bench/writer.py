"""A writer that moves tags while others read, and reads each back after its 201 over several connections."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Self

from tests.bench.generator import ACCEPT
from tests.bench.registries import Registry
from tests.bench.stored import TAGGED, image
from tests.content import MANIFEST, digest_of

PAUSE = 0.02  # the readers are what is measured
READERS = 4  # connections: which process answers one is up to the kernel


class Writer:
    def __init__(self, registry: Registry) -> None:
        self.moves = self.reads = self.stale = 0
        self.trouble = ""
        self._registry = registry
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _work(self) -> None:
        payloads = [image(f"moving {time.time()} {i}") for i in range(2)]
        connections = [self._registry.connect() for _ in range(READERS + 1)]
        try:
            while not self._ended.is_set():
                name = TAGGED[self.moves // 2 % len(TAGGED)]
                payload = payloads[self.moves % 2]
                path = f"/v2/{name}/manifests/moving"
                headers = {"Authorization": self._registry.authorization(name), "Accept": ACCEPT}
                put = {**headers, "Content-Type": MANIFEST}
                connections[0].request("PUT", path, body=payload, headers=put)
                answer = connections[0].getresponse()
                answer.read()
                if answer.status != 201:
                    raise RuntimeError(f"PUT {path}: {answer.status}")
                self.moves += 1
                for connection in connections[1:]:
                    connection.request("GET", path, headers=headers)
                    self.stale += digest_of(connection.getresponse().read()) != digest_of(payload)
                    self.reads += 1
                time.sleep(PAUSE)
        except Exception as e:
            self.stale += 1
            self.trouble = repr(e)
            if not isinstance(e, (OSError, RuntimeError)):
                raise
