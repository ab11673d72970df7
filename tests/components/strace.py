"""strace on a running process and all its threads: what it asked of the kernel, in order, and faults put in between.

`attached(pid, directory, "trace=fsync,writev", "inject=fsync:error=EIO:when=2")`; a `when` counts each thread's calls
from the moment of attaching. The faults end with the context, and so does the process that met `signal=SIGKILL`.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import secrets
import select
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass

from tests.components.availability import require, require_program

_WHOLE = re.compile(r"(\d+) +(\w+)\((.*)")
_RESUMED = re.compile(r"(\d+) +<\.\.\. (\w+) resumed>(.*)")
_SCOPE = pathlib.Path("/proc/sys/kernel/yama/ptrace_scope")


@dataclass(frozen=True)
class Call:
    """`began` and `ended` are lines of the trace: one call came wholly after another when it began after that ended.

    `text` holds the arguments, with descriptors as their files or connections, and the result.
    """

    began: int
    ended: int
    thread: int
    name: str
    text: str

    @property
    def file(self) -> str:
        """What the first descriptor is."""
        found = re.match(r"\d+<([^>]*)>", self.text)
        return found[1] if found else ""

    @property
    def succeeded(self) -> bool:
        return not re.search(r" = (-1 |\?)", self.text)


class Trace:
    def __init__(self, file: pathlib.Path) -> None:
        self.file = file

    def calls(self) -> list[Call]:
        """In the order in which they began."""
        open_: dict[str, tuple[int, str]] = {}
        found = []
        for number, line in enumerate(self.file.read_text(errors="replace").splitlines()):
            if whole := _WHOLE.fullmatch(line):
                thread, name, text = whole.groups()
                if text.endswith("<unfinished ...>"):
                    open_[thread] = (number, text.removesuffix("<unfinished ...>"))
                else:
                    found.append(Call(number, number, int(thread), name, text))
            elif resumed := _RESUMED.fullmatch(line):
                thread, name, text = resumed.groups()
                began, before = open_.pop(thread)
                found.append(Call(began, number, int(thread), name, before + text))
        return sorted(found, key=lambda call: call.began)


@contextlib.contextmanager
def attached(
    pid: int, directory: pathlib.Path, *expressions: str, path: pathlib.Path | None = None
) -> Iterator[Trace]:
    """`path`: only calls on this file are traced, and only they meet faults."""
    program = require_program("strace", package="strace")
    may = os.getuid() == 0 or not _SCOPE.exists() or _SCOPE.read_text().strip() == "0"
    require("strace of a running process", found=may, install="nothing: run the tests as root")
    trace = Trace(directory / f"trace-{secrets.token_hex(4)}")
    command = [program, "-f", "-yy", "-s", "160", "-o", str(trace.file), "-p", str(pid)]
    tracer = subprocess.Popen(
        [*command, *(["-P", str(path)] if path else []),
         *(word for expression in expressions for word in ("-e", expression))],
        stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert tracer.stderr
    try:
        said = tracer.stderr.readline() if select.select([tracer.stderr], [], [], 20)[0] else "nothing"
        assert "attached" in said, said
        yield trace
        time.sleep(0.05)  # the answer is at the client before its call is on paper
    finally:
        tracer.terminate()
        tracer.communicate(timeout=20)
