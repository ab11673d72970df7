"""The one log stream: every line is JSON, the file is bounded, a reader that went away stops nothing."""

import json
import os
import time
from pathlib import Path

import pytest

from config import log_stream
from config.log_stream import LogStream


@pytest.fixture
def stream(tmp_path: Path) -> LogStream:
    return LogStream(tmp_path / "log", out=os.open(os.devnull, os.O_WRONLY))


def lines(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_lines_of_every_kind_become_objects(stream: LogStream, tmp_path: Path) -> None:
    stream.child_line("web", '{"at": "2026-01-01T00:00:00.000Z", "level": "warning", "message": "known"}')
    stream.child_line("web", "Traceback (most recent call last):")
    stream.child_line("web", '{"cut off')
    stream.child_line("web", "[1, 2]")
    stream.child_line("postgres", "FATAL:  no such role")
    stream.child_line("postgres", "LOG:  ready")
    stream.child_line("valkey", "17:M 24 Nov 2026 06:59:39.473 # out of memory")
    stream.say("hello", reason="tests")
    stream.child_line("web", "   ")
    assert [(line["service"], line["level"], line["message"]) for line in lines(tmp_path / "log")] == [
        ("web", "warning", "known"),
        ("web", "info", "Traceback (most recent call last):"),
        ("web", "info", '{"cut off'),
        ("web", "info", "[1, 2]"),
        ("postgres", "warning", "no such role"),
        ("postgres", "info", "ready"),
        ("valkey", "warning", "out of memory"),
        ("supervisor", "info", "hello"),
    ]


def test_what_is_plain_reaches_no_file(stream: LogStream, tmp_path: Path) -> None:
    stream.plain("admin password: geheim")
    assert "geheim" not in (tmp_path / "log").read_text()


def test_the_file_is_rotated_and_old_ones_are_dropped(
    stream: LogStream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_stream, "MAX_FILE", 1000)
    for n in range(100):
        stream.child_line("web", f"{n:0200}")
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == [
        "log",
        *(f"log.{n}" for n in range(1, log_stream.KEPT_FILES + 1)),
    ]
    assert all(file.stat().st_size <= 1000 for file in files)
    assert lines(tmp_path / "log")[-1]["message"].endswith("99")


def test_a_reader_that_stops_reading_does_not_stop_the_registry(tmp_path: Path) -> None:
    _, write_end = os.pipe()
    stream = LogStream(tmp_path / "log", out=write_end)
    began = time.monotonic()
    for _ in range(200):
        stream.child_line("web", "x" * 1000)  # three times what a pipe holds
    assert time.monotonic() - began < 2
    assert len(lines(tmp_path / "log")) == 200


def test_a_reader_that_went_away_does_not_either(tmp_path: Path) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    stream = LogStream(tmp_path / "log", out=write_end)
    stream.child_line("web", "nobody listens")
    assert len(lines(tmp_path / "log")) == 1
