"""The environment of a test run.

pytest loads this (`-p tests.environment`) before Django reads its settings, which come from the environment
alone. Only addresses are decided here: servers start when a test first needs them.
"""

from __future__ import annotations

import os

import pytest

from tests.components import postgres, process, valkey

WORKER = os.environ.get("PYTEST_XDIST_WORKER", "main")
NUMBER = int(WORKER.removeprefix("gw")) + 1 if WORKER.startswith("gw") else 0

# What somebody has set for a registry of their own must not reach the registry under test.
if process.RUN_VARIABLE not in os.environ:
    for name in [n for n in os.environ if n.startswith("BREAKWATER_") and n != "BREAKWATER_TOOLS"]:
        del os.environ[name]
    os.environ[postgres.PORT_VARIABLE] = str(process.free_port())
    os.environ[valkey.PORT_VARIABLE] = str(process.free_port())
process.begin_run()

_home = process.run_directory() / WORKER
os.environ.update(
    DATABASE_URL=f"postgresql://postgres:{postgres.PASSWORD}@127.0.0.1:{os.environ[postgres.PORT_VARIABLE]}/test_{WORKER}",
    REDIS_URL=f"redis://:{valkey.PASSWORD}@127.0.0.1:{os.environ[valkey.PORT_VARIABLE]}/{NUMBER}",
    BREAKWATER_HOME=str(_home),
    BREAKWATER_RUN_DIR=str(_home / "run"),
    BREAKWATER_STORAGE="memory://",
    BREAKWATER_SECRET_KEY="tests-tests-tests-tests-tests-tests-tests-tests",
    BREAKWATER_UNDO_DAYS="0",
    BREAKWATER_GC_GRACE="0",
)
(_home / "run").mkdir(parents=True, exist_ok=True)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure() -> None:
    process.end_run()
