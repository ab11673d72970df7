"""Clients, and the conformance suite, that exist as Go programs only; install.sh beside this builds them."""

from __future__ import annotations

import os
import pathlib

from tests.components.availability import require

DIRECTORY = pathlib.Path(
    os.environ.get("BREAKWATER_TOOLS") or pathlib.Path.home() / ".cache/breakwater/gobin"
)


def require_go_tool(name: str) -> str:
    program = DIRECTORY / name
    require(
        name,
        found=os.access(program, os.X_OK),
        install=f"it with tests/components/install.sh, into {DIRECTORY}",
    )
    return str(program)
