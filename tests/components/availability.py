"""What a test needs and the machine may lack.

With CI=true a missing component fails its tests; elsewhere they are skipped, and the end of the run names each
missing component and how to get it.
"""

from __future__ import annotations

import importlib.util
import os
import pathlib
import shutil

import pytest

SKIPPED = "not run, component missing: "


def require(component: str, *, found: bool, install: str) -> None:
    if found:
        return
    sentence = f"{SKIPPED}{component} (install {install})"
    if os.environ.get("CI", "").lower() in ("1", "true"):
        pytest.fail(sentence, pytrace=False)
    pytest.skip(sentence)


def require_program(name: str, *, package: str, path: str | None = None) -> str:
    """The path of a program that a Debian package brings."""
    found = shutil.which(name, path=path)
    require(name, found=bool(found), install=f"the Debian package {package}")
    assert found
    return found


def require_wheel(name: str, *, package: str) -> pathlib.Path:
    """The directory of a Python package that carries a server. It is not imported: files are wanted."""
    spec = importlib.util.find_spec(name)
    require(package, found=bool(spec and spec.origin), install=f"the Python package {package}")
    assert spec
    assert spec.origin
    return pathlib.Path(spec.origin).parent
