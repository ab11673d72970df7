"""Scenes that were recorded from a real Harbor, replayed against a running registry, call by call.

What drives and compares them, and what Harbor answered, lies beside the checkout (shared/tools/replay,
shared/contract/golden). Every hard difference is a row of docs/deviations.md, and every row still differs.
"""

from __future__ import annotations

import pathlib

import pytest

from tests.components.availability import require
from tests.contract.replaying import LATER_SCENES, Replay, scenes
from tests.reporting import Report

pytestmark = [
    pytest.mark.slow,
    # The scenes leave their clients' connections to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]

# They change the authentication mode or the whole configuration, or ask what it is on a new registry.
ON_A_NEW_ONE = {"configure_effects", "configure_items", "configure_read", "ldap_sign_in", "oidc_sign_in"}


@pytest.mark.parametrize("scene", scenes() or [pytest.param("", id="none")])
def test_scene(request: pytest.FixtureRequest, replay: Replay, report: Report, scene: str) -> None:
    if scene.startswith("ldap_"):
        require("slapd", found=pathlib.Path("/usr/sbin/slapd").exists(), install="the Debian package slapd")
    server = request.getfixturevalue("new_server" if scene in ON_A_NEW_ONE else "used_server")
    unlisted = replay.run(scene, server)
    differences = sum(d.scene == scene for d in replay.differences)
    report(f"{differences} differences, {len(unlisted)} of them not listed")
    assert not unlisted, "not in docs/deviations.md:\n" + "\n".join(map(str, unlisted))


def test_every_row_still_differs(replay: Replay, report: Report) -> None:
    """And says what the whole replay came to."""
    report(replay.counts())
    if len(replay.done) < len(scenes()):
        pytest.skip("only a whole replay can say so")
    # Rows of scenes that are left out wait for them.
    later = [row for row in replay.listed if any(name in LATER_SCENES for name in row.scenes)]
    judged = [row for row in replay.listed if row not in later]
    idle = {str(row): names for row in judged if (names := row.idle(replay.differences))}
    assert not idle, f"rows of docs/deviations.md that nothing needs any more: {idle}"
