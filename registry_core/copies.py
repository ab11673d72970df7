"""Copying an artifact to another repository: rows, no bytes (contract 7, Copy artifact).

With it come the children of an index, all the way down, and what is attached to any of them, each with the tags that it
has: so does Harbor, and clients of cosign find their signatures by tag. It is a push of all these at once: the same
locks in the same order (locks.py), of two repositories. The artifacts that are copied are locked against deletion until
the end, and with them the edges that hold their blobs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.db import connection

from registry_core import accounting, errors, hooks, push_rows, versions
from registry_core.actions import ensure_repository
from registry_core.locks import Vanished, retrying
from registry_core.models import Artifact
from registry_core.references import RepositoryName
from registry_core.statements import Step, run_all

MAX_PARTS = 10_000  # artifacts that go together

# Looked at before anything is locked: what is attached meanwhile stays behind, as if it had come after the copy.
_PARTS = f"""
WITH RECURSIVE closure (id) AS (
    SELECT %(artifact)s::bigint
    UNION
    SELECT next.id FROM closure JOIN LATERAL (
        SELECT c.child_id AS id FROM registry_core_artifactchild c
        WHERE c.artifact_id = closure.id AND c.child_id IS NOT NULL
        UNION ALL
        SELECT r.id FROM registry_core_artifact r WHERE r.subject_id = closure.id
    ) AS next ON true
)
SELECT a.id, a.digest, octet_length(a.payload), a.subject_digest,
    ARRAY(SELECT c.digest FROM registry_core_artifactchild c WHERE c.artifact_id = a.id),
    ARRAY(SELECT t.name FROM registry_core_tag t WHERE t.artifact_id = a.id)
FROM registry_core_artifact a WHERE a.id IN (SELECT id FROM closure) ORDER BY a.id LIMIT {MAX_PARTS + 1}
"""
_LOCK_SOURCE = "SELECT 1 FROM registry_core_repository WHERE id = %s FOR KEY SHARE"
# As push_rows._LOCK_PARTS, in whose comment it says why one snapshot is enough.
_LOCK_PARTS = """
WITH t AS MATERIALIZED (
    SELECT name, artifact_id FROM registry_core_tag
    WHERE repository_id = %(repository)s AND name = ANY(%(tags)s::text[]) ORDER BY name FOR UPDATE
), a AS MATERIALIZED (
    SELECT id, repository_id, digest FROM registry_core_artifact
    WHERE id = ANY(%(parts)s::bigint[] || ARRAY(
        SELECT x.id FROM registry_core_artifact x
        WHERE x.repository_id = %(repository)s AND x.digest = ANY(%(digests)s::varchar[])))
    ORDER BY id FOR KEY SHARE
), b AS MATERIALIZED (
    SELECT id, digest, size FROM registry_core_blob
    WHERE id = ANY(ARRAY(
        SELECT e.blob_id FROM registry_core_artifactblob e WHERE e.artifact_id = ANY(%(parts)s::bigint[])))
    ORDER BY id FOR KEY SHARE
)
SELECT 'tag', name, artifact_id, 0 FROM t
UNION ALL SELECT 'artifact', digest, id, repository_id FROM a
UNION ALL SELECT 'blob', digest, id, size FROM b
"""
_INSERT = f"""
INSERT INTO registry_core_artifact ({push_rows.COLUMNS})
SELECT %(repository)s, digest, media_type, artifact_type, kind, config_media_type, size, subject_digest, NULL,
    annotations, extra_attrs, payload, now()
FROM registry_core_artifact WHERE id = ANY(%(new)s) ORDER BY id
RETURNING id, digest
"""
_COPY_OF = """
registry_core_artifact a ON a.id = e.artifact_id
JOIN registry_core_artifact n ON n.repository_id = %(repository)s AND n.digest = a.digest
"""
# Sorted by blob: unsorted rows deadlock (design 3, Locks).
_INSERT_EDGES = f"""
INSERT INTO registry_core_artifactblob (artifact_id, repository_id, digest, blob_id)
SELECT n.id, %(repository)s, e.digest, e.blob_id FROM registry_core_artifactblob e JOIN {_COPY_OF}
WHERE e.artifact_id = ANY(%(new)s) ORDER BY e.blob_id, n.id
"""
_INSERT_CHILDREN = f"""
INSERT INTO registry_core_artifactchild (artifact_id, repository_id, digest, child_id, descriptor, position)
SELECT n.id, %(repository)s, e.digest, t.id, e.descriptor, e.position FROM registry_core_artifactchild e JOIN {_COPY_OF}
LEFT JOIN registry_core_artifact t ON t.repository_id = %(repository)s AND t.digest = e.digest
WHERE e.artifact_id = ANY(%(new)s) ORDER BY n.id, e.position
"""
# Also of what was here before and waited for a part that has come now.
_FIND_SUBJECTS = """
UPDATE registry_core_artifact r SET subject_id = s.id FROM registry_core_artifact s
WHERE s.repository_id = %(repository)s AND s.digest = r.subject_digest AND r.id IN (
    SELECT id FROM registry_core_artifact
    WHERE repository_id = %(repository)s AND subject_digest <> '' AND subject_id IS NULL
        AND (digest = ANY(%(copied)s::varchar[]) OR subject_digest = ANY(%(copied)s::varchar[]))
    ORDER BY id FOR NO KEY UPDATE)
"""
_FIND_CHILDREN = """
UPDATE registry_core_artifactchild c SET child_id = n.id FROM registry_core_artifact n
WHERE c.repository_id = %(repository)s AND c.digest = ANY(%(copied)s::varchar[]) AND c.child_id IS NULL
    AND n.repository_id = %(repository)s AND n.digest = c.digest
"""


@dataclass(frozen=True, slots=True)
class _Part:
    """An artifact that is copied; `named` are the digests of its children and its subject."""

    pk: int
    digest: str
    size: int
    named: list[str]
    tags: list[str]


@dataclass(slots=True)
class _Held:
    """Locked until commit: what the target has already, by digest and tag, and the blobs of what is copied."""

    artifacts: dict[str, int] = field(default_factory=dict)
    tags: dict[str, int] = field(default_factory=dict)
    blobs: dict[str, int] = field(default_factory=dict)


@retrying
def copy_artifact(
    grant: hooks.Grant, name: RepositoryName, source: Artifact, tag: str = "", address: str = ""
) -> None:
    """Have `source` and what belongs to it in the repository `name`, which may be new; `tag` is how it was asked for.

    NotFound when it was deleted meanwhile. Where nothing changes it is no push: neither checked nor recorded.
    """
    if source.subject_digest:
        raise errors.Denied("the operation isn't supported for an artifact accessory")
    repository_id = ensure_repository(grant.namespace_id, name.path).pk
    parts = _look(source)
    moves = {t: part.digest for part in parts for t in part.tags}
    if tag:  # if it moves at this moment it is still what the caller saw
        moves[tag] = source.digest
    held = _lock(repository_id, source, parts, moves)
    new = [part for part in parts if part.digest not in held.artifacts]
    if not new and all(held.tags.get(t) == held.artifacts[digest] for t, digest in moves.items()):
        return
    new_bytes = _insert(grant, repository_id, new, held)
    _point(grant, repository_id, held, moves)
    pushed = dict.fromkeys([*(part.digest for part in new), source.digest])
    line = push_rows.audit_line(grant, name, source.digest, (tag,) if tag else (), address)
    _record(grant, name, pushed, moves, line)
    versions.raise_after_commit(grant.namespace_id, name.path)
    tags = tuple(sorted(moves))
    hooks.check_push(
        hooks.Push(grant.principal, grant.namespace_id, name.path, source.digest, tags, new_bytes)
    )


def _look(source: Artifact) -> list[_Part]:
    with connection.cursor() as cursor:
        cursor.execute(_LOCK_SOURCE, [source.repository_id])
        cursor.execute(_PARTS, {"artifact": source.pk})
        rows = cursor.fetchall()
    if not rows:
        raise errors.NotFound(f"artifact {source.digest} not found")
    if len(rows) > MAX_PARTS:
        text = f"more than {MAX_PARTS} artifacts belong together with {source.digest}"
        raise errors.BadRequest(text, {"limit": MAX_PARTS})
    return [
        _Part(pk, digest, size, [*children, *([subject] if subject else [])], tags)
        for pk, digest, size, subject, children, tags in rows
    ]


def _lock(repository_id: int, source: Artifact, parts: list[_Part], tags: Mapping[str, str]) -> _Held:
    """Names, tags, artifacts of both repositories, blobs."""
    digests = {part.digest for part in parts}
    named = {digest for part in parts for digest in part.named} - digests
    ids = [part.pk for part in parts]
    with connection.cursor() as cursor:
        run_all(cursor, [push_rows.hold_names(repository_id, digests, tags, named)])
        cursor.execute(
            _LOCK_PARTS,
            {
                "repository": repository_id, "tags": sorted(tags), "parts": ids,
                "digests": sorted(digests | named),
            },
        )  # fmt: skip
        rows = cursor.fetchall()
    held, locked = _Held(), set()
    for kind, name, pk, number in rows:
        if kind == "tag":
            held.tags[name] = pk
        elif kind == "blob":
            held.blobs[name] = number
        else:
            locked.add(pk)
            if number == repository_id:
                held.artifacts[name] = pk
    if source.pk not in locked:
        raise errors.NotFound(f"artifact {source.digest} not found")
    if not locked.issuperset(ids):
        raise Vanished
    return held


def _insert(grant: hooks.Grant, repository_id: int, new: list[_Part], held: _Held) -> int:
    """The rows of what is not there yet; the bytes that the namespace did not hold before."""
    if not new:
        return 0
    arguments: dict[str, Any] = {
        "repository": repository_id, "new": [part.pk for part in new], "copied": [part.digest for part in new],
    }  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute(_INSERT, arguments)
        held.artifacts |= {digest: pk for pk, digest in cursor.fetchall()}
        for statement in (_INSERT_EDGES, _INSERT_CHILDREN, _FIND_SUBJECTS, _FIND_CHILDREN):
            cursor.execute(statement, arguments)
        run_all(cursor, [push_rows.list_repository(repository_id)])
    return accounting.count_in(grant.namespace_id, held.blobs | {part.digest: part.size for part in new})


def _tags_at(moves: Mapping[str, str], digest: str) -> tuple[str, ...]:
    return tuple(sorted(tag for tag, to in moves.items() if to == digest))


def _point(grant: hooks.Grant, repository_id: int, held: _Held, moves: Mapping[str, str]) -> None:
    by = grant.principal.name
    steps: list[Step] = [
        push_rows.point_tags(repository_id, held.artifacts[digest], digest, _tags_at(moves, digest), by)
        for digest in sorted(set(moves.values()))
    ]
    if steps:
        with connection.cursor() as cursor:
            run_all(cursor, steps)


def _record(
    grant: hooks.Grant, name: RepositoryName, pushed: Iterable[str], moves: Mapping[str, str], line: Step
) -> None:
    """One event for each that came, and one line for what was asked."""
    events = [push_rows.event(grant, name, digest, _tags_at(moves, digest)) for digest in pushed]
    with connection.cursor() as cursor:
        run_all(cursor, [*events, line])
