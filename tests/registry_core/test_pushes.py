"""What a push of a manifest costs, counted in trips to PostgreSQL; and that what is spared was not needed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.components.postgres import Postgres
from tests.content import INDEX, digest_of
from tests.ledger import assert_adds_up
from tests.registry_core.test_races import PROJECT, Scene
from tests.server import Server
from tests.steps import Actor, Refused


class Pusher:
    """A process of the registry that counts its trips."""

    def __init__(self, server: Server) -> None:
        self.server, self.actor = server, Actor(server.environment)
        server.rows(PROJECT)

    def trips(self, *order: Any) -> list[str]:
        """BEGIN and COMMIT are none of Django's statements, and not counted."""
        return list(self.actor.do("trips", *order))

    def leases(self, scene: Scene) -> int:
        ((count,),) = self.server.rows(
            "SELECT count(*) FROM registry_core_repositoryblob l JOIN registry_core_repository r "
            "ON r.id = l.repository_id WHERE r.path = %s",
            scene.path,
        )
        return int(count)

    def history(self, scene: Scene) -> list[tuple[Any, ...]]:
        return self.server.rows(
            "SELECT h.name, h.from_digest, h.to_digest FROM registry_core_taghistory h JOIN registry_core_repository r "
            "ON r.id = h.repository_id WHERE r.path = %s ORDER BY h.id",
            scene.path,
        )


@pytest.fixture(scope="module")
def pusher(postgres: Postgres) -> Iterator[Pusher]:
    pusher = Pusher(Server(postgres, "redis://127.0.0.1:1/0"))
    yield pusher
    pusher.actor.close()
    assert_adds_up(pusher.server.database, pusher.server.storage)


@pytest.fixture
def scene(pusher: Pusher) -> Scene:
    scene = Scene()
    pusher.actor.do("each", scene.pushed)
    return scene


def test_a_manifest_that_is_where_it_should_be_costs_one_trip(pusher: Pusher, scene: Scene) -> None:
    before = pusher.history(scene)
    assert len(pusher.trips(*scene.put(scene.image(), "v1"))) == 1
    assert pusher.history(scene) == before


def test_a_new_manifest_over_known_blobs_costs_two(pusher: Pusher, scene: Scene) -> None:
    image = scene.image(annotations={"n": "2"})
    assert len(pusher.trips(*scene.put(image, "v1"))) == 2
    one, two = digest_of(scene.image().encode()), digest_of(image.encode())
    assert pusher.history(scene) == [("v1", "", one), ("v1", one, two)]


def test_pushing_again_ends_the_leases_that_its_client_asked_for(pusher: Pusher, scene: Scene) -> None:
    pusher.actor.do("mount", scene.path, "alice", digest_of(scene.text.encode()), scene.path)
    assert pusher.leases(scene) == 1
    pusher.actor.do(*scene.put(scene.image(), "v1"))
    assert pusher.leases(scene) == 0


def test_pushing_again_is_no_push_only_where_nothing_is_to_do(pusher: Pusher, scene: Scene) -> None:
    """A tag that went or moved, one more tag, an absent part, a tag that makes it a signature."""
    image, one = scene.image(), digest_of(scene.image().encode())
    other = scene.image(annotations={"n": "2"})
    pusher.actor.do("delete_tag", scene.path, "v1")
    pusher.actor.do(*scene.put(image, "v1"))
    pusher.actor.do(*scene.put(other, "v1"))
    pusher.actor.do(*scene.put(image, "v1"))
    pusher.actor.do(*scene.put(image, "v1", "v2"))
    two = digest_of(other.encode())
    assert pusher.history(scene) == [
        ("v1", "", one), ("v1", one, ""), ("v1", "", one), ("v1", one, two), ("v1", two, one), ("v2", "", one),
    ]  # fmt: skip


def test_one_that_lost_bytes_is_refused_again(pusher: Pusher, scene: Scene) -> None:
    """Scrub found them missing: the pusher is asked for them, also where all else is in its place."""
    pusher.server.rows(
        "UPDATE registry_core_blob SET missing_since = now() WHERE digest = %s", digest_of(scene.text.encode())
    )
    with pytest.raises(Refused, match="MANIFEST_BLOB_UNKNOWN"):
        pusher.actor.do(*scene.put(scene.image(), "v1"))
    pusher.server.rows("UPDATE registry_core_blob SET missing_since = NULL")


def test_any_other_push_costs_four(pusher: Pusher, scene: Scene) -> None:
    assert len(pusher.trips(*scene.put(scene.index(scene.image()), "all", media_type=INDEX))) == 4
