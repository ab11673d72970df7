"""Verbs that change what a repository holds: manifests and tags. Each is one transaction with its event and audit row.

Many statements here are SQL, not the ORM: the locks must be exactly these (`FOR KEY SHARE` in id order; what the ORM
offers would serialise all pushers of one base layer: design 3, Locks).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connection, transaction
from django.db.models.functions import Now

from registry_core import accounting, audit, configuration, errors, events, hooks, versions
from registry_core.locks import BY_INDEX, Vanished, name_keys, reading, retrying, tag_keys
from registry_core.manifests import Manifest, extra_attrs_of, kind_of, storable, subject_of
from registry_core.models import Artifact, Repository
from registry_core.references import RepositoryName
from registry_core.statements import Statement, run_all
from registry_core.storage.driver import KeyMissing
from registry_core.store import driver

MAX_CONFIG = 1 << 20  # bytes of a config that are read for lists


@dataclass(frozen=True, slots=True)
class Pushed:
    digest: str
    subject: str
    tags: tuple[str, ...]


# -- pushing


def put_manifest(
    grant: hooks.Grant, name: RepositoryName, manifest: Manifest, tags: Sequence[str], address: str = ""
) -> Pushed:
    """Store a manifest and point `tags` at it. ManifestBlobUnknown names every part that is not here."""
    attributes = extra_attrs_of(manifest, _config_of(grant, name, manifest))
    return _put_manifest(grant, name, manifest, tuple(sorted(set(tags))), attributes, address)


@retrying
def _put_manifest(
    grant: hooks.Grant,
    name: RepositoryName,
    manifest: Manifest,
    tags: tuple[str, ...],
    attributes: dict[str, Any] | None,
    address: str,
) -> Pushed:
    principal = grant.principal
    repository = ensure_repository(grant.namespace_id, name.path)
    subject = subject_of(manifest, tags)
    known = _lock_names(repository.pk, manifest, subject, tags)
    blobs = _lock_blobs(repository.pk, principal.subject, manifest)
    if configuration.get("allow_sparse"):
        blobs |= _lock_coming(repository.pk, principal.subject, manifest, blobs)
    else:
        _check_complete(manifest, known, blobs)
    digest = str(manifest.digest)
    artifact_id = known.get(digest)
    is_new = artifact_id is None
    if artifact_id is None:
        artifact_id = _insert_artifact(repository.pk, manifest, subject, known, attributes)
        _insert_edges(repository.pk, artifact_id, manifest, known, blobs)
        _adopt_waiting(repository.pk, artifact_id, digest)
    elif subject and not manifest.subject:
        _attach(artifact_id, subject, known)
    moved = _point_tags(repository.pk, artifact_id, digest, tags, principal.name)
    _end_leases(repository.pk, principal.subject, [b for b, _ in blobs.values()])
    if is_new or moved:
        shown = f"{name}:{tags[0]}" if tags else f"{name}@{digest}"
        events.record(
            events.ARTIFACT_PUSHED, principal.name, repository=str(name), digest=digest, tags=list(tags),
            namespace_id=grant.namespace_id,
        )  # fmt: skip
        audit.record(
            principal.name, "create", "artifact", shown, f"push artifact: {shown}",
            namespace_id=grant.namespace_id, address=address,
        )  # fmt: skip
    versions.raise_after_commit(grant.namespace_id, name.path)
    new_bytes = 0
    if is_new:
        held = {digest: len(manifest.payload)} | {d: size for d, (_, size) in blobs.items()}
        new_bytes = accounting.count_in(grant.namespace_id, held)
    artifact = Artifact(pk=artifact_id, repository=repository, digest=digest, media_type=manifest.media_type)
    # Last: what the checks lock is locked by all pushers of a project, and for as short as can be.
    hooks.check_push(hooks.Push(principal, repository, artifact, tags, new_bytes))
    return Pushed(digest, str(manifest.subject.digest) if manifest.subject else "", tags)


_FIND_REPOSITORY = Statement(
    "find_repository",
    "SELECT id FROM registry_core_repository WHERE namespace_id = %(namespace)s AND path = %(path)s FOR KEY SHARE",
)
_INSERT_REPOSITORY = Statement(
    "insert_repository",
    """
    INSERT INTO registry_core_repository
        (namespace_id, path, description, pull_count, is_listed, created_at, updated_at)
    SELECT n.id, %(path)s, '', 0, false, now(), now() FROM registry_core_namespace n WHERE n.id = %(namespace)s
    FOR KEY SHARE ON CONFLICT (namespace_id, path) DO NOTHING RETURNING id
    """,
)


def ensure_repository(namespace_id: int, path: str) -> Repository:
    """The repository's row, locked against deletion until the end of the transaction.

    NameUnknown when its project was deleted since the request was authorised.
    """
    with connection.cursor() as cursor:
        for statement in (_FIND_REPOSITORY, _INSERT_REPOSITORY, _FIND_REPOSITORY):
            statement.run(cursor, {"namespace": namespace_id, "path": path})
            if (row := cursor.fetchone()) is not None:
                return Repository(pk=row[0], namespace_id=namespace_id, path=path)
        cursor.execute("SELECT 1 FROM registry_core_namespace WHERE id = %s", [namespace_id])
        if cursor.fetchone() is None:
            raise errors.NameUnknown("the project was deleted", {"repository": path, "who": "whoever deleted it"})
    raise Vanished


_LOCK_NAMES = Statement(
    "lock_names",
    "SELECT CASE WHEN key = ANY(%(alone)s::bigint[]) THEN pg_advisory_xact_lock(key) "
    "ELSE pg_advisory_xact_lock_shared(key) END FROM unnest(%(keys)s::bigint[]) AS key",
)
_LOCK_TAGS = Statement(
    "lock_tags",
    "SELECT 1 FROM registry_core_tag WHERE repository_id = %(repository)s AND name = ANY(%(tags)s::text[]) "
    "ORDER BY name FOR UPDATE",
)
_LOCK_ARTIFACTS = Statement(
    "lock_artifacts",
    "SELECT digest, id FROM registry_core_artifact "
    "WHERE repository_id = %(repository)s AND digest = ANY(%(digests)s::varchar[]) ORDER BY id FOR KEY SHARE",
)


def _lock_names(
    repository_id: int, manifest: Manifest, subject: str, tags: tuple[str, ...]
) -> dict[str, int]:
    """digest → id of the artifacts of this repository that the manifest is or names; they stay until commit.

    The digest's own name is locked alone and those it refers to shared, so that a subject and its referrer, or a child
    and its index, arriving together, cannot miss each other. A tag's name is locked alone, too: where there is no tag
    yet there is no row to lock, and the history would tell of two beginnings.
    """
    own = str(manifest.digest)
    named = [str(d.digest) for d in manifest.children]
    if subject:
        named.append(subject)
    alone = name_keys(repository_id, [own]) + tag_keys(repository_id, tags)
    keys = sorted({*alone, *name_keys(repository_id, named)})
    with connection.cursor() as cursor:
        run_all(
            cursor,
            [
                (_LOCK_NAMES, {"alone": alone, "keys": keys}),
                (_LOCK_TAGS, {"repository": repository_id, "tags": list(tags)}),
                (_LOCK_ARTIFACTS, {"repository": repository_id, "digests": [own, *named]}),
            ],
        )
        return dict(cursor.fetchall())


# A blob counts here while an artifact of the repository holds it or the pusher's lease runs. OFFSET: asked for each
# blob, never answered once with a hash of all that the repository holds.
_READABLE = """
    (EXISTS (SELECT 1 FROM registry_core_artifactblob e
             WHERE e.repository_id = %(repository)s AND e.digest = b.digest AND e.blob_id = b.id OFFSET 0)
     OR EXISTS (SELECT 1 FROM registry_core_repositoryblob l WHERE l.repository_id = %(repository)s
                AND l.blob_id = b.id AND l.principal = %(principal)s AND l.leased_until > now() OFFSET 0))
"""


_LOCK_BLOBS = Statement(
    "lock_blobs",
    "SELECT b.digest, b.id, b.size FROM registry_core_blob b "
    # Bytes that scrub found lost are absent: the pusher is asked for them, which heals the blob.
    f"WHERE b.digest = ANY(%(digests)s::varchar[]) AND b.missing_since IS NULL AND {_READABLE} "
    "ORDER BY b.id FOR KEY SHARE OF b",
    under=BY_INDEX,
)


def _lock_blobs(repository_id: int, principal: str, manifest: Manifest) -> dict[str, tuple[int, int]]:
    """digest → (id, size) of the blobs that the manifest names and this pusher may use here; they stay until commit."""
    digests = [str(d.digest) for d in manifest.blobs]
    if not digests:
        return {}
    with connection.cursor() as cursor:
        _LOCK_BLOBS.run(cursor, {"digests": digests, "repository": repository_id, "principal": principal})
        return {digest: (pk, size) for digest, pk, size in cursor.fetchall()}


def _lock_coming(
    repository_id: int, principal: str, manifest: Manifest, blobs: dict[str, tuple[int, int]]
) -> dict[str, tuple[int, int]]:
    """Absent parts may be arriving: whoever commits one holds its name, so look again once we hold it."""
    absent = [str(d.digest) for d in manifest.blobs if str(d.digest) not in blobs]
    if not absent:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_advisory_xact_lock(key) FROM unnest(%s::bigint[]) AS key",
            [name_keys(repository_id, absent)],
        )
    return _lock_blobs(repository_id, principal, manifest)


def _check_complete(manifest: Manifest, known: dict[str, int], blobs: dict[str, tuple[int, int]]) -> None:
    missing = [str(d.digest) for d in manifest.blobs if d.is_required and str(d.digest) not in blobs]
    missing += [str(d.digest) for d in manifest.children if str(d.digest) not in known]
    if missing:
        raise errors.ManifestBlobUnknown(missing)


_INSERT_ARTIFACT = """
INSERT INTO registry_core_artifact (repository_id, digest, media_type, artifact_type, kind, config_media_type, size,
    subject_digest, subject_id, annotations, extra_attrs, payload, pushed_at)
VALUES (%s, %s, %s, %s, %s, %s,
    -- An index weighs what its parts weigh, not what their documents do; a sum of claims may be absurd.
    least(%s + (SELECT coalesce(sum(c.size), 0) FROM registry_core_artifact c WHERE c.id = ANY(%s)), 1::bigint << 62),
    %s, %s, %s, %s, %s, now())
RETURNING id
"""


def _insert_artifact(
    repository_id: int,
    manifest: Manifest,
    subject: str,
    known: dict[str, int],
    attributes: dict[str, Any] | None,
) -> int:
    parts = {known[str(d.digest)]: d.size for d in manifest.children if str(d.digest) in known}
    with connection.cursor() as cursor:
        cursor.execute(
            _INSERT_ARTIFACT,
            [
                repository_id, str(manifest.digest), manifest.media_type, manifest.artifact_type, kind_of(manifest),
                manifest.config_media_type, manifest.size - sum(parts.values()), list(parts), subject,
                known.get(subject),
                json.dumps(storable(manifest.annotations)),
                None if attributes is None else json.dumps(attributes), manifest.payload,
            ],
        )  # fmt: skip
        (artifact_id,) = cursor.fetchone()
        cursor.execute(
            "UPDATE registry_core_repository SET is_listed = true, created_at = now() "
            "WHERE id = %s AND NOT is_listed",
            [repository_id],
        )
    return int(artifact_id)


def _insert_edges(
    repository_id: int,
    artifact_id: int,
    manifest: Manifest,
    known: dict[str, int],
    blobs: dict[str, tuple[int, int]],
) -> None:
    """One statement a kind, sorted: unsorted rows deadlock (design 3, Locks)."""
    edges = sorted((str(d.digest) for d in manifest.blobs), key=lambda d: (blobs.get(d, (0,))[0], d))
    with connection.cursor() as cursor:
        if edges:
            cursor.execute(
                "INSERT INTO registry_core_artifactblob (artifact_id, repository_id, digest, blob_id) "
                "SELECT %s, %s, * FROM unnest(%s::text[], %s::bigint[])",
                [artifact_id, repository_id, edges, [blobs[d][0] if d in blobs else None for d in edges]],
            )
        if manifest.children:
            children = [str(d.digest) for d in manifest.children]
            cursor.execute(
                "INSERT INTO registry_core_artifactchild "
                "(artifact_id, repository_id, digest, child_id, descriptor, position) "
                "SELECT %s, %s, * FROM unnest(%s::text[], %s::bigint[], %s::jsonb[], %s::int[])",
                [
                    artifact_id, repository_id, children, [known.get(d) for d in children],
                    [json.dumps(storable(d.raw)) for d in manifest.children], list(range(len(children))),
                ],
            )  # fmt: skip


def _attach(artifact_id: int, subject: str, known: dict[str, int]) -> None:
    """A manifest that was pushed before gets the tag that makes it a signature."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE registry_core_artifact SET subject_digest = %s, subject_id = %s "
            "WHERE id = %s AND subject_digest = ''",
            [subject, known.get(subject), artifact_id],
        )


def _adopt_waiting(repository_id: int, artifact_id: int, digest: str) -> None:
    """Edges that waited for this artifact find it: indexes that were accepted without it, and its referrers."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE registry_core_artifactchild SET child_id = %s "
            "WHERE repository_id = %s AND digest = %s AND child_id IS NULL",
            [artifact_id, repository_id, digest],
        )
        cursor.execute(
            "UPDATE registry_core_artifact SET subject_id = %s WHERE id IN ("
            " SELECT id FROM registry_core_artifact WHERE repository_id = %s AND subject_digest = %s"
            " AND subject_digest <> '' AND subject_id IS NULL ORDER BY id FOR NO KEY UPDATE)",
            [artifact_id, repository_id, digest],
        )


_POINT_TAGS = Statement(
    "point_tags",
    """
WITH before AS (
    SELECT t.name, a.digest FROM registry_core_tag t JOIN registry_core_artifact a ON a.id = t.artifact_id
    WHERE t.repository_id = %(repository)s AND t.name = ANY(%(tags)s::text[])
), moved AS (
    INSERT INTO registry_core_tag (repository_id, name, artifact_id, pushed_at)
    SELECT %(repository)s, name, %(artifact)s::bigint, now() FROM unnest(%(tags)s::text[]) AS name ORDER BY name
    ON CONFLICT (repository_id, name) DO UPDATE SET artifact_id = excluded.artifact_id, pushed_at = now()
        WHERE registry_core_tag.artifact_id <> excluded.artifact_id
    RETURNING name
)
INSERT INTO registry_core_taghistory (repository_id, name, from_digest, to_digest, moved_by, moved_at)
SELECT %(repository)s, moved.name, coalesce(before.digest, ''), %(digest)s, %(by)s, now()
FROM moved LEFT JOIN before USING (name) ORDER BY moved.name
RETURNING name
""",
)


def _point_tags(
    repository_id: int, artifact_id: int, digest: str, tags: tuple[str, ...], by: str
) -> list[str]:
    """The tags that moved. Two who create one tag at once meet at its unique name; the later one wins."""
    if not tags:
        return []
    with connection.cursor() as cursor:
        _POINT_TAGS.run(
            cursor,
            {
                "repository": repository_id, "artifact": artifact_id, "digest": digest, "tags": list(tags), "by": by,
            },
        )  # fmt: skip
        return [name for (name,) in cursor.fetchall()]


def _end_leases(repository_id: int, principal: str, blob_ids: list[int]) -> None:
    """What a manifest holds needs no lease: its bytes are free as soon as the manifest goes."""
    if blob_ids:
        with connection.cursor() as cursor:
            cursor.execute(
                "DELETE FROM registry_core_repositoryblob WHERE repository_id = %s AND principal = %s "
                "AND blob_id = ANY(%s)",
                [repository_id, principal, blob_ids],
            )


@reading
def _config_of(grant: hooks.Grant, name: RepositoryName, manifest: Manifest) -> bytes | None:
    """The config's bytes for what lists show; None where there is none to show."""
    config = manifest.config
    if config is None or config.size > MAX_CONFIG or kind_of(manifest) in ("UNKNOWN", "SBOM"):
        return None
    sql = (
        "SELECT b.key FROM registry_core_blob b JOIN registry_core_repository r ON r.namespace_id = %(namespace)s "
        "AND r.path = %(path)s WHERE b.digest = %(digest)s AND b.size <= %(limit)s AND "
        + _READABLE.replace("%(repository)s", "r.id")
    )
    with connection.cursor() as cursor:
        cursor.execute(
            sql,
            {
                "namespace": grant.namespace_id, "path": name.path, "digest": str(config.digest),
                "limit": MAX_CONFIG, "principal": grant.principal.subject,
            },
        )  # fmt: skip
        row = cursor.fetchone()
    if row is None:
        return None
    try:
        return b"".join(driver().read(row[0]))
    except KeyMissing:
        return None


# -- describing


@transaction.atomic
def describe_repository(repository: Repository, description: str, by: str, address: str = "") -> None:
    Repository.objects.filter(pk=repository.pk).update(description=description, updated_at=Now())
    audit.record(
        by, "update", "repository", repository.name, namespace_id=repository.namespace_id, address=address
    )
