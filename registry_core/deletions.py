"""Verbs that take content out of the catalogue; only the collector frees bytes (design 3, Garbage collection)."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import connection

from registry_core import accounting, audit, errors, events, hooks, versions
from registry_core.hooks import Grant
from registry_core.locks import retrying, tag_keys
from registry_core.models import Artifact, Repository
from registry_core.references import RepositoryName
from registry_core.uploads import condemn

# What goes with an artifact: its referrers, and the children of an index, all the way down. Which of them stay, because
# something else holds them, is asked again once they are locked.
_CLOSURE = """
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
SELECT a.id FROM registry_core_artifact a WHERE a.id IN (SELECT id FROM closure) ORDER BY a.id FOR UPDATE
"""


@retrying
def delete_tag(repository_id: int, name: str, by: str, address: str = "") -> None:
    """The tag goes, its artifact stays. ManifestUnknown when there is no such tag."""
    repository = _locked_repository(repository_id)
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM registry_core_tag t USING registry_core_artifact a "
            "WHERE t.repository_id = %s AND t.name = %s AND a.id = t.artifact_id RETURNING a.digest",
            [repository_id, name],
        )
        if (row := cursor.fetchone()) is None:
            raise errors.ManifestUnknown(detail={"repository": repository.name, "tag": name})
        _record_history(repository_id, [(name, row[0])], by)
    events.record(
        events.TAG_DELETED, by, repository=repository.name, tag=name, digest=row[0],
        namespace_id=repository.namespace_id,
    )  # fmt: skip
    audit.record(
        by, "delete", "tag", f"{repository.name}:{name}", f"delete tag: {repository.name}:{name}",
        namespace_id=repository.namespace_id, address=address,
    )  # fmt: skip
    versions.raise_after_commit(repository.namespace_id, repository.path)


@retrying
def add_tag(artifact: Artifact, name: str, by: str, address: str = "") -> None:
    """A new name for an artifact; Conflict when the repository has a tag of that name."""
    repository = _locked_repository(artifact.repository_id)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", tag_keys(repository.pk, [name]))
        cursor.execute("SELECT digest FROM registry_core_artifact WHERE id = %s FOR KEY SHARE", [artifact.pk])
        if (row := cursor.fetchone()) is None:
            raise errors.NotFound(f"artifact {repository.name}@{artifact.digest} not found")
        cursor.execute(
            "INSERT INTO registry_core_tag (repository_id, name, artifact_id, pushed_at) VALUES (%s, %s, %s, now()) "
            "ON CONFLICT (repository_id, name) DO NOTHING",
            [repository.pk, name, artifact.pk],
        )
        if cursor.rowcount == 0:
            raise errors.Conflict(f"tag {name} already exists")
        cursor.execute(
            "INSERT INTO registry_core_taghistory (repository_id, name, from_digest, to_digest, moved_by, moved_at) "
            "VALUES (%s, %s, '', %s, %s, now())",
            [repository.pk, name, row[0], by],
        )
    events.record(
        events.TAG_CREATED, by, repository=repository.name, tag=name, digest=row[0],
        namespace_id=repository.namespace_id,
    )  # fmt: skip
    audit.record(
        by, "create", "tag", f"{repository.name}:{name}", f"create tag: {repository.name}:{name}",
        namespace_id=repository.namespace_id, address=address,
    )  # fmt: skip
    versions.raise_after_commit(repository.namespace_id, repository.path)


@retrying
def delete_artifact(artifact: Artifact, by: str, address: str = "") -> None:
    """The artifact, its tags, its referrers and the children that nothing else holds. InUse while an index names it."""
    repository = _locked_repository(artifact.repository_id)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT 1 FROM registry_core_tag WHERE artifact_id = %s ORDER BY name FOR UPDATE", [artifact.pk]
        )
        cursor.execute(_CLOSURE, {"artifact": artifact.pk})
        closure = {pk for (pk,) in cursor.fetchall()}
        if artifact.pk not in closure:
            raise errors.ManifestUnknown(detail={"repository": repository.name, "digest": artifact.digest})
        doomed = _without_held(cursor, artifact.pk, closure)
        if artifact.pk not in doomed:
            raise errors.InUse(detail=_parents_of(cursor, repository, artifact))
        digests = _delete_rows(cursor, repository, sorted(doomed), by)
    audit.record(
        by, "delete", "artifact", f"{repository.name}@{artifact.digest}",
        f"delete artifact: {repository.name}@{artifact.digest}",
        namespace_id=repository.namespace_id, address=address,
    )  # fmt: skip
    versions.raise_after_commit(repository.namespace_id, repository.path)
    hooks.free_bytes(repository.namespace_id, accounting.count_out(repository.namespace_id, digests))


def _without_held(cursor: Any, root: int, closure: set[int]) -> set[int]:
    """What of the locked closure really goes: a second statement, hence a snapshot from after the locks.

    A part stays when an index outside holds it or, except for the root itself, when it has a tag; and with it stays all
    that it holds.
    """
    cursor.execute(
        "SELECT a.id, a.subject_id, EXISTS (SELECT 1 FROM registry_core_tag t WHERE t.artifact_id = a.id), "
        "ARRAY(SELECT c.artifact_id FROM registry_core_artifactchild c WHERE c.child_id = a.id) "
        "FROM registry_core_artifact a WHERE a.id = ANY(%s)",
        [sorted(closure)],
    )
    rows = {pk: (subject, tagged, set(parents)) for pk, subject, tagged, parents in cursor.fetchall()}
    doomed = set(rows)
    while True:
        kept = {
            pk
            for pk in doomed
            if rows[pk][2] - doomed
            or (pk != root and rows[pk][1] and rows[pk][0] not in doomed)
            or (pk != root and rows[pk][0] is not None and rows[pk][0] not in doomed)
        }
        if not kept:
            return doomed
        doomed -= kept


def _parents_of(cursor: Any, repository: Repository, artifact: Artifact) -> dict[str, Any]:
    cursor.execute(
        "SELECT a.digest FROM registry_core_artifactchild c JOIN registry_core_artifact a ON a.id = c.artifact_id "
        "WHERE c.child_id = %s ORDER BY a.id LIMIT 5",
        [artifact.pk],
    )
    indexes = [digest for (digest,) in cursor.fetchall()]
    return {
        "rule": "an artifact that an index names stays while the index does",
        "repository": repository.name,
        "indexes": indexes,
        "fix": "delete these indexes first",
    }


def _delete_rows(cursor: Any, repository: Repository, ids: list[int], by: str) -> set[str]:
    """The digests of what went: artifacts, and blobs that they held."""
    cursor.execute(
        "DELETE FROM registry_core_tag t USING registry_core_artifact a "
        "WHERE t.artifact_id = ANY(%s) AND a.id = t.artifact_id RETURNING t.name, a.digest",
        [ids],
    )
    tags = cursor.fetchall()
    _record_history(repository.pk, tags, by)
    cursor.execute("DELETE FROM registry_core_artifactchild WHERE artifact_id = ANY(%s)", [ids])
    cursor.execute(
        "UPDATE registry_core_artifact SET subject_id = NULL WHERE subject_id = ANY(%s) AND NOT id = ANY(%s)",
        [ids, ids],
    )
    blobs = _free_blobs(cursor, "artifact_id = ANY(%s)", [ids])
    cursor.execute("DELETE FROM registry_core_artifact WHERE id = ANY(%s) RETURNING digest", [ids])
    by_digest: dict[str, list[str]] = {digest: [] for (digest,) in cursor.fetchall()}
    for name, digest in tags:
        by_digest[digest].append(name)
    for digest, names in sorted(by_digest.items()):
        events.record(
            events.ARTIFACT_DELETED, by, repository=repository.name, digest=digest, tags=sorted(names),
            namespace_id=repository.namespace_id,
        )  # fmt: skip
    return blobs | set(by_digest)


def _free_blobs(cursor: Any, condition: str, arguments: list[Any]) -> set[str]:
    """Take artifact→blob edges away and have the collector look at what they held once the grace is over.

    The digests of what they held.
    """
    cursor.execute(
        f"WITH freed AS (DELETE FROM registry_core_artifactblob WHERE {condition} RETURNING blob_id, digest), "
        "queued AS (INSERT INTO registry_core_collectorcandidate (blob_id, due_at) "
        " SELECT DISTINCT blob_id, now() + %s * interval '1 second' FROM freed "
        " WHERE blob_id IS NOT NULL ORDER BY blob_id) "
        "SELECT DISTINCT digest FROM freed WHERE blob_id IS NOT NULL",
        [*arguments, settings.GC_GRACE],
    )
    return {digest for (digest,) in cursor.fetchall()}


def _record_history(repository_id: int, tags: list[tuple[str, str]], by: str) -> None:
    if tags:
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO registry_core_taghistory "
                "(repository_id, name, from_digest, to_digest, moved_by, moved_at) "
                "SELECT %s, name, digest, '', %s, now() FROM unnest(%s::text[], %s::text[]) AS gone (name, digest)",
                [repository_id, by, [n for n, _ in tags], [d for _, d in tags]],
            )


def _locked_repository(repository_id: int, mode: str = "KEY SHARE") -> Repository:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT r.id, r.namespace_id, r.path, n.name FROM registry_core_repository r "
            f"JOIN registry_core_namespace n ON n.id = r.namespace_id WHERE r.id = %s FOR {mode} OF r",
            [repository_id],
        )
        row = cursor.fetchone()
    if row is None:
        raise errors.NameUnknown
    repository = Repository(pk=row[0], namespace_id=row[1], path=row[2])
    repository.namespace.name = row[3]
    return repository


@retrying
def delete_repository(repository_id: int, by: str, address: str = "") -> None:
    """The repository with all it holds; open uploads end, and bytes that nothing else holds go after the grace."""
    repository = _locked_repository(repository_id, "UPDATE")
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id FROM registry_core_artifact WHERE repository_id = %s ORDER BY id FOR UPDATE",
            [repository_id],
        )
        ids = [pk for (pk,) in cursor.fetchall()]
        _record_artifacts(cursor, repository, by, address)
        digests = _delete_rows(cursor, repository, ids, by)
        _delete_emptied(cursor, repository_id)
    events.record(
        events.REPOSITORY_DELETED, by, repository=repository.name, namespace_id=repository.namespace_id
    )
    audit.record(
        by, "delete", "repository", repository.name, f"delete repository: {repository.name}",
        namespace_id=repository.namespace_id, address=address,
    )  # fmt: skip
    versions.raise_after_commit(repository.namespace_id, repository.path)
    hooks.free_bytes(repository.namespace_id, accounting.count_out(repository.namespace_id, digests))


def _record_artifacts(cursor: Any, repository: Repository, by: str, address: str) -> None:
    """A row for each artifact that goes with its repository and not with another artifact, as Harbor has it."""
    cursor.execute(
        "SELECT a.digest, now() FROM registry_core_artifact a WHERE a.repository_id = %s AND a.subject_id IS NULL "
        "AND NOT EXISTS (SELECT 1 FROM registry_core_artifactchild c WHERE c.child_id = a.id) ORDER BY a.id",
        [repository.pk],
    )
    named = [(f"{repository.name}@{digest}", at) for digest, at in cursor.fetchall()]
    audit.write(
        [
            audit.Line(
                by, audit.DELETE, "artifact", resource, f"delete artifact: {resource}", succeeded=True,
                namespace_id=repository.namespace_id, address=audit.inet(address), occurred_at=at,
            )
            for resource, at in named
        ]
    )  # fmt: skip


def _delete_emptied(cursor: Any, repository_id: int) -> None:
    """A repository without artifacts: its uploads end, its leases are over."""
    cursor.execute(
        'DELETE FROM registry_core_upload WHERE repository_id = %s RETURNING key, "offset", state, writer_until',
        [repository_id],
    )
    for key, offset, state, writer_until in cursor.fetchall():
        condemn(key, offset, state=state, not_before=writer_until)
    # Before their leases, as the collector does, which takes both.
    cursor.execute(
        "SELECT 1 FROM registry_core_blob WHERE id IN "
        "(SELECT blob_id FROM registry_core_repositoryblob WHERE repository_id = %s) ORDER BY id FOR KEY SHARE",
        [repository_id],
    )
    cursor.execute(
        "WITH freed AS (DELETE FROM registry_core_repositoryblob WHERE repository_id = %s RETURNING blob_id) "
        "INSERT INTO registry_core_collectorcandidate (blob_id, due_at) "
        "SELECT DISTINCT blob_id, now() + %s * interval '1 second' FROM freed ORDER BY blob_id",
        [repository_id, settings.GC_GRACE],
    )
    cursor.execute("DELETE FROM registry_core_taghistory WHERE repository_id = %s", [repository_id])
    cursor.execute("DELETE FROM registry_core_repository WHERE id = %s", [repository_id])


@retrying
def delete_unlisted(namespace_id: int) -> None:
    """Repositories that only uploads have made. Nobody has seen them, so they leave neither event nor audit row."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id, path FROM registry_core_repository WHERE namespace_id = %s AND NOT is_listed "
            "ORDER BY id FOR UPDATE",
            [namespace_id],
        )
        for repository_id, path in cursor.fetchall():
            _delete_emptied(cursor, repository_id)
            versions.raise_after_commit(namespace_id, path)


@retrying
def delete_blob(grant: Grant, name: RepositoryName, digest: str) -> None:
    """End this principal's lease on the blob. InUse while an artifact here holds it, BlobUnknown without a lease."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id FROM registry_core_repository WHERE namespace_id = %s AND path = %s FOR KEY SHARE",
            [grant.namespace_id, name.path],
        )
        if (row := cursor.fetchone()) is None:
            raise errors.BlobUnknown(detail=digest)
        cursor.execute(
            "SELECT a.digest FROM registry_core_artifactblob e JOIN registry_core_artifact a ON a.id = e.artifact_id "
            "WHERE e.repository_id = %s AND e.digest = %s ORDER BY a.id LIMIT 5",
            [row[0], digest],
        )
        if holders := [holder for (holder,) in cursor.fetchall()]:
            raise errors.InUse(
                "the blob is part of an artifact",
                {
                    "blob": digest,
                    "artifacts": holders,
                    "fix": "delete these artifacts; the blob goes with the last",
                },
            )
        # Before its lease, as the collector does, which takes both.
        cursor.execute("SELECT 1 FROM registry_core_blob WHERE digest = %s FOR KEY SHARE", [digest])
        cursor.execute(
            "WITH freed AS (DELETE FROM registry_core_repositoryblob l USING registry_core_blob b "
            " WHERE l.repository_id = %s AND l.principal = %s AND b.id = l.blob_id AND b.digest = %s"
            " RETURNING l.blob_id) "
            "INSERT INTO registry_core_collectorcandidate (blob_id, due_at) "
            "SELECT blob_id, now() + %s * interval '1 second' FROM freed",
            [row[0], grant.principal.subject, digest, settings.GC_GRACE],
        )
        if cursor.rowcount == 0:
            raise errors.BlobUnknown(detail=digest)
    versions.raise_after_commit(grant.namespace_id, name.path)
