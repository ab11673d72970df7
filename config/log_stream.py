"""The one stream of `manage.py up`: what every child prints becomes a JSON line in HOME/logs/breakwater.log
and on stdout, or a short line for people when stdout is a terminal."""

import contextlib
import json
import os
import re
import select
import time
from pathlib import Path
from typing import Any

MAX_FILE = 20 << 20
KEPT_FILES = 5
# A pipe that select() calls writable takes this much without blocking (POSIX PIPE_BUF).
_ATOMIC = 4096

_POSTGRES_LINE = re.compile(r"^(DEBUG|LOG|INFO|NOTICE|WARNING|ERROR|FATAL|PANIC|DETAIL|HINT|CONTEXT):\s+")
_POSTGRES_LEVELS = {"WARNING": "warning", "ERROR": "warning", "FATAL": "warning", "PANIC": "critical"}
_VALKEY_LINE = re.compile(r"^\d+:[A-Z] .{20,32} ([-.*#]) ")


class LogStream:
    """Never raises and never waits: a full disk or a reader that went away must not stop the registry."""

    def __init__(self, path: Path, out: int = 1) -> None:
        self._path = path
        self._out = out
        self._for_people = os.isatty(out)
        self._file = -1
        self._size = 0
        self._is_cut = False
        self._open()

    def child_line(self, service: str, line: str) -> None:
        if line.strip():
            self._write({"at": _now(), "level": "info", "service": service, **_parse(service, line)})

    def say(self, message: str, level: str = "info", **fields: Any) -> None:
        self._write({"at": _now(), "level": level, "service": "supervisor", "message": message, **fields})

    def plain(self, text: str) -> None:
        """A line of its own on stdout, and nowhere else (the password of admin must not reach a log file)."""
        self._print(f"{text}\n".encode(), wait=5.0)

    def _write(self, fields: dict[str, Any]) -> None:
        line = json.dumps(fields, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
        self._append(line)
        self._print(_for_people(fields) if self._for_people else line)

    def _append(self, line: bytes) -> None:
        with contextlib.suppress(OSError):
            if self._size + len(line) > MAX_FILE:
                with contextlib.suppress(OSError):  # no room for another file: this one grows on
                    self._rotate()
            # What a full disk has cut off is ended first: the next line must not be glued to it.
            line = b"\n" * self._is_cut + line
            written = os.write(self._file, line)
            self._size += written
            self._is_cut = written < len(line)

    def _print(self, data: bytes, wait: float = 0.0) -> None:
        with contextlib.suppress(OSError):
            while data:
                if not select.select([], [self._out], [], wait)[1]:
                    return  # nobody reads: the file has it
                data = data[os.write(self._out, data[:_ATOMIC]) :]

    def _open(self) -> None:
        self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
        self._size = os.fstat(self._file).st_size

    def _rotate(self) -> None:
        # First of all: when it cannot be made, nothing has happened to the others.
        new = os.open(f"{self._path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o640)
        for n in range(KEPT_FILES - 1, 0, -1):
            with contextlib.suppress(FileNotFoundError):
                os.replace(f"{self._path}.{n}", f"{self._path}.{n + 1}")
        os.replace(self._path, f"{self._path}.1")
        os.replace(f"{self._path}.new", self._path)
        os.close(self._file)
        self._file, self._size = new, 0


def _parse(service: str, line: str) -> dict[str, Any]:
    if line.startswith("{"):
        with contextlib.suppress(ValueError):
            fields = json.loads(line)
            if isinstance(fields, dict):
                return fields
    if service == "postgres" and (match := _POSTGRES_LINE.match(line)):
        return {"level": _POSTGRES_LEVELS.get(match[1], "info"), "message": line[match.end() :]}
    if service == "valkey" and (match := _VALKEY_LINE.match(line)):
        return {"level": "warning" if match[1] == "#" else "info", "message": line[match.end() :]}
    return {"message": line}


def _for_people(fields: dict[str, Any]) -> bytes:
    level = "" if fields["level"] == "info" else f"{fields['level']}: "
    clock = time.strftime("%H:%M:%S")
    text = f"{clock} {fields['service']:<10} {level}{fields.get('message', '')}\n"
    if "exception" in fields:
        text += f"{fields['exception']}\n"
    return text.encode("utf-8", "replace")


def _now() -> str:
    seconds = time.time()
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{int(seconds % 1 * 1000):03d}Z"
