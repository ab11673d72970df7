"""Leases: blobs that no manifest here names yet, held for who pushed, mounted or asked for them (design 3, Push)."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connection

from registry_core import accounting, hooks, versions
from registry_core.actions import ensure_repository
from registry_core.locks import alone, name_keys, reading, retrying
from registry_core.models import Repository
from registry_core.references import RepositoryName
from registry_core.statements import UNHURRIED, Statement, run_all

LEASE = 24 * 3600  # seconds

_LEASE = Statement(
    "lease_blob",
    """
WITH lease AS (
    INSERT INTO registry_core_repositoryblob (repository_id, blob_id, principal, leased_until)
    VALUES (%(repository)s, %(blob)s, %(principal)s, now() + %(lease)s * interval '1 second')
    ON CONFLICT (repository_id, blob_id, principal) DO UPDATE SET leased_until = excluded.leased_until
), look_again AS (
    INSERT INTO registry_core_collectorcandidate (blob_id, due_at)
    VALUES (%(blob)s, now() + %(lease)s * interval '1 second')
)
UPDATE registry_core_artifactblob SET blob_id = %(blob)s
WHERE repository_id = %(repository)s AND digest = %(digest)s AND blob_id IS NULL
RETURNING artifact_id
""",
)


def lease_blob(
    repository: Repository, principal: hooks.Principal, blob_id: int, digest: str, size: int
) -> None:
    """Hold the blob for this principal here, and have the collector look again when the lease ends.

    Artifacts that were accepted without it (`allow_sparse`) hold it from now on, and the namespace with them. The last
    of its transaction.
    """
    with connection.cursor() as cursor:
        _LEASE.run(
            cursor,
            {
                "repository": repository.pk, "blob": blob_id, "digest": digest, "principal": principal.subject,
                "lease": LEASE,
            },
        )  # fmt: skip
        waited = cursor.fetchall()
    if waited:
        new_bytes = accounting.count_in(repository.namespace_id, {digest: size})
        hooks.check_push(hooks.Push(principal, repository.namespace_id, repository.path, "", (), new_bytes))


# `is_held`: when the last artifact that holds a blob goes, the collector is told; a lease on such a blob need not say
# when it ends.
_FIND_MOUNTABLE = """
SELECT b.id, b.size, s.is_held FROM registry_core_blob b
JOIN registry_core_repository r ON r.namespace_id = %(source)s AND r.path = %(source_path)s
CROSS JOIN LATERAL (SELECT EXISTS (SELECT 1 FROM registry_core_artifactblob e
    WHERE e.repository_id = r.id AND e.digest = b.digest AND e.blob_id = b.id) AS is_held) s
WHERE b.digest = %(digest)s AND b.missing_since IS NULL AND (s.is_held OR EXISTS (
    SELECT 1 FROM registry_core_repositoryblob l WHERE l.repository_id = r.id AND l.blob_id = b.id
    AND l.principal = %(principal)s AND l.leased_until > now()))
FOR KEY SHARE OF b
"""
_MOUNTABLE = Statement("mountable", _FIND_MOUNTABLE)
_HOLD_NAME_IN = Statement(
    "hold_name_in",
    """
WITH r AS MATERIALIZED (
    SELECT id::bigint FROM registry_core_repository WHERE namespace_id = %(namespace)s AND path = %(path)s FOR KEY SHARE
) SELECT pg_advisory_xact_lock_shared((id & 2147483647) << 32 | %(name)s::bigint) FROM r
""",
)
_NOBODY_WAITS = """NOT EXISTS (SELECT 1 FROM registry_core_artifactblob w
    WHERE w.repository_id = r.id AND w.digest = {digest} AND w.blob_id IS NULL)"""
_RENEW_IF_THERE = (
    "ON CONFLICT (repository_id, blob_id, principal) DO UPDATE SET leased_until = excluded.leased_until"
)


@functools.cache
def _mount_plain() -> Statement:
    """Blobs that were found, and leases that were made of them: none where several statements are needed."""
    return Statement(
        "mount_plain",
        f"""
WITH found AS MATERIALIZED ({_FIND_MOUNTABLE}), target AS (
    SELECT r.id FROM registry_core_repository r WHERE r.namespace_id = %(namespace)s AND r.path = %(path)s
    AND {_NOBODY_WAITS.format(digest="%(digest)s")} AND NOT ({hooks.concerns_uploads()})
), look_again AS (
    INSERT INTO registry_core_collectorcandidate (blob_id, due_at)
    SELECT found.id, now() + %(lease)s * interval '1 second' FROM found, target WHERE NOT found.is_held
), lease AS (
    INSERT INTO registry_core_repositoryblob (repository_id, blob_id, principal, leased_until)
    SELECT target.id, found.id, %(principal)s, now() + %(lease)s * interval '1 second' FROM found, target
    {_RENEW_IF_THERE} RETURNING 1
) SELECT (SELECT count(*) FROM found), (SELECT count(*) FROM lease)
""",
    )


def mount_blob(grant: hooks.Grant, name: RepositoryName, digest: str, source: tuple[int, str]) -> bool:
    """Make a blob that is readable in `source` (namespace id, path) usable here; False where it is not readable there.

    With the repository itself as source it renews the lease: a pusher was told that the blob is here and will not
    send it, so it must stay until the manifest comes (design 3, Garbage collection).
    """
    arguments = {
        "digest": digest, "source": source[0], "source_path": source[1], "principal": grant.principal.subject,
        "namespace": grant.namespace_id, "path": name.path, "name": zlib.crc32(digest.encode()), "lease": LEASE,
    }  # fmt: skip
    versions.ring(versions.slot(grant.namespace_id, name.path))
    found, leased = _mount_at_once(arguments)
    if leased:
        versions.raise_after_commit(grant.namespace_id, name.path)
    return leased or (found and _mount_in_steps(grant, name, digest, arguments))


@alone
def _mount_at_once(arguments: dict[str, Any]) -> tuple[bool, bool]:
    """Whether it is readable in the source, and whether that was all there was to it: the usual case."""
    with connection.cursor() as cursor:
        run_all(cursor, [(_HOLD_NAME_IN, arguments), (_mount_plain(), arguments)])
        found, leased = cursor.fetchone()
    return found > 0, leased > 0


@retrying
def _mount_in_steps(grant: hooks.Grant, name: RepositoryName, digest: str, arguments: dict[str, Any]) -> bool:
    """Any case: into a new repository, one that waits for the blob, a namespace with limits."""
    repository = ensure_repository(grant.namespace_id, name.path)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock_shared(%s)", name_keys(repository.pk, [digest]))
        _MOUNTABLE.run(cursor, arguments)
        row = cursor.fetchone()
    if row is None:
        return False
    blob_id, size, _ = row
    if (arguments["source"], arguments["source_path"]) != (grant.namespace_id, name.path):
        hooks.check_upload(hooks.Arrival(grant.principal, grant.namespace_id, digest, size))
    versions.raise_after_commit(grant.namespace_id, name.path)
    lease_blob(repository, grant.principal, blob_id, digest, size)
    return True


@dataclass(frozen=True, slots=True)
class Claim:
    """Whose lease on which blob in which repository."""

    namespace_id: int
    path: str
    digest: str
    principal: str


# No row is waited for but a lease's own: whoever deletes a repository or a blob must not hold up who asks for others.
# No name is held either, since nothing arrives: what is renewed was readable before.
_RENEW = Statement(
    "renew_leases",
    f"""
WITH asked AS MATERIALIZED (
    SELECT * FROM unnest(%(namespaces)s::bigint[], %(paths)s::varchar[], %(digests)s::varchar[],
        %(principals)s::varchar[]) WITH ORDINALITY AS a (namespace_id, path, digest, principal, number)
), found AS MATERIALIZED (
    SELECT a.number, a.principal, r.id AS repository_id, b.id AS blob_id, s.is_held FROM asked a
    JOIN registry_core_repository r ON r.namespace_id = a.namespace_id AND r.path = a.path
    JOIN registry_core_blob b ON b.digest = a.digest
    CROSS JOIN LATERAL (SELECT EXISTS (SELECT 1 FROM registry_core_artifactblob e
        WHERE e.repository_id = r.id AND e.digest = b.digest AND e.blob_id = b.id) AS is_held) s
    WHERE b.missing_since IS NULL AND (s.is_held OR EXISTS (
        SELECT 1 FROM registry_core_repositoryblob l WHERE l.repository_id = r.id AND l.blob_id = b.id
        AND l.principal = a.principal AND l.leased_until > now()))
    AND {_NOBODY_WAITS.format(digest="b.digest")} AND {UNHURRIED}
    FOR KEY SHARE OF r, b SKIP LOCKED
), look_again AS (
    INSERT INTO registry_core_collectorcandidate (blob_id, due_at)
    SELECT blob_id, now() + %(lease)s * interval '1 second' FROM found WHERE NOT is_held
), lease AS (
    INSERT INTO registry_core_repositoryblob (repository_id, blob_id, principal, leased_until)
    SELECT repository_id, blob_id, principal, now() + %(lease)s * interval '1 second' FROM found
    ORDER BY repository_id, blob_id, principal {_RENEW_IF_THERE}
) SELECT number FROM found
""",
)


@alone
def renew_leases(claims: Sequence[Claim]) -> set[Claim]:
    """Those of the claims, each there once, that are good for LEASE from now on.

    The others are left to `mount_blob`: not readable, or somebody else is at work there. A lease that a crash of the
    database takes back is no lost byte: the manifest's push says what is missing.
    """
    with connection.cursor() as cursor:
        _RENEW.run(
            cursor,
            {
                "namespaces": [c.namespace_id for c in claims], "paths": [c.path for c in claims],
                "digests": [c.digest for c in claims], "principals": [c.principal for c in claims], "lease": LEASE,
            },
        )  # fmt: skip
        return {claims[number - 1] for (number,) in cursor.fetchall()}


@reading
def find_sources(digest: str, principal: str, limit: int = 20) -> list[tuple[str, str]]:
    """(project, path) of repositories where the blob may be readable: candidates of a mount without `from`, which are
    to be authorised one by one."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT n.name, r.path FROM registry_core_blob b CROSS JOIN LATERAL ("
            " (SELECT l.repository_id FROM registry_core_repositoryblob l"
            "  WHERE l.blob_id = b.id AND l.principal = %(principal)s AND l.leased_until > now() LIMIT %(limit)s)"
            " UNION"
            " (SELECT e.repository_id FROM registry_core_artifactblob e"
            "  WHERE e.blob_id = b.id LIMIT %(limit)s)) AS held"
            " JOIN registry_core_repository r ON r.id = held.repository_id"
            " JOIN registry_core_namespace n ON n.id = r.namespace_id"
            " WHERE b.digest = %(digest)s LIMIT %(limit)s",
            {"digest": digest, "principal": principal, "limit": limit},
        )
        found: list[tuple[str, str]] = cursor.fetchall()
    return found
