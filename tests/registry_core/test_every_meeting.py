"""Every two moves that change content, met after every statement of the first; and all of them at once, at random
(design 3). What was acknowledged is whole afterwards, what is dead is gone, and no locks crossed."""

from __future__ import annotations

import itertools
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.components.postgres import Postgres
from tests.content import INDEX, digest_of
from tests.registry_core import test_races
from tests.registry_core.test_races import DEEDS, FAIR, MEETINGS, Order, Plan, Scene, Stage, race
from tests.reporting import Report
from tests.steps import Actor, Refused

__all__ = ["stage"]
stage = test_races.stage

DEADLOCKS = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
HISTORY = """
SELECT name, from_digest, before FROM (SELECT h.name, h.from_digest, lag(h.to_digest, 1, '') OVER
    (PARTITION BY h.repository_id, h.name ORDER BY h.id) AS before FROM registry_core_taghistory h) AS moves
WHERE from_digest <> before
"""


def end_leases_of(s: Scene) -> Order:
    """As if a day had passed for whatever this scene's blob is leased to."""
    return ("end_leases", digest_of(s.text.encode()))


MOVES: dict[str, Callable[[Scene], Order]] = {
    **DEEDS,
    "push the new tag v2": lambda s: s.put(s.image(annotations={"n": "2"}), "v2"),
    "add the new tag v2": lambda s: ("add_tag", s.path, digest_of(s.image().encode()), "v2"),
    "the lease ends and collect": lambda s: ("each", [end_leases_of(s), ("collect",)]),
    "delete the upload": lambda s: ("delete_blob", s.path, "alice", digest_of(s.text.encode())),
}
TESTED = {frozenset((removing, creating)) for removing, others in MEETINGS.items() for creating in others}
PAIRS = [
    pair
    for pair in itertools.combinations_with_replacement(MOVES, 2)
    if frozenset(pair) not in TESTED and {*pair} & {*list(MOVES)[9:]}
]

# Its first statement that matters must still be open when the other's begins.
PAIRS.append(("add the new tag v2", "push the new tag v2"))


@pytest.fixture(autouse=True)
def no_deadlock(stage: Stage, postgres: Postgres) -> Iterator[None]:
    ((before,),) = stage.rows(DEADLOCKS)
    yield
    stage.first.do("backend")  # numbers are reported when a backend is idle again
    stage.second.do("backend")
    log = (postgres.directory / "postgres.log").read_text(errors="replace")
    assert stage.rows(DEADLOCKS) == [(before,)], "\n".join(
        part[:2500] for part in log.split("deadlock detected")[1:]
    )[:12000]


def meeting(one: str, other: str) -> Plan:
    return lambda s: (s.pushed, MOVES[one](s), MOVES[other](s))


@pytest.mark.parametrize("chosen", range(8))
def test_every_pair_of_moves_meets_after_every_statement(stage: Stage, report: Report, chosen: int) -> None:
    outcomes: Counter[tuple[str, str]] = Counter()
    pairs = PAIRS[chosen::8]
    for one, other in pairs:
        print(one, "meets", other)  # the last one is the one that failed
        found = race(stage, meeting(one, other))
        outcomes.update(found)
    assert stage.rows(HISTORY) == []
    report(
        f"{len(pairs)} pairs of moves, {outcomes.total()} meetings, both done in {outcomes['done', 'done']}"
    )


# -- all at once

ACTORS = 4
SECONDS = 8


def random_move(chance: random.Random, scenes: list[Scene]) -> Order:
    s = chance.choice(scenes)
    tag = chance.choice(["v1", "v2", "v3"])
    changed = s.image(annotations={"n": str(chance.randrange(3))})
    digest = digest_of(s.text.encode())
    return chance.choice(
        [
            ("each", [*s.blobs, s.put(changed, tag)]),
            ("each", [("mount", s.path, "alice", digest, s.path), s.put(changed, tag)]),
            ("each", [*s.pushed, s.put(s.index(s.image()), "all", media_type=INDEX)]),
            ("each", [("mount", chance.choice(scenes).path, "alice", digest, s.path)]),
            ("add_tag", s.path, digest_of(changed.encode()), tag),
            ("copy", s.path, digest_of(s.image().encode()), chance.choice(scenes).path, tag),
            ("copy", s.path, digest_of(s.index(s.image()).encode()), chance.choice(scenes).path, tag),
            ("delete_tag", s.path, tag),
            ("delete_artifact", s.path, digest_of(changed.encode())),
            ("delete_artifact", s.path, digest_of(s.index(s.image()).encode())),
            ("delete_blob", s.path, "alice", digest),
            ("delete_repository", s.path),
            ("collect",),
            ("each", [end_leases_of(s), ("collect",)]),
        ]
    )


def test_all_moves_at_once(stage: Stage, report: Report) -> None:
    seed = random.randrange(1 << 32)
    report(f"seed {seed}")
    actors = [stage.first, stage.second, *(Actor(stage.environment) for _ in range(ACTORS - 2))]
    scenes = [Scene() for _ in range(4)]
    did: Counter[str] = Counter()
    collected: list[int] = []
    end = time.monotonic() + SECONDS

    def play(number: int) -> None:
        chance = random.Random(seed + number)
        while time.monotonic() < end:
            move = random_move(chance, scenes)
            try:
                result = actors[number].do(*move)
            except Refused as refusal:
                if refusal.code not in FAIR:
                    raise
                did[refusal.code] += 1
                continue
            did[move[1][-1][0] if move[0] == "each" else move[0]] += 1
            if move == ("collect",):
                collected.append(result["objects"])

    try:
        with ThreadPoolExecutor(ACTORS) as pool:
            for playing in [pool.submit(play, number) for number in range(ACTORS)]:
                playing.result()
    finally:
        for actor in actors[2:]:
            actor.close()
    test_races.assert_whole(stage)
    assert stage.rows(HISTORY) == []
    assert sum(collected) > 0
    assert did["put_manifest"] > 10
    for s in scenes:
        stage.first.do(*end_leases_of(s))
        with_repository = stage.rows("SELECT 1 FROM registry_core_repository WHERE path = %s", s.path)
        if with_repository:
            stage.first.do("delete_repository", s.path)
    stage.first.do("collect")
    digests = [digest_of(s.text.encode()) for s in scenes]
    assert stage.rows("SELECT digest FROM registry_core_blob WHERE digest = ANY(%s)", digests) == []
    test_races.assert_whole(stage)
    report(
        f"{did.total()} moves by {ACTORS} processes in {SECONDS} s, {sum(collected)} objects freed: {dict(did)}"
    )
