"""Push, delete and collect at once: three processes that stop after every statement, and a draw that says who goes on
(design 3, Locks). A sample of triples; all pairs are in test_every_meeting.py."""

from __future__ import annotations

import itertools
import os
import random
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from tests.content import INDEX, digest_of
from tests.registry_core import test_every_meeting, test_races
from tests.registry_core.test_every_meeting import HISTORY, end_leases_of
from tests.registry_core.test_races import FAIR, Order, Scene, Stage
from tests.reporting import Report
from tests.steps import Actor, Refused

__all__ = ["no_deadlock", "stage"]
stage = test_races.stage
no_deadlock = test_every_meeting.no_deadlock

EVERY = -1
TRIPLES = 250
SECONDS = 40
RUNS = (
    0.0,
    0.6,
    0.9,
)  # how probably the same one goes on: fine grained, or a whole deed between two statements
BATCH = 25  # triples between two looks at the whole ledger


def untagged(s: Scene) -> str:
    return s.image(annotations={"n": "untagged"})


def elsewhere(s: Scene) -> Scene:
    return Scene(f"{s.path}-2", s.text)


def held(s: Scene) -> Order:
    """What HEAD of a blob does for one who may push: it is here, and stays."""
    return ("mounted", s.path, "alice", digest_of(s.text.encode()), s.path)


def project_of(s: Scene) -> str:
    return s.path.partition("/")[0]


# What it makes, as the payload in the scene where it is to be found once the deed is done.
CREATING: dict[str, tuple[Callable[[Scene], Scene], Callable[[Scene], str]]] = {
    "push": (lambda s: s, lambda s: s.image(annotations={"n": "pushed"})),
    "HEAD, then push without the blob": (lambda s: s, lambda s: s.image(annotations={"n": "headed"})),
    "mount and push": (elsewhere, lambda s: s.image(annotations={"n": "mounted"})),
    "index": (lambda s: s, lambda s: s.index(s.image())),
}


def creation(what: str) -> Callable[[Scene], Order]:
    where, payload = CREATING[what]
    first: Callable[[Scene], list[Order]] = {
        "push": lambda s: s.blobs,
        "HEAD, then push without the blob": lambda s: [held(s)],
        "mount and push": lambda s: [
            ("mounted", elsewhere(s).path, "alice", digest_of(s.text.encode()), s.path)
        ],
        "index": lambda _: [],
    }[what]
    media_type = {"media_type": INDEX} if what == "index" else {}
    return lambda s: ("each", [*first(s), where(s).put(payload(s), what[:4].lower(), **media_type)])


MOVES: dict[str, Callable[[Scene], Order]] = {
    **{what: creation(what) for what in CREATING},
    "tag the untagged": lambda s: ("add_tag", s.path, digest_of(untagged(s).encode()), "late"),
    "delete the artifact": lambda s: s.deletion,
    "delete the untagged": lambda s: ("delete_artifact", s.path, digest_of(untagged(s).encode())),
    "delete the tag": lambda s: ("delete_tag", s.path, "v1"),
    "delete the upload": lambda s: ("delete_blob", elsewhere(s).path, "alice", digest_of(s.text.encode())),
    "delete the repository": lambda s: ("delete_repository", s.path),
    "delete repository and project": lambda s: (
        "each",
        [("delete_repository", s.path), ("delete_project", project_of(s))],
    ),
    "collect": lambda _: ("each", [("collect",)]),
}
# Whoever comes after these finds nothing, and whoever came before may be gone with them.
SWEEPING = {"delete the repository", "delete repository and project"}


def _scene(s: Scene, *more: Order) -> list[Order]:
    """The image is there as `v1`, its blob also leased elsewhere for a while, and no lease runs any more."""
    return [("create_project", project_of(s)), *s.pushed, *elsewhere(s).blobs, *more, end_leases_of(s)]


# How many artifacts hold the blob when the three begin: with the last one it is the collector's.
SCENES: dict[str, Callable[[Scene], list[Order]]] = {
    "two": lambda s: _scene(s, s.put(untagged(s))),
    "one": _scene,
    "none": lambda s: _scene(s, s.deletion),
}


class Play:
    """Three orders, of which one goes on by one statement at a time."""

    def __init__(self, stage: Stage, actors: list[Actor], chance: random.Random) -> None:
        self.stage, self.actors, self.chance = stage, actors, chance
        self.stops = self.freed = 0

    def __call__(self, orders: list[Order]) -> list[str]:
        """What each came to."""
        for actor, order in zip(self.actors, orders, strict=True):
            actor.begin(*order, after=EVERY)
        moving, stopped = list(self.actors), list[Actor]()
        last, goes_on = self.actors[0], self.chance.choice(RUNS)
        while moving or stopped:
            for actor in list(moving):
                if self._settles(actor, alone=not stopped):
                    moving.remove(actor)
                    if actor.stops():
                        self.stops += 1
                        stopped.append(actor)
            if stopped:
                goes_on_alone = last in stopped and self.chance.random() < goes_on
                last = last if goes_on_alone else self.chance.choice(stopped)
                stopped.remove(last)
                last.go_on()
                moving.append(last)
        return [self._outcome(actor, order) for actor, order in zip(self.actors, orders, strict=True)]

    def _settles(self, actor: Actor, *, alone: bool) -> bool:
        """It has stopped or ended; False while it waits for a lock that somebody else must let go of."""
        while not actor.has_ended(0.001):
            if self.stage.is_waiting(actor):
                return actor.has_ended(0.05) if alone else False
        return True

    def _outcome(self, actor: Actor, order: Order) -> str:
        try:
            result = actor.end()
        except Refused as refusal:
            if refusal.code not in FAIR:
                raise
            return refusal.code
        if order[1][-1] == ("collect",):
            self.freed += result[-1]["objects"]
        return "done"


MAKING = [*CREATING, "tag the untagged"]
REMOVING = [move for move in MOVES if move.startswith("delete")]


def draw(chance: random.Random, number: int) -> tuple[str, str, str]:
    """One that makes something, one that takes something away (each meets each in 30 draws), and any third; a collector
    in half of them."""
    creating, removing = MAKING[number % len(MAKING)], REMOVING[number % len(REMOVING)]
    third = "collect" if chance.random() < 0.5 else chance.choice(list(MOVES))
    drawn = [creating, removing, third]
    chance.shuffle(drawn)
    return drawn[0], drawn[1], drawn[2]


def assert_kept(stage: Stage, s: Scene, came_to: list[tuple[str, str]]) -> None:
    """What was acknowledged is there, unless something that takes all with it came too.

    A blob that was acknowledged, or promised, is there for the manifest that comes next: its lease is new.
    """
    if any(move in SWEEPING for move, _ in came_to):
        return
    for move, outcome in came_to:
        if move != "index" and not (move == "mount and push" and ("delete the upload", "done") in came_to):
            assert outcome != "MANIFEST_BLOB_UNKNOWN", f"{move}: its blob was acknowledged and is gone"
        if outcome == "done" and move in CREATING:
            where, payload = CREATING[move]
            path = where(s).path.partition("/")[2]
            found = stage.rows(
                "SELECT 1 FROM registry_core_artifact a JOIN registry_core_repository r ON r.id = a.repository_id "
                "WHERE r.path = %s AND a.digest = %s",
                path, digest_of(payload(s).encode()),
            )  # fmt: skip
            assert found, f"{move} was acknowledged and is gone"


@pytest.fixture
def actors(stage: Stage) -> Iterator[list[Actor]]:
    third = Actor(stage.environment)
    yield [stage.first, stage.second, third]
    third.close()


def test_three_moves_meet_between_any_statements(stage: Stage, actors: list[Actor], report: Report) -> None:
    seed = int(os.environ.get("FAULTS_SEED", "0")) or random.randrange(1 << 32)
    report(f"seed {seed} (FAULTS_SEED repeats it)")
    play = Play(stage, actors, random.Random(seed))
    done: Counter[str] = Counter()
    lost: Counter[str] = Counter()
    began = time.monotonic()
    count = 0
    for count in itertools.count(1):
        s = Scene(f"p{secrets.token_hex(5)}/r")
        actors[0].do("each", SCENES[play.chance.choice(list(SCENES))](s))
        moves = draw(play.chance, count)
        print(count, s.path, moves)  # the last one is the one that failed
        came_to = list(zip(moves, play([MOVES[move](s) for move in moves]), strict=True))
        done.update(move for move, outcome in came_to if outcome == "done")
        lost.update(outcome for _, outcome in came_to if outcome != "done")
        assert_kept(stage, s, came_to)
        is_over = count == TRIPLES or time.monotonic() - began > SECONDS
        if is_over or count % BATCH == 0:
            test_races.assert_whole(stage)
        if is_over:
            break
    assert stage.rows(HISTORY) == []
    assert count > TRIPLES / 5
    assert len(done) >= len(MOVES) - 2, done
    assert play.freed > 0
    report(
        f"{count} triples, {play.stops} stops in {time.monotonic() - began:.0f} s; "
        f"{play.freed} objects freed amid them; "
        f"done {dict(done)}; refused {dict(lost)}"
    )


INTO_A_PROJECT: dict[str, Callable[[Scene], Order]] = {
    "a manifest": lambda s: s.put(s.image(), "v1"),
    "a blob": lambda s: s.blobs[0],
    "a blob of a new repository": lambda s: elsewhere(s).blobs[0],
    "a mount": lambda s: ("mount", elsewhere(s).path, "alice", digest_of(s.text.encode()), s.path),
}


@pytest.mark.parametrize("comes", ["first", "second"])
@pytest.mark.parametrize("what", INTO_A_PROJECT)
def test_a_project_that_is_deleted_meets_a_push(stage: Stage, report: Report, what: str, comes: str) -> None:
    """Only uploads have been there, so that the project may go: it goes with the push, or the push finds no project."""
    outcomes: Counter[tuple[str, str]] = Counter()

    def plan(s: Scene) -> tuple[list[Order], Order, Order]:
        s.path = f"p{s.path}/r"
        both = INTO_A_PROJECT[what](s), ("delete_project", project_of(s))
        return [("create_project", project_of(s)), *s.blobs], *(both if comes == "first" else both[::-1])

    for one, other in test_races.race(stage, plan):
        pushed, deleted = (one, other) if comes == "first" else (other, one)
        assert "done" in (pushed, deleted)
        outcomes[pushed, deleted] += 1
    # A manifest makes a repository that people see: its project stays.
    assert (what == "a manifest") == (("done", "done") not in outcomes)
    report(f"{what} {comes}: {dict(outcomes)}")
