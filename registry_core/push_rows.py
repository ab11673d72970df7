"""The statements of a push: what it looks at, what it locks, what it writes; actions.put_manifest is their order.

They are SQL, not the ORM: the locks must be exactly these (`FOR KEY SHARE` in id order; what the ORM offers would
serialise all pushers of one base layer: design 3, Locks). What can travel together does, since a trip costs as much as
a statement. A statement sees what was committed before it began, also where it waits for a lock in its middle: what has
to see what others did while we waited is a statement of its own, after the one that waited.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from django.db import connection

from registry_core import audit, errors, events, hooks
from registry_core.locks import BY_INDEX, alone, name_keys, tag_keys
from registry_core.manifests import Manifest, kind_of, storable
from registry_core.references import RepositoryName
from registry_core.statements import UNHURRIED, Statement, Step, run_all

MAX_CONFIG = 1 << 20  # bytes of a config that are read for lists

# A blob counts here while an artifact of the repository holds it or the pusher's lease runs. OFFSET: asked for each
# blob, never answered once with a hash of all that the repository holds.
_READABLE = """
    (EXISTS (SELECT 1 FROM registry_core_artifactblob e
             WHERE e.repository_id = {repository} AND e.digest = b.digest AND e.blob_id = b.id OFFSET 0)
     OR EXISTS (SELECT 1 FROM registry_core_repositoryblob l WHERE l.repository_id = {repository}
                AND l.blob_id = b.id AND l.principal = %(principal)s AND l.leased_until > now() OFFSET 0))
"""


# -- before the transaction


class Seen(NamedTuple):
    """`is_known`: the manifest is here. `is_done`: whole, and all the tags are at it. `config_key`: where the config of
    one that is not here lies in the store, unless lists show nothing of it."""

    repository_id: int | None = None
    is_known: bool = False
    is_done: bool = False
    config_key: str | None = None


# Leases end as with any push. Losing that with the server is no harm: they end by themselves.
_LOOK = Statement(
    "look_before_push",
    f"""
WITH seen AS MATERIALIZED (
    SELECT r.id AS repository_id, a.id AS artifact_id,
        (SELECT count(*) FROM registry_core_tag t WHERE t.repository_id = r.id AND t.name = ANY(%(tags)s::text[])
            AND t.artifact_id = a.id) = cardinality(%(tags)s::text[])
        AND (%(subject)s = '' OR a.subject_digest <> '')
        AND NOT EXISTS (SELECT 1 FROM registry_core_artifactblob e LEFT JOIN registry_core_blob b ON b.id = e.blob_id
                        WHERE e.artifact_id = a.id AND (b.id IS NULL OR b.missing_since IS NOT NULL) OFFSET 0)
        AND NOT EXISTS (SELECT 1 FROM registry_core_artifactchild c
                        WHERE c.artifact_id = a.id AND c.child_id IS NULL OFFSET 0) AS is_done
    FROM registry_core_repository r
    LEFT JOIN registry_core_artifact a ON a.repository_id = r.id AND a.digest = %(digest)s
    WHERE r.namespace_id = %(namespace)s AND r.path = %(path)s
), ended AS (
    DELETE FROM registry_core_repositoryblob l USING seen, registry_core_artifactblob e
    WHERE seen.is_done AND e.artifact_id = seen.artifact_id AND l.repository_id = seen.repository_id
        AND l.blob_id = e.blob_id AND l.principal = %(principal)s AND {UNHURRIED}
)
SELECT seen.repository_id, seen.artifact_id IS NOT NULL, seen.artifact_id IS NOT NULL AND seen.is_done,
    CASE WHEN seen.artifact_id IS NULL THEN
    (SELECT b.key FROM registry_core_blob b WHERE b.digest = %(config)s AND b.size <= {MAX_CONFIG}
        AND {_READABLE.format(repository="seen.repository_id")}) END
FROM seen
""",
    under=BY_INDEX,
)


@alone
def look(
    grant: hooks.Grant, name: RepositoryName, manifest: Manifest, subject: str, tags: tuple[str, ...]
) -> Seen:
    """What there is before anything is locked.

    Where all is done already the push is done, too: at the moment of this statement, which lies between the request and
    its answer, everything was there and committed. Who deletes it a moment later deletes what was pushed.
    """
    with connection.cursor() as cursor:
        _LOOK.run(
            cursor,
            {
                "namespace": grant.namespace_id, "path": name.path, "digest": str(manifest.digest),
                "tags": list(tags), "subject": subject, "principal": grant.principal.subject,
                "config": _shown_config(manifest),
            },
        )  # fmt: skip
        row = cursor.fetchone()
    return Seen(*row) if row else Seen()


def _shown_config(manifest: Manifest) -> str:
    """The digest of a config of which lists show something; ''."""
    config = manifest.config
    if config is None or config.size > MAX_CONFIG or kind_of(manifest) in ("UNKNOWN", "SBOM"):
        return ""
    return str(config.digest)


class Found(NamedTuple):
    """What a push knows before its transaction. `attributes`: what lists show of the config."""

    repository_id: int | None
    attributes: dict[str, Any] | None
    allow_sparse: bool
    address: str


# -- locking


@dataclass(slots=True)
class Held:
    """What the transaction holds until its commit.

    `artifacts`: digest → id, of those that the manifest is or names. `blobs`: digest → (id, size), of those that it
    names and its pusher may use here. `tags`: name → id of the artifact. `leased`: blobs that are leased to the pusher.
    `is_awaited`: edges wait for the manifest.
    """

    is_listed: bool = False
    is_awaited: bool = False
    artifacts: dict[str, int] = field(default_factory=dict)
    blobs: dict[str, tuple[int, int]] = field(default_factory=dict)
    tags: dict[str, int] = field(default_factory=dict)
    leased: list[int] = field(default_factory=list)


# The repository before the names: the row is read before any of the calls.
_LOCK_NAMES = Statement(
    "lock_names",
    """
WITH r AS MATERIALIZED (SELECT 1 FROM registry_core_repository WHERE id = %(repository)s FOR KEY SHARE)
SELECT CASE WHEN key = ANY(%(alone)s::bigint[]) THEN pg_advisory_xact_lock(key)
    ELSE pg_advisory_xact_lock_shared(key) END FROM r, unnest(%(keys)s::bigint[]) AS key
""",
)


def lock_names(repository_id: int, manifest: Manifest, subject: str, tags: tuple[str, ...]) -> Step:
    """Nothing where there is no such repository any more.

    The digest's own name is locked alone and those it refers to shared, so that a subject and its referrer, or a child
    and its index, arriving together, cannot miss each other. A tag's name is locked alone, too: where there is no tag
    yet there is no row to lock, and the history would tell of two beginnings.
    """
    return hold_names(repository_id, [str(manifest.digest)], tags, _named(manifest, subject))


def hold_names(repository_id: int, own: Iterable[str], tags: Iterable[str], shared: Iterable[str]) -> Step:
    by_one = name_keys(repository_id, own) + tag_keys(repository_id, tags)
    keys = sorted({*by_one, *name_keys(repository_id, shared)})
    return _LOCK_NAMES, {"repository": repository_id, "alone": by_one, "keys": keys}


def _named(manifest: Manifest, subject: str) -> list[str]:
    children = [str(d.digest) for d in manifest.children]
    return [*children, subject] if subject else children


BLOBS = f"""
    SELECT b.digest, b.id, b.size FROM registry_core_blob b
    -- Bytes that scrub found lost are absent: the pusher is asked for them, which heals the blob.
    WHERE b.digest = ANY(%(blobs)s::varchar[]) AND b.missing_since IS NULL
        AND {_READABLE.format(repository="%(repository)s")}
    ORDER BY b.id FOR KEY SHARE OF b
"""
# Whether edges wait for the manifest.
AWAITED = """
    EXISTS (SELECT 1 FROM registry_core_artifactchild
            WHERE repository_id = %(repository)s AND digest = %(digest)s AND child_id IS NULL)
    OR EXISTS (SELECT 1 FROM registry_core_artifact
               WHERE repository_id = %(repository)s AND subject_digest = %(digest)s AND subject_digest <> ''
               AND subject_id IS NULL)
"""
# Tags, artifacts, blobs, as they are named at the end: that is the order in which they are locked. One snapshot is
# enough, of after the wait for the names: while we hold these nobody else makes such a tag or artifact, and a row that
# goes while we wait for it is not found. A blob that an artifact held when we looked may be used even if the artifact
# goes while we wait: if the blob is still there when it is locked, it stays.
_LOCK_PARTS = Statement(
    "lock_parts",
    f"""
WITH t AS MATERIALIZED (
    SELECT name, artifact_id FROM registry_core_tag
    WHERE repository_id = %(repository)s AND name = ANY(%(tags)s::text[]) ORDER BY name FOR UPDATE
), a AS MATERIALIZED (
    SELECT digest, id FROM registry_core_artifact
    WHERE repository_id = %(repository)s AND digest = ANY(%(digests)s::varchar[]) ORDER BY id FOR KEY SHARE
), b AS MATERIALIZED ({BLOBS})
SELECT 1, name, artifact_id, 0 FROM t
UNION ALL SELECT 2, digest, id, 0 FROM a
UNION ALL SELECT 3, digest, id, size FROM b
UNION ALL SELECT 4, '', b.id, 0 FROM b JOIN registry_core_repositoryblob l
    ON l.repository_id = %(repository)s AND l.blob_id = b.id AND l.principal = %(principal)s
UNION ALL SELECT 5, '', 0, 0 FROM registry_core_repository WHERE id = %(repository)s AND is_listed
UNION ALL SELECT 6, '', 0, 0 WHERE {AWAITED}
UNION ALL SELECT 7, '', id, 0 FROM registry_core_repository WHERE id = %(repository)s
""",
    under=BY_INDEX,
)


def lock(
    repository_id: int, principal: str, manifest: Manifest, subject: str, tags: tuple[str, ...]
) -> Held | None:
    """Everything that the push leads to, locked until commit; None where there is no such repository any more."""
    own = str(manifest.digest)
    named = _named(manifest, subject)
    parts = {
        "repository": repository_id, "tags": list(tags), "digest": own, "digests": [own, *named],
        "blobs": [str(d.digest) for d in manifest.blobs], "principal": principal,
    }  # fmt: skip
    with connection.cursor() as cursor:
        run_all(
            cursor,
            [
                lock_names(repository_id, manifest, subject, tags),
                (_LOCK_PARTS, parts),
            ],
        )
        return _held(cursor.fetchall())


# What a row of _LOCK_PARTS tells of.
_TAG, _ARTIFACT, _BLOB, _LEASE, _LISTED, _AWAITED, _REPOSITORY = range(1, 8)


def _held(rows: list[tuple[int, str, int, int]]) -> Held | None:
    held, is_there = Held(), False
    for kind, name, pk, size in rows:
        if kind == _BLOB:
            held.blobs[name] = pk, size
        elif kind == _ARTIFACT:
            held.artifacts[name] = pk
        elif kind == _TAG:
            held.tags[name] = pk
        elif kind == _LEASE:
            held.leased.append(pk)
        elif kind == _LISTED:
            held.is_listed = True
        elif kind == _AWAITED:
            held.is_awaited = True
        elif kind == _REPOSITORY:
            is_there = True
    return held if is_there else None


_LOCK_BLOBS = Statement("lock_blobs", BLOBS, under=BY_INDEX)


def lock_coming(repository_id: int, principal: str, manifest: Manifest, held: Held) -> None:
    """Absent parts may be arriving: whoever commits one holds its name, so look again once we hold it."""
    absent = [str(d.digest) for d in manifest.blobs if str(d.digest) not in held.blobs]
    if not absent:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_advisory_xact_lock(key) FROM unnest(%s::bigint[]) AS key",
            [name_keys(repository_id, absent)],
        )
        _LOCK_BLOBS.run(cursor, {"blobs": absent, "repository": repository_id, "principal": principal})
        found = cursor.fetchall()
    held.blobs |= {digest: (pk, size) for digest, pk, size in found}
    held.leased += [pk for _, pk, _ in found]


def check_complete(manifest: Manifest, held: Held) -> None:
    missing = [str(d.digest) for d in manifest.blobs if d.is_required and str(d.digest) not in held.blobs]
    missing += [str(d.digest) for d in manifest.children if str(d.digest) not in held.artifacts]
    if missing:
        raise errors.ManifestBlobUnknown(missing)


# -- writing


COLUMNS = """repository_id, digest, media_type, artifact_type, kind, config_media_type, size, subject_digest,
    subject_id, annotations, extra_attrs, payload, pushed_at"""
# Goes on a WITH that has `artifact`, one row, what the tags are to point at, and `before`, the digests where they are.
MOVE = """
moved AS (
    INSERT INTO registry_core_tag (repository_id, name, artifact_id, pushed_at)
    SELECT %(repository)s, name, artifact.id, now() FROM artifact, unnest(%(tags)s::text[]) AS name ORDER BY name
    ON CONFLICT (repository_id, name) DO UPDATE SET artifact_id = excluded.artifact_id, pushed_at = now()
        WHERE registry_core_tag.artifact_id <> excluded.artifact_id
    RETURNING name
), told AS (
    INSERT INTO registry_core_taghistory (repository_id, name, from_digest, to_digest, moved_by, moved_at)
    SELECT %(repository)s, moved.name, coalesce(before.digest, ''), %(digest)s, %(by)s, now()
    FROM moved LEFT JOIN before USING (name) ORDER BY moved.name
    RETURNING 1
)
"""
_POINT = f"""
before AS (
    SELECT t.name, a.digest FROM registry_core_tag t JOIN registry_core_artifact a ON a.id = t.artifact_id
    WHERE t.repository_id = %(repository)s AND t.name = ANY(%(tags)s::text[])
), {MOVE}
SELECT id FROM artifact
"""
_INSERT = Statement(
    "insert_artifact",
    f"""
WITH artifact AS (
    INSERT INTO registry_core_artifact ({COLUMNS})
    VALUES (%(repository)s, %(digest)s, %(media_type)s, %(artifact_type)s, %(kind)s, %(config_media_type)s,
        -- An index weighs what its parts weigh, not what their documents do; a sum of claims may be absurd.
        least(%(own_size)s::bigint + (SELECT coalesce(sum(c.size), 0) FROM registry_core_artifact c
                                      WHERE c.id = ANY(%(parts)s::bigint[])), 1::bigint << 62),
        %(subject)s, %(subject_id)s, %(annotations)s, %(attributes)s, %(payload)s, now())
    RETURNING id
), edges AS (
    -- Sorted by blob: unsorted rows deadlock (design 3, Locks).
    INSERT INTO registry_core_artifactblob (artifact_id, repository_id, digest, blob_id)
    SELECT artifact.id, %(repository)s, edge.* FROM artifact,
        unnest(%(edges)s::text[], %(edge_blobs)s::bigint[]) AS edge (digest, blob_id)
), {_POINT}
""",
)
_POINT_TAGS = Statement("point_tags", f"WITH artifact AS (SELECT %(artifact)s::bigint AS id), {_POINT}")
_LIST = Statement(
    "list_repository",
    "UPDATE registry_core_repository SET is_listed = true, created_at = now() WHERE id = %(repository)s "
    "AND NOT is_listed",
)
_END_LEASES = Statement(
    "end_leases",
    "DELETE FROM registry_core_repositoryblob WHERE repository_id = %(repository)s AND principal = %(principal)s "
    "AND blob_id = ANY(%(blobs)s::bigint[])",
)


def end_leases(repository_id: int, principal: str, held: Held) -> list[Step]:
    """What a manifest holds needs no lease: its bytes are free as soon as the manifest goes."""
    if not held.leased:
        return []
    return [(_END_LEASES, {"repository": repository_id, "principal": principal, "blobs": held.leased})]


def point_tags(repository_id: int, artifact_id: int, digest: str, tags: tuple[str, ...], by: str) -> Step:
    """Those that are elsewhere move, and the history says from where. The tags' names and rows are locked."""
    return _POINT_TAGS, {
        "repository": repository_id, "artifact": artifact_id, "digest": digest, "tags": list(tags), "by": by,
    }  # fmt: skip


def insert(
    repository_id: int,
    manifest: Manifest,
    subject: str,
    held: Held,
    attributes: Mapping[str, Any] | None,
    tags: tuple[str, ...],
    by: str,
) -> list[Step]:
    """The artifact with its edges and its tags; the repository is listed from now on."""
    parts = {held.artifacts[d]: c.size for c in manifest.children if (d := str(c.digest)) in held.artifacts}
    edges = sorted((held.blobs.get(d := str(b.digest), (0,))[0], d) for b in manifest.blobs)
    arguments = {
        "repository": repository_id, "digest": str(manifest.digest), "media_type": manifest.media_type,
        "artifact_type": manifest.artifact_type, "kind": kind_of(manifest),
        "config_media_type": manifest.config_media_type, "own_size": manifest.size - sum(parts.values()),
        "parts": list(parts), "subject": subject, "subject_id": held.artifacts.get(subject),
        "annotations": json.dumps(storable(manifest.annotations)),
        "attributes": None if attributes is None else json.dumps(attributes), "payload": manifest.payload,
        "edges": [digest for _, digest in edges], "edge_blobs": [pk or None for pk, _ in edges],
        "tags": list(tags), "by": by,
    }  # fmt: skip
    steps: list[Step] = [(_INSERT, arguments)]
    if not held.is_listed:
        steps.append(list_repository(repository_id))
    if manifest.children:
        steps.append(_children(repository_id, manifest, held))
    if held.is_awaited:
        steps += [(s, {"repository": repository_id, "digest": str(manifest.digest)}) for s in _ADOPT]
    return steps


def list_repository(repository_id: int) -> Step:
    return _LIST, {"repository": repository_id}


# The artifact that this trip made.
_OWN = "(SELECT id FROM registry_core_artifact WHERE repository_id = %(repository)s AND digest = %(digest)s)"
_INSERT_CHILDREN = Statement(
    "insert_children",
    f"""
INSERT INTO registry_core_artifactchild (artifact_id, repository_id, digest, child_id, descriptor, position)
SELECT {_OWN}, %(repository)s, digest, id, descriptor::jsonb, position
FROM unnest(%(children)s::text[], %(ids)s::bigint[], %(descriptors)s::text[], %(positions)s::int[])
    AS child (digest, id, descriptor, position)
""",
)
# Edges that waited for the artifact find it: indexes that were accepted without it, and its referrers.
_ADOPT = (
    Statement(
        "adopt_indexes",
        f"UPDATE registry_core_artifactchild SET child_id = {_OWN} "
        "WHERE repository_id = %(repository)s AND digest = %(digest)s AND child_id IS NULL",
    ),
    Statement(
        "adopt_referrers",
        f"UPDATE registry_core_artifact SET subject_id = {_OWN} WHERE id IN ("
        " SELECT id FROM registry_core_artifact WHERE repository_id = %(repository)s AND subject_digest = %(digest)s"
        " AND subject_digest <> '' AND subject_id IS NULL ORDER BY id FOR NO KEY UPDATE)",
    ),
)
_ATTACH = Statement(
    "attach_artifact",
    "UPDATE registry_core_artifact SET subject_digest = %(subject)s, subject_id = %(subject_id)s "
    "WHERE id = %(artifact)s AND subject_digest = ''",
)


def _children(repository_id: int, manifest: Manifest, held: Held) -> Step:
    digests = [str(d.digest) for d in manifest.children]
    return _INSERT_CHILDREN, {
        "repository": repository_id, "digest": str(manifest.digest), "children": digests,
        "ids": [held.artifacts.get(d) for d in digests],
        "descriptors": [json.dumps(storable(d.raw)) for d in manifest.children],
        "positions": list(range(len(digests))),
    }  # fmt: skip


def attach(artifact_id: int, subject: str, held: Held) -> Step:
    """A manifest that was pushed before gets the tag that makes it a signature."""
    return _ATTACH, {
        "artifact": artifact_id, "subject": subject, "subject_id": held.artifacts.get(subject),
    }  # fmt: skip


def event(grant: hooks.Grant, name: RepositoryName, digest: str, tags: tuple[str, ...]) -> Step:
    return events.step(
        events.ARTIFACT_PUSHED, grant.principal.name, repository=str(name), digest=digest, tags=list(tags),
        namespace_id=grant.namespace_id,
    )  # fmt: skip


def audit_line(
    grant: hooks.Grant, name: RepositoryName, digest: str, tags: tuple[str, ...], address: str
) -> Step:
    shown = f"{name}:{tags[0]}" if tags else f"{name}@{digest}"
    return audit.step(
        grant.principal.name, "create", "artifact", shown, f"push artifact: {name}@{digest}",
        namespace_id=grant.namespace_id, address=address,
    )  # fmt: skip
