"""What lies beside the checkout: Harbor's contract, and what a real Harbor answered. Read there, never copied."""

from __future__ import annotations

import pathlib

import pytest

from tests.components.availability import SKIPPED

ROOT = pathlib.Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"
CONTRACT = SHARED / "contract" / "harbor-v2.0.yaml"
GOLDEN = SHARED / "contract" / "golden"
TOOLS = SHARED / "tools"


def require(path: pathlib.Path) -> pathlib.Path:
    if not path.exists():
        pytest.skip(f"{SKIPPED}{path.relative_to(ROOT.parent)} beside the checkout")
    return path
