"""Requests prepared for load.lua, and what came of them."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.bench.registries import Registry
from tests.bench.rows import Measure, RowFailed

PROGRAM = pathlib.Path(__file__).with_name("load.lua")
# On a larger machine one generator would be what is measured.
PROCESSES = max(1, (os.cpu_count() or 1) // 4)
# Without all of them docker-registry answers 404 to what it holds.
ACCEPT = ", ".join(
    f"application/vnd.{kind}+json"
    for kind in (
        "oci.image.manifest.v1",
        "oci.image.index.v1",
        "docker.distribution.manifest.v2",
        "docker.distribution.manifest.list.v2",
    )
)


@dataclass(frozen=True)
class Request:
    """`digest`: of the body; of Docker-Content-Digest when the method is HEAD."""

    method: str
    path: str
    authorization: str
    status: int = 200
    digest: str = ""
    content_type: str = ""
    body: bytes = b""
    accept: str = ""

    def record(self, host: str) -> bytes:
        """As load.lua reads it."""
        head = (
            f"{self.method} {self.path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: {self.authorization}\r\n"
        )
        if self.accept:
            head += f"Accept: {self.accept}\r\n"
        if self.content_type:
            head += f"Content-Type: {self.content_type}\r\n"
        if self.body or self.method in ("POST", "PUT", "PATCH"):
            head += f"Content-Length: {len(self.body)}\r\n"
        whole = head.encode() + b"\r\n" + self.body
        digest = self.digest.removeprefix("sha256:") or "-"
        return f"{len(whole)} {self.status} {self.method} {digest}\n".encode() + whole


@dataclass(frozen=True)
class Run:
    """What the generators counted, all together."""

    operations: int
    seconds: float
    cpu: float
    checked: int
    mismatches: int
    unfinished: int
    reconnects: int
    bytes: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    unexpected: Mapping[str, int]
    examples: tuple[str, ...]

    def check(self) -> Run:
        """Nothing was answered otherwise than expected; RowFailed if it was."""
        if self.unexpected or self.mismatches or self.unfinished or not self.operations:
            raise RowFailed(
                f"{self.operations} answers, {dict(self.unexpected)} unexpected, {self.mismatches} wrong digests, "
                f"{self.unfinished} unfinished {'; '.join(self.examples)[:600]!r}"
            )
        return self


def write(file: pathlib.Path, host: str, requests: Iterable[Request]) -> pathlib.Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"".join(request.record(host) for request in requests))
    return file


def run(
    file: pathlib.Path,
    port: int,
    *,
    seconds: float = 0,
    connections: int = 64,
    check_every: int = 1,
    processes: int = PROCESSES,
) -> Run:
    """Send them for so long, round and round, or (0 seconds) each once."""
    each = max(1, connections // processes)
    commands: list[list[str]] = [
        [
            "luajit",
            str(PROGRAM),
            str(file),
            str(port),
            str(each),
            str(seconds),
            str(check_every),
            str(i),
            str(processes),
        ]
        for i in range(processes)
    ]
    started = [subprocess.Popen(c, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for c in commands]
    parts = []
    for process in started:
        output, errors = process.communicate(timeout=seconds + 660)
        if process.returncode:
            raise RuntimeError(f"load.lua: {errors.decode(errors='replace')[-2000:]}")
        parts.append(json.loads(output.splitlines()[-1]))
    return _together(parts)


def measure(
    registry: Registry, file: pathlib.Path, *, seconds: float = 0, connections: int = 64, check_every: int = 1
) -> Measure:
    """A run, and what the server spent on it; RowFailed when an answer was not as expected."""
    with registry.measured() as used:
        result = run(file, registry.entry, seconds=seconds, connections=connections, check_every=check_every)
    result.check()
    notes = {"p99_ms": result.p99_ms, "checked": result.checked}
    return Measure(result.operations, result.seconds, used.cpu, result.cpu, notes=notes)


def _together(parts: list[dict[str, Any]]) -> Run:
    def total(name: str) -> int:
        return int(sum(part[name] for part in parts))

    def most(name: str) -> float:
        return max(float(part[name]) for part in parts)

    unexpected: dict[str, int] = {}
    examples: list[str] = []
    for part in parts:
        for status, count in dict(part["unexpected"]).items():
            unexpected[status] = unexpected.get(status, 0) + count
        examples += part["examples"]
    return Run(
        operations=total("operations"),
        seconds=most("seconds"),
        cpu=sum(part["cpu"] for part in parts),
        checked=total("checked"),
        mismatches=total("mismatches"),
        unfinished=total("unfinished"),
        reconnects=total("reconnects"),
        bytes=total("bytes"),
        p50_ms=most("p50_ms"),
        p99_ms=most("p99_ms"),
        max_ms=most("max_ms"),
        unexpected=unexpected,
        examples=tuple(examples),
    )
