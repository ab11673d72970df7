"""Copies meet pushes, deletions, collectors and each other, statement by statement (design 3, Locks).

What is copied is an index of an image with a referrer of its own. Other meetings are in test_races.py and
test_every_meeting.py.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.content import INDEX, MANIFEST, descriptor, digest_of
from tests.registry_core import test_every_meeting, test_races
from tests.registry_core.test_races import Order, Scene, Stage, race

__all__ = ["no_deadlock", "stage"]
stage = test_races.stage
no_deadlock = test_every_meeting.no_deadlock


def index(s: Scene) -> str:
    return s.index(s.image())


def signature(s: Scene) -> str:
    """Of the index."""
    return s.image(annotations={"signs": "1"}, subject=descriptor(INDEX, index(s).encode()))


def whole(s: Scene) -> list[Order]:
    """Image, its referrer, the index of it, and the index's signature."""
    return [
        *s.pushed, s.put(s.referrer(s.image())), s.put(index(s), "all", media_type=INDEX), s.put(signature(s)),
    ]  # fmt: skip


def target(s: Scene) -> Scene:
    return Scene(f"{s.path}-copy", s.text)


def copy(s: Scene, tag: str = "all") -> Order:
    return ("copy", s.path, digest_of(index(s).encode()), target(s).path, tag)


def gone(s: Scene, payload: str) -> Order:
    return ("delete_artifact", s.path, digest_of(payload.encode()))


MEETING: dict[str, Callable[[Scene], Order]] = {
    "the same copy": copy,
    "the same under another tag": lambda s: copy(s, "other"),
    "a push of the image there": lambda s: ("each", [*target(s).blobs, target(s).put(s.image(), "v1")]),
    "a push of an early referrer there": lambda s: (
        "each", [*target(s).blobs, target(s).put(target(s).image(subject=descriptor(MANIFEST, s.image().encode())))],
    ),
    "deletion of the index": lambda s: ("each", [gone(s, index(s)), ("collect",)]),
    "deletion of the referrer": lambda s: ("each", [gone(s, s.referrer(s.image())), ("collect",)]),
    "deletion of the signature": lambda s: ("each", [gone(s, signature(s)), ("collect",)]),
    "deletion of the repository": lambda s: ("each", [("delete_repository", s.path), ("collect",)]),
    "deletion of the image, which the index holds": lambda s: gone(s, s.image()),
    "the collector": lambda _: ("collect",),
}  # fmt: skip


@pytest.mark.parametrize("comes", ["first", "second"])
@pytest.mark.parametrize("other", MEETING)
def test_a_copy_meets(stage: Stage, other: str, comes: str) -> None:
    """ledger.py looks at edges, pairs and quotas; whoever was told `done` finds all of it."""

    def plan(s: Scene) -> tuple[list[Order], Order, Order]:
        pair = copy(s), MEETING[other](s)
        return whole(s), *(pair if comes == "first" else pair[::-1])

    outcomes = race(stage, plan)
    copied = [outcome[0 if comes == "first" else 1] for outcome in outcomes]
    assert set(copied) <= ({"done", "NOT_FOUND", "ABSENT"} if "deletion of the" in other else {"done"})
    if "deletion" not in other:
        assert set(outcomes) == {("done", "done")}
    assert_every_copy_is_whole(stage)


@pytest.mark.parametrize("other", ["copy", "delete"])
def test_a_target_that_goes_or_comes(stage: Stage, other: str) -> None:
    """The copy is there already; it is deleted, or made again under another tag, meanwhile."""

    def plan(s: Scene) -> tuple[list[Order], Order, Order]:
        second = ("delete_repository", target(s).path) if other == "delete" else copy(s, "third")
        return [*whole(s), copy(s)], copy(s, "again"), second

    assert {outcome[0] for outcome in race(stage, plan)} == {"done"}
    assert_every_copy_is_whole(stage)


def assert_every_copy_is_whole(stage: Stage) -> None:
    """An index in a target has its image there, and the tag that was asked for leads to it."""
    broken = stage.rows(
        "SELECT r.path, c.digest FROM registry_core_artifactchild c JOIN registry_core_repository r "
        "ON r.id = c.repository_id WHERE r.path ~ '-copy$' AND c.child_id IS NULL"
    )
    assert broken == []
    untagged = stage.rows(
        "SELECT r.path FROM registry_core_repository r JOIN registry_core_artifact a ON a.repository_id = r.id "
        "WHERE r.path ~ '-copy$' AND a.media_type ~ 'index' "
        "AND NOT EXISTS (SELECT 1 FROM registry_core_tag t WHERE t.artifact_id = a.id)"
    )
    assert untagged == []
