"""Two who change the same content at the same moment, statement by statement, in their own processes (design 3, Locks).

One stops after one of its statements; the other does its whole deed, or waits for a lock and does it when the first
goes on. This is done after every statement of the first, each time with new content. Whatever was acknowledged must be
whole.
"""

from __future__ import annotations

import itertools
import pathlib
import re
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import psycopg2
import pytest

from tests import ledger
from tests.components.postgres import Postgres
from tests.content import INDEX, MANIFEST, descriptor, digest_of, encode, image_document, index_document
from tests.server import Server
from tests.steps import Actor, Refused

Order = tuple[Any, ...]
# What the loser of a race may hear; anything else, an exception above all, is a defect.
FAIR = {
    "MANIFEST_BLOB_UNKNOWN", "MANIFEST_UNKNOWN", "NAME_UNKNOWN", "NOT_FOUND", "CONFLICT", "BLOB_UNKNOWN", "ABSENT",
    "VIOLATE_FOREIGN_KEY_CONSTRAINT", "BLOB_UPLOAD_UNKNOWN", "PRECONDITION",
}  # fmt: skip
MOST_STATEMENTS = 60


@dataclass
class Stage:
    """Two processes of the registry over one database and one directory, and one connection that watches."""

    database: str
    storage: pathlib.Path
    environment: dict[str, str] = field(repr=False)
    first: Actor
    second: Actor
    watcher: Any = field(repr=False)
    stops: list[str] = field(default_factory=list)  # the statements after which the last race was held

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        with self.watcher.cursor() as cursor:
            cursor.execute(sql, values)
            return list(cursor.fetchall()) if cursor.description else []

    def is_waiting(self, actor: Actor) -> bool:
        return bool(self.rows("SELECT 1 WHERE cardinality(pg_blocking_pids(%s)) > 0", actor.backend))


# Where all scenes play; its quota counts whatever they do.
PROJECT = """
WITH n AS (INSERT INTO registry_core_namespace (name) VALUES ('races') RETURNING id),
p AS (INSERT INTO projects_project (namespace_id, owner_id, owner_name, public, metadata, networks)
      SELECT id, 1, 'admin', false, '{}', '[]' FROM n RETURNING id)
INSERT INTO projects_quota (project_id, hard, used) SELECT id, -1, 0 FROM p
"""


@pytest.fixture(scope="module")
def stage(postgres: Postgres) -> Iterator[Stage]:
    """Not served: what the web processes do is done by the same verbs here."""
    server = Server(postgres, "redis://127.0.0.1:1/0")
    stage = Stage(
        server.database,
        server.storage,
        server.environment,
        Actor(server.environment),
        Actor(server.environment),
        psycopg2.connect(server.database),
    )
    stage.watcher.autocommit = True
    stage.rows(PROJECT)
    yield stage
    stage.watcher.close()
    for actor in (stage.first, stage.second):
        actor.close()


@dataclass
class Scene:
    """New content: an image of one blob in a repository of its own, and what else belongs to it."""

    path: str = field(default_factory=lambda: f"r{secrets.token_hex(5)}")
    text: str = field(default_factory=lambda: secrets.token_hex(8))

    def image(self, **changes: Any) -> str:
        return encode(image_document(self.text.encode(), [], **changes)).decode()

    def index(self, *children: str) -> str:
        return encode(index_document([c.encode() for c in children], annotations={"n": self.text})).decode()

    def referrer(self, subject: str) -> str:
        return self.image(subject=descriptor(MANIFEST, subject.encode()))

    @property
    def blobs(self) -> list[Order]:
        """Alice uploads it."""
        return [("push_blob", self.path, "alice", self.text, digest_of(self.text.encode()))]

    def put(self, payload: str, *tags: str, media_type: str = MANIFEST) -> Order:
        return ("put_manifest", self.path, "alice", payload, media_type, tags)

    @property
    def pushed(self) -> list[Order]:
        """The image is there, as `v1`."""
        return [*self.blobs, self.put(self.image(), "v1")]

    @property
    def deletion(self) -> Order:
        return ("delete_artifact", self.path, digest_of(self.image().encode()))


Plan = Callable[[Scene], tuple[list[Order], Order, Order]]  # what comes before, and the two deeds


def race(stage: Stage, plan: Plan) -> list[tuple[str, str]]:
    """Every meeting of two deeds; what each pair of them came to."""
    outcomes = []
    stage.stops = []
    for after in range(1, MOST_STATEMENTS):
        before, one, other = plan(Scene())
        stage.first.do("each", before)
        stage.first.begin(*one, after=after)
        stopped = stage.first.stops()
        stage.stops.append(stopped or "")
        stage.second.begin(*other)
        while not stage.second.has_ended(0.002) and not stage.is_waiting(stage.second):
            pass
        if stopped:
            stage.first.go_on()
        outcomes.append((outcome(stage.first), outcome(stage.second)))
        if not stopped:
            break
    else:
        raise AssertionError(f"more than {MOST_STATEMENTS} statements")
    assert_whole(stage)
    return outcomes


def outcome(actor: Actor) -> str:
    try:
        actor.end()
    except Refused as refusal:
        if refusal.code not in FAIR:
            raise
        return refusal.code
    return "done"


def assert_whole(stage: Stage) -> None:
    stage.second.do("collect")
    ledger.assert_adds_up(stage.database, stage.storage)


# Deeds, each on the content of a scene in which the image is there.

DEEDS: dict[str, Callable[[Scene], Order]] = {
    "push its blobs again": lambda s: s.put(s.image(annotations={"again": "1"}), "v2"),
    "push an index of it": lambda s: s.put(s.index(s.image()), "all", media_type=INDEX),
    "push a referrer of it": lambda s: s.put(s.referrer(s.image())),
    "move its tag": lambda s: s.put(s.image(annotations={"moved": "1"}), "v1"),
    "mount a blob": lambda s: ("mount", f"{s.path}-2", "bob", digest_of(s.text.encode()), s.path),
    "keep a blob": lambda s: ("mount", s.path, "alice", digest_of(s.text.encode()), s.path),
    "upload a blob again": lambda s: (
        "push_blob",
        f"{s.path}-3",
        "carol",
        s.text,
        digest_of(s.text.encode()),
    ),
    "add a tag": lambda s: ("add_tag", s.path, digest_of(s.image().encode()), "v3"),
    "copy it elsewhere": lambda s: ("copy", s.path, digest_of(s.image().encode()), f"{s.path}-4", "v1"),
    "delete the image and collect": lambda s: ("each", [s.deletion, ("collect",)]),
    "delete the tag": lambda s: ("delete_tag", s.path, "v1"),
    "delete the repository and collect": lambda s: ("each", [("delete_repository", s.path), ("collect",)]),
}
MEETINGS = {
    "delete the image and collect": list(DEEDS)[:9],
    "delete the repository and collect": [
        "push its blobs again",
        "push an index of it",
        "mount a blob",
        "keep a blob",
        "copy it elsewhere",
    ],
    "delete the tag": ["move its tag", "add a tag"],
}


@pytest.mark.parametrize(("removing", "creating"), [(r, c) for r, cs in MEETINGS.items() for c in cs])
def test_who_creates_meets_who_removes(stage: Stage, creating: str, removing: str) -> None:
    for outcomes in race(stage, lambda s: (s.pushed, DEEDS[creating](s), DEEDS[removing](s))):
        assert "done" in outcomes


@pytest.mark.parametrize("creating", ["push its blobs again", "mount a blob"])
def test_what_somebody_has_locked_for_use_is_not_collected(stage: Stage, creating: str) -> None:
    """From the statement on that finds the blobs, nobody can take them away any more."""
    removing = DEEDS["delete the image and collect"]
    outcomes = race(stage, lambda s: (s.pushed, DEEDS[creating](s), removing(s)))
    finds = "EXECUTE (push_manifest|lock_parts|mountable) "
    found = next(i for i, sql in enumerate(stage.stops) if re.search(finds, sql))
    assert set(outcomes[found:]) == {("done", "done")}


@pytest.mark.parametrize(
    "creating", ["push its blobs again", "push an index of it", "mount a blob", "add a tag"]
)
def test_who_removes_meets_who_creates(stage: Stage, creating: str) -> None:
    """The same, and it is the other who is overtaken."""
    deleting = DEEDS["delete the image and collect"]
    for outcomes in race(stage, lambda s: (s.pushed, deleting(s), DEEDS[creating](s))):
        assert "done" in outcomes


@pytest.mark.parametrize("held", [True, False], ids=["a lease holds", "nothing holds"])
@pytest.mark.parametrize("creating", ["push its blobs again", "keep a blob", "upload a blob again"])
def test_the_collector_meets_who_wants_what_was_freed(stage: Stage, creating: str, *, held: bool) -> None:
    """The image is deleted; its blobs are due when somebody comes who could use them."""

    def plan(s: Scene) -> tuple[list[Order], Order, Order]:
        return [*s.pushed, *(s.blobs if held else []), s.deletion], ("collect",), DEEDS[creating](s)

    outcomes = race(stage, plan)
    if held or creating == "upload a blob again":
        assert set(outcomes) == {("done", "done")}


@pytest.mark.parametrize(
    "pair",
    list(
        itertools.combinations(
            ["push its blobs again", "push an index of it", "move its tag", "add a tag"], 2
        )
    ),
    ids=" and ".join,
)
def test_pushers_do_not_refuse_each_other(stage: Stage, pair: tuple[str, str]) -> None:
    outcomes = race(stage, lambda s: (s.pushed, DEEDS[pair[0]](s), DEEDS[pair[1]](s)))
    assert set(outcomes) == {("done", "done")}


def test_two_push_the_same_manifest(stage: Stage) -> None:
    outcomes = race(stage, lambda s: (s.blobs, s.put(s.image(), "v1"), s.put(s.image(), "v1")))
    assert set(outcomes) == {("done", "done")}


def test_two_point_one_tag_at_different_manifests(stage: Stage) -> None:
    """The later one wins, and the history tells both moves in their order."""

    def plan(s: Scene) -> tuple[list[Order], Order, Order]:
        one, other = (s.put(s.image(annotations={"n": n}), "v1") for n in "12")
        return s.blobs, one, other

    assert set(race(stage, plan)) == {("done", "done")}
    broken = stage.rows(
        "SELECT t.name FROM registry_core_tag t JOIN registry_core_artifact a ON a.id = t.artifact_id JOIN LATERAL "
        "(SELECT h.to_digest FROM registry_core_taghistory h WHERE h.repository_id = t.repository_id "
        " AND h.name = t.name ORDER BY h.id DESC LIMIT 1) last ON true WHERE last.to_digest <> a.digest"
    )
    assert broken == []


@pytest.mark.parametrize("first", ["subject", "referrer"])
def test_a_subject_and_its_referrer_arrive_together(stage: Stage, first: str) -> None:
    """Neither can miss the other: ledger.py finds a referrer whose subject is here and not linked."""

    def plan(s: Scene) -> tuple[list[Order], Order, Order]:
        both = s.put(s.image(), "v1"), s.put(s.referrer(s.image()))
        return s.blobs, *(both if first == "subject" else both[::-1])

    assert set(race(stage, plan)) == {("done", "done")}


@pytest.mark.parametrize("deed", ["pushes", "deletes"])
@pytest.mark.parametrize("comes", ["first", "second"])
def test_what_two_repositories_share_is_counted_once(stage: Stage, deed: str, comes: str) -> None:
    """One deletes the image, the other pushes or deletes it elsewhere in the project: ledger.py looks at the sums."""

    def plan(s: Scene) -> tuple[list[Order], Order, Order]:
        elsewhere = Scene(f"{s.path}-2", s.text)
        before = [*s.pushed, *(elsewhere.blobs if deed == "pushes" else elsewhere.pushed)]
        both = s.deletion, elsewhere.put(s.image(), "v1") if deed == "pushes" else elsewhere.deletion
        return before, *(both if comes == "first" else both[::-1])

    assert set(race(stage, plan)) == {("done", "done")}


def test_two_upload_the_same_bytes(stage: Stage) -> None:
    def plan(s: Scene) -> tuple[list[Order], Order, Order]:
        digest = digest_of(s.text.encode())
        one, other = (("push_blob", s.path + who, who, s.text, digest) for who in ("alice", "bob"))
        return [], one, other

    assert set(race(stage, plan)) == {("done", "done")}


def test_two_collectors_do_not_disturb_each_other(stage: Stage) -> None:
    outcomes = race(stage, lambda s: ([*s.pushed, s.deletion], ("collect",), ("collect",)))
    assert set(outcomes) == {("done", "done")}
    assert stage.rows("SELECT 1 FROM registry_core_collectorcandidate WHERE due_at <= now()") == []


# -- why the collector locks in one statement and asks in a second one

GATE = 4711
# Reads of blobs by whoever has `slowed` in front of the search path wait at the gate, in the middle of their statement:
# its snapshot is taken, its locks are not.
SLOWED = f"""
CREATE SCHEMA slowed;
CREATE FUNCTION slowed.wait(bigint) RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    PERFORM pg_advisory_lock_shared({GATE});
    PERFORM pg_advisory_unlock_shared({GATE});
    RETURN true;
END $$;
CREATE VIEW slowed.registry_core_blob AS SELECT * FROM public.registry_core_blob WHERE slowed.wait(id)
"""  # noqa: S608  the gate is a number
ONE_STATEMENT = """
WITH dead AS (
    SELECT b.id FROM registry_core_blob b JOIN registry_core_collectorcandidate c ON c.blob_id = b.id
    WHERE c.due_at <= now()
      AND NOT EXISTS (SELECT 1 FROM registry_core_artifactblob e WHERE e.blob_id = b.id)
      AND NOT EXISTS (SELECT 1 FROM registry_core_repositoryblob l WHERE l.blob_id = b.id AND l.leased_until > now())
    ORDER BY b.id FOR UPDATE OF b SKIP LOCKED
), candidates AS (DELETE FROM registry_core_collectorcandidate WHERE blob_id IN (SELECT id FROM dead)),
leases AS (DELETE FROM registry_core_repositoryblob WHERE blob_id IN (SELECT id FROM dead))
SELECT id FROM dead
"""


@pytest.fixture(scope="module")
def slowed(stage: Stage) -> Iterator[Actor]:
    """A collector that can be held between snapshot and lock."""
    stage.rows(SLOWED)
    path = "options=-c%20search_path%3Dslowed%2Cpublic"
    actor = Actor({**stage.environment, "DATABASE_URL": f"{stage.database}?{path}"})
    yield actor
    actor.close()


@pytest.mark.parametrize("statements", [1, 2])
def test_what_is_linked_between_snapshot_and_lock_is_lost_by_one_statement_and_kept_by_two(
    stage: Stage, slowed: Actor, statements: int
) -> None:
    scene = Scene()
    stage.first.do("each", [*scene.pushed, scene.deletion])
    stage.rows("SELECT pg_advisory_lock(%s)", GATE)
    slowed.begin(*(("collect_blobs",) if statements == 2 else ("select", ONE_STATEMENT)))
    while not stage.is_waiting(slowed):
        pass
    # Acknowledged: the same bytes come again, and their pusher may count on them.
    stage.first.do("each", scene.blobs)
    stage.rows("SELECT pg_advisory_unlock(%s)", GATE)
    taken = slowed.end()
    if statements == 1:
        assert len(taken) == 1  # with a lease that runs for 24 hours
        return
    stage.first.do(*scene.put(scene.image(), "v2"))
    assert_whole(stage)
