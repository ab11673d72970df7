"""What a change costs does not depend on how much there is: pages that PostgreSQL looks at, statement by statement."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.bench import bulk
from tests.components.postgres import Postgres
from tests.components.valkey import Valkey
from tests.content import MANIFEST, digest_of, encode, image_document
from tests.server import Server
from tests.steps import Actor

SIZES = (100, 20_000)
# A taller index, a page that is full: a handful of pages. Reading the tables of 20,000 tags is hundreds.
MORE = 60
CONFIG, LAYER = '{"architecture": "amd64", "os": "linux"}', "the layer of all"


class Grown:
    """A registry with so many tags, and what is done in its repository `path`."""

    def __init__(self, server: Server, size: int, *, spread: bool) -> None:
        self.actor = Actor(server.environment)
        self.path = "s00000001" if spread else "one"
        self._push("one", CONFIG, LAYER)
        document = image_document(CONFIG.encode(), [LAYER.encode()], annotations={"number": bulk.NUMBER})
        first = encode(document).decode()
        self.actor.do("put_manifest", "one", "pusher", first, MANIFEST, [f"t{bulk.NUMBER}"])
        bulk.copy_image(server.database, "races", "one", size, spread=spread)

    def _push(self, path: str, *texts: str) -> None:
        for text in texts:
            self.actor.do("push_blob", path, "pusher", text, digest_of(text.encode()))

    def changes(self) -> dict[str, int]:
        """An image that shares a layer with all others is pushed, deleted, and collected; pages by statement."""
        own = json.dumps({"unique": 1})
        self._push(self.path, own, LAYER)
        payload = encode(image_document(own.encode(), [LAYER.encode()]))
        orders: list[tuple[str, list[Any]]] = [
            ("put_manifest", [self.path, "pusher", payload.decode(), MANIFEST, ["new"]]),
            ("delete_artifact", [self.path, digest_of(payload)]),
            ("collect", []),
        ]
        pages: dict[str, int] = {}
        for deed, arguments in orders:
            for sql, count in self.actor.do("touched", deed, arguments):
                key = f"{deed}: {' '.join(sql.split())}"
                pages[key] = max(pages.get(key, 0), count)
        return pages


@pytest.fixture(scope="module", params=[False, True], ids=["one repository", "many repositories"])
def grown(request: pytest.FixtureRequest, postgres: Postgres, valkey: Valkey) -> Iterator[list[Grown]]:
    both = [Grown(Server(postgres, valkey.url(61)), size, spread=request.param) for size in SIZES]
    yield both
    for one in both:
        one.actor.close()


def test_a_push_a_deletion_and_its_collection_look_at_as_many_pages_among_20000_tags_as_among_100(
    grown: list[Grown],
) -> None:
    few, many = (one.changes() for one in grown)
    assert len(many) > 30, f"these are not the statements of all three: {sorted(many)}"
    more = {sql: (few.get(sql, 0), count) for sql, count in many.items() if count > few.get(sql, 0) + MORE}
    assert more == {}


def test_a_page_of_tags_is_planned_once(grown: list[Grown]) -> None:
    """Left alone PostgreSQL plans it each time in a large repository, and once in a small one."""
    assert [one.actor.do("planned_anew", one.path) for one in grown] == [0, 0]
