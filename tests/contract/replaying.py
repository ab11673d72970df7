"""Drives the engine that lies beside the checkout, and keeps what came of it for the tests of this folder."""

from __future__ import annotations

import gc
import importlib
import json
import pkgutil
import secrets
import sys
import time
import types
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.components.breakwater import ADMIN_PASSWORD, Breakwater
from tests.contract import deviations
from tests.contract.deviations import Difference
from tests.contract.shared import CONTRACT, GOLDEN, TOOLS, require

# Each of these tags comes with an issue of its own: its scenes are not replayed yet.
LATER_TAGS = {
    "scan", "scanAll", "scanner", "securityhub", "scan data export", "Retention", "immutable", "webhook", "replication",
    "registry", "preheat", "gc", "purge", "jobservice",
}  # fmt: skip
# Scenes of other tags that cannot do without one of those, and which.
_WRONG = "Wrong-1"  # how every wrong password in a scene begins
LATER_SCENES = {
    "project_scanner": "scanner",
    "v2_proxy_project": "registry",
    "v2_vulnerability_policy": "scan",
}
LATER_SCENES["oidc_sign_in"] = "signing in by OIDC is being built"
# Calls that show a scanner.
LATER_CALLS = [("project_roles", "scanner as *"), ("project_roles", "candidates as *"),
               ("project_public_roles", "scanner as outsider")]  # fmt: skip


def scenes() -> list[str]:
    """Those that are replayed; none where the recorded answers are absent."""
    tags = {file.stem: json.loads(file.read_text())["tag"] for file in sorted(GOLDEN.glob("*.json"))}
    return [scene for scene, tag in tags.items() if tag not in LATER_TAGS and scene not in LATER_SCENES]


@dataclass
class Replay:
    engine: Any
    operations: dict[tuple[str, str], str]
    listed: list[deviations.Deviation]
    calls: int = 0
    done: list[str] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)
    unlisted: list[Difference] = field(default_factory=list)
    answers: dict[str, list[tuple[int, Any]]] = field(default_factory=lambda: defaultdict(list))

    def run(self, scene: str, server: Breakwater) -> list[Difference]:
        """Its differences that no row of docs/deviations.md covers."""
        recorded = json.loads((GOLDEN / f"{scene}.json").read_text())
        where = types.SimpleNamespace(url=server.url, password=ADMIN_PASSWORD)
        prefix = f"r{secrets.token_hex(3)}-"
        session, problem = self.engine.run_scene(scene, where, self.operations, prefix)
        calls = session.calls
        del session
        gc.collect()  # and with it the clients' connections, while the test that ran the scene expects that
        found = self._compare(recorded, calls, prefix, server.host)
        if problem:
            found.append(Difference(scene, "the scene", f"broke off: {problem}"))
        unlisted = [d for d in found if not any(row.covers(d) for row in self.listed)]
        for call in calls:
            self.answers[call.operation].append((call.status, call.body))
        self.calls += len(recorded["calls"])
        self.differences += found
        self.unlisted += unlisted
        self.done.append(scene)
        return unlisted

    def _compare(
        self, recorded: dict[str, Any], calls: list[Any], prefix: str, host: str
    ) -> list[Difference]:
        later = [call for scene, call in LATER_CALLS if scene == recorded["scene"]]
        wanted = {
            call["name"]: call
            for call in recorded["calls"]
            if not any(deviations.fits(name, call["name"]) for name in later)
        }
        found = [
            Difference(recorded["scene"], call.name, text)
            for call in calls
            if call.name in wanted
            for kind, text in self.engine.compare_call(
                wanted[call.name], call, recorded["prefix"], prefix, recorded["host"], host
            )
            if kind == "hard"
        ]
        made = {call.name for call in calls}
        return found + [
            Difference(recorded["scene"], name, "the call is not made") for name in wanted if name not in made
        ]

    def counts(self) -> str:
        differing = len({(d.scene, d.call) for d in self.differences})
        broken_off = sum(d.text.startswith("broke off") for d in self.unlisted)
        return (
            f"{len(self.done)} scenes, {self.calls} calls, {self.calls - differing} equal, "
            f"{len(self.differences) - len(self.unlisted)} listed deviations, {len(self.unlisted)} unlisted, "
            f"{broken_off} broken off"
        )


def _patient(call: Callable[..., Any]) -> Callable[..., Any]:
    """Harbor holds back its answer to a wrong password until the name is free again. We answer at once, so the scenes'
    callers wait here: 1.5 s, twice as long for each further time (docs/deviations.md)."""
    failures: Counter[str] = Counter()

    def wait(session: Any, name: str, caller: Any, *arguments: Any, **options: Any) -> Any:
        answer = call(session, name, caller, *arguments, **options)
        sent = caller.password, str(options.get("content")), str(options.get("query"))
        is_nobody = answer.status == 401 and caller.user and "/v2/" not in arguments[1]
        if is_nobody or any(_WRONG in text for text in sent):
            failures[caller.user] += 1
            time.sleep(0.1 + 1.5 * 2 ** (failures[caller.user] - 1))
        else:
            failures[caller.user] = 0
        return answer

    return wait


def load() -> Iterator[Replay]:
    require(GOLDEN)
    require(CONTRACT)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(require(TOOLS)))
        patch.setattr(sys, "dont_write_bytecode", True)  # the folder is not ours
        engine = importlib.import_module("replay.engine")
        package = importlib.import_module("replay.scenes")
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"replay.scenes.{module.name}")
        patch.setattr(engine.Session, "call", _patient(engine.Session.call))
        yield Replay(engine, engine.load_operations(), deviations.listed())
