"""The lines of the `report` fixture are shown by a quiet run that passes, also when it is spread over processes."""

from __future__ import annotations

import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
TESTS = """
import pytest

@pytest.mark.parametrize("day", ["monday", "tuesday"])
def test_bad(report, day):
    report(f"{day}: 7 kills")
    report(f"{day}: 9 pushes")

def test_good():
    pass
"""


@pytest.mark.parametrize("spread", [("-p", "no:xdist"), ("-n", "2")], ids=["alone", "spread"])
def test_what_was_reported_is_printed_once(tmp_path: pathlib.Path, spread: tuple[str, str]) -> None:
    (tmp_path / "test_days.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-q", "-c", "/dev/null", "--rootdir", str(tmp_path)]
    run = subprocess.run(
        [*command, "-p", "tests.reporting", "-p", "no:django", "-p", "no:cacheprovider", *spread, str(tmp_path)],
        cwd=ROOT, check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    section = run.stdout.partition("what the bad days did")[2]
    said = [line for line in section.splitlines() if line.startswith("test_days.py::")]
    assert said == [
        f"test_days.py::test_bad[{day}]: {day}: {what}"
        for day in ("monday", "tuesday")
        for what in ("7 kills", "9 pushes")
    ]
