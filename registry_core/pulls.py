"""Pulls leave their trace later: a buffer in memory, written within 10 seconds (design 2.9).

The first pull of an artifact in a day and process is kept until it is written; counts and audit lines beyond the bounds
are lost, and so are those of a process that is killed.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from django.db import connection

from registry_core import audit, errors
from registry_core.digests import is_digest
from registry_core.hooks import Grant
from registry_core.locks import retrying
from registry_core.lookups import Stored
from registry_core.references import RepositoryName

log = logging.getLogger("breakwater.pulls")

PERIOD = 10.0
MAX_ARTIFACTS = 100_000
MAX_LINES = 20_000
PART = 1000  # of one transaction: a process of the database keeps the memory that a longer one takes


@dataclass(slots=True)
class _Pulled:
    repository_id: int
    count: int
    at: float


class Line(NamedTuple):
    """Put into words when it is written: thousands a second are dropped unread."""

    grant: Grant
    repository: RepositoryName
    reference: str
    digest: str
    address: str
    at: float

    @property
    def resource(self) -> str:
        return f"{self.repository}{'@' if is_digest(self.reference) else ':'}{self.reference}"

    def as_row(self) -> audit.Line:
        return audit.Line(
            self.grant.principal.name or "anonymous", audit.PULL, "artifact", self.resource,
            f"pull artifact: {self.repository}@{self.digest}", succeeded=True, namespace_id=self.grant.namespace_id,
            address=audit.inet(self.address), occurred_at=_when(self.at),
        )  # fmt: skip


class Buffer:
    def __init__(self) -> None:
        self.pulled: dict[tuple[int, str], _Pulled] = {}
        self.lines: deque[Line] = deque(maxlen=MAX_LINES)

    def is_empty(self) -> bool:
        return not self.pulled and not self.lines

    def first(self, most: int) -> Buffer:
        """The oldest `most` entries and lines."""
        part = Buffer()
        part.pulled.update(itertools.islice(self.pulled.items(), most))
        part.lines.extend(itertools.islice(self.lines, most))
        return part

    def remove(self, first: Buffer) -> None:
        for key in first.pulled:
            del self.pulled[key]
        for _ in first.lines:
            self.lines.popleft()


_buffer = Buffer()


def note(stored: Stored, grant: Grant, repository: RepositoryName, reference: str, address: str) -> None:
    """Somebody fetched a manifest; costs a dictionary entry."""
    key, now = (stored.artifact_id, "" if reference == stored.digest else reference), time.time()
    if (entry := _buffer.pulled.get(key)) is not None:
        entry.count += 1
        entry.at = now
    elif len(_buffer.pulled) < MAX_ARTIFACTS:
        _buffer.pulled[key] = _Pulled(stored.repository_id, 1, now)
    _buffer.lines.append(Line(grant, repository, reference, stored.digest, address, now))


def take() -> Buffer:
    """The buffer so far; what is noted from now on goes into a new one. Call from the event loop's thread."""
    global _buffer
    taken, _buffer = _buffer, Buffer()
    return taken


def give_back(taken: Buffer) -> None:
    """Not written: the artifacts stay due. Lines are at most once, and are not tried again."""
    for key, entry in taken.pulled.items():
        if (newer := _buffer.pulled.get(key)) is not None:
            newer.count += entry.count
        elif len(_buffer.pulled) < MAX_ARTIFACTS:
            _buffer.pulled[key] = entry


def write(taken: Buffer) -> bool:
    """In a pool thread: last pulls of artifacts and tags, counts of repositories, audit lines; in parts, of which those
    that are written leave the buffer. False: try again."""
    try:
        while not taken.is_empty():
            part = taken.first(PART)
            _write(part)
            taken.remove(part)
    except errors.Unavailable as e:
        log.warning("pulls are not written yet", extra={"fields": {"artifacts": len(taken.pulled), "cause": e.message}})
        return False
    return True


def _when(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)


@retrying
def _write(taken: Buffer) -> None:
    repositories: dict[int, int] = {}
    tags: dict[tuple[int, str], float] = {}
    artifacts: dict[int, float] = {}
    for (artifact_id, tag), entry in taken.pulled.items():
        repositories[entry.repository_id] = repositories.get(entry.repository_id, 0) + entry.count
        artifacts[artifact_id] = max(artifacts.get(artifact_id, 0), entry.at)
        if tag:
            tags[artifact_id, tag] = entry.at
    with connection.cursor() as cursor:
        _count_pulls(cursor, repositories)
        _date_tags(cursor, tags)
        _date_artifacts(cursor, artifacts)
    audit.write([line.as_row() for line in taken.lines])


def _count_pulls(cursor: Any, repositories: dict[int, int]) -> None:
    ids = sorted(repositories)
    cursor.execute(
        "SELECT 1 FROM registry_core_repository WHERE id = ANY(%s) ORDER BY id FOR NO KEY UPDATE", [ids]
    )
    cursor.execute(
        "UPDATE registry_core_repository r SET pull_count = pull_count + p.n, updated_at = now() "
        "FROM unnest(%s::bigint[], %s::bigint[]) AS p (id, n) WHERE r.id = p.id",
        [ids, [repositories[i] for i in ids]],
    )


def _date_tags(cursor: Any, tags: dict[tuple[int, str], float]) -> None:
    keys = sorted(tags)
    arguments = [[a for a, _ in keys], [t for _, t in keys]]
    cursor.execute(
        "SELECT 1 FROM registry_core_tag t JOIN unnest(%s::bigint[], %s::text[]) AS p (artifact_id, name) "
        "ON t.artifact_id = p.artifact_id AND t.name = p.name ORDER BY t.name, t.id FOR NO KEY UPDATE OF t",
        arguments,
    )
    cursor.execute(
        "UPDATE registry_core_tag t SET pulled_at = greatest(t.pulled_at, p.at) "
        "FROM unnest(%s::bigint[], %s::text[], %s::timestamptz[]) AS p (artifact_id, name, at) "
        "WHERE t.artifact_id = p.artifact_id AND t.name = p.name",
        [*arguments, [_when(tags[k]) for k in keys]],
    )


def _date_artifacts(cursor: Any, artifacts: dict[int, float]) -> None:
    ids = sorted(artifacts)
    cursor.execute(
        "SELECT 1 FROM registry_core_artifact WHERE id = ANY(%s) ORDER BY id FOR NO KEY UPDATE", [ids]
    )
    cursor.execute(
        "UPDATE registry_core_artifact a SET pulled_at = greatest(a.pulled_at, p.at) "
        "FROM unnest(%s::bigint[], %s::timestamptz[]) AS p (id, at) WHERE a.id = p.id",
        [ids, [_when(artifacts[i]) for i in ids]],
    )
