"""Verbs that change what a repository holds: manifests and tags. Each is one transaction with its event and audit row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.db import connection, transaction
from django.db.models.functions import Now

from registry_core import accounting, audit, configuration, errors, hooks, push_once, push_rows, versions
from registry_core.locks import Vanished, retrying
from registry_core.manifests import Manifest, extra_attrs_of, subject_of
from registry_core.models import Repository
from registry_core.references import RepositoryName
from registry_core.statements import Statement, Step, run_all
from registry_core.storage.driver import KeyMissing
from registry_core.store import driver


@dataclass(frozen=True, slots=True)
class Pushed:
    digest: str
    subject: str
    tags: tuple[str, ...]


# -- pushing


def put_manifest(
    grant: hooks.Grant, name: RepositoryName, manifest: Manifest, tags: Sequence[str], address: str = ""
) -> Pushed:
    """Store a manifest and point `tags` at it. ManifestBlobUnknown names every part that is not here.

    One that changes nothing is no push: it is neither checked nor recorded.
    """
    names = tuple(sorted(set(tags)))
    seen = push_rows.look(grant, name, manifest, subject_of(manifest, names), names)
    if seen.is_done:
        # Who did it may not have told the readers yet, and they are told before anybody is answered.
        versions.raise_after_commit(grant.namespace_id, name.path)
    else:
        _push(grant, name, manifest, names, seen, address)
    return Pushed(str(manifest.digest), str(manifest.subject.digest) if manifest.subject else "", names)


def _push(
    grant: hooks.Grant,
    name: RepositoryName,
    manifest: Manifest,
    tags: tuple[str, ...],
    seen: push_rows.Seen,
    address: str,
) -> None:
    attributes = extra_attrs_of(manifest, _read_config(seen.config_key))
    # Read here, since it is not kept in a transaction.
    sparse = bool(configuration.get("allow_sparse"))
    found = push_rows.Found(seen.repository_id, attributes, sparse, address)
    is_usual = push_once.is_usual(manifest, subject_of(manifest, tags), seen, found)
    if not (is_usual and push_once.push(grant, name, manifest, tags, found)):
        _put_manifest(grant, name, manifest, tags, found)


@retrying
def _put_manifest(
    grant: hooks.Grant, name: RepositoryName, manifest: Manifest, tags: tuple[str, ...], found: push_rows.Found
) -> None:
    """Two trips and what the checks need: everything that is locked is locked in the first."""
    principal, digest, subject = grant.principal, str(manifest.digest), subject_of(manifest, tags)
    repository_id, held = _lock(grant, name, manifest, subject, tags, found.repository_id)
    if found.allow_sparse:
        push_rows.lock_coming(repository_id, principal.subject, manifest, held)
    else:
        push_rows.check_complete(manifest, held)
    steps = push_rows.end_leases(repository_id, principal.subject, held)
    known = held.artifacts.get(digest)
    if known is None:
        steps += push_rows.insert(repository_id, manifest, subject, held, found.attributes, tags, principal.name)
    else:
        if subject and not manifest.subject:
            steps.append(push_rows.attach(known, subject, held))
        steps.append(push_rows.point_tags(repository_id, known, digest, tags, principal.name))
    if known is None or any(held.tags.get(tag) != known for tag in tags):
        steps += [
            push_rows.event(grant, name, digest, tags),
            push_rows.audit_line(grant, name, digest, tags, found.address),
        ]
    sizes = {} if known else {digest: len(manifest.payload)} | {d: size for d, (_, size) in held.blobs.items()}
    new_bytes = _write(grant.namespace_id, steps, sizes)
    versions.raise_after_commit(grant.namespace_id, name.path)
    # Last: what the checks lock is locked by all pushers of a project, and for as short as can be.
    hooks.check_push(hooks.Push(principal, grant.namespace_id, name.path, digest, tags, new_bytes))


def _lock(
    grant: hooks.Grant,
    name: RepositoryName,
    manifest: Manifest,
    subject: str,
    tags: tuple[str, ...],
    repository_id: int | None,
) -> tuple[int, push_rows.Held]:
    """The repository, which may have come or gone since it was looked for, and all that the push leads to in it."""
    for found in (repository_id, None):
        if (pk := found) is None:
            pk = ensure_repository(grant.namespace_id, name.path).pk
        held = push_rows.lock(pk, grant.principal.subject, manifest, subject, tags)
        if held is not None:
            return pk, held
    raise Vanished


def _write(namespace_id: int, steps: list[Step], sizes: dict[str, int]) -> int:
    """The bytes that the namespace did not hold before. Its pairs come after the edges (accounting)."""
    with connection.cursor() as cursor:
        if not sizes:
            run_all(cursor, steps)
            return 0
        run_all(cursor, [*steps, accounting.hold(namespace_id, sizes)])
        rows = cursor.fetchall()
    return accounting.counted(namespace_id, sizes, rows)


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


def _read_config(key: str | None) -> bytes | None:
    """The config's bytes for what lists show; None where there is none to show."""
    if key is None:
        return None
    try:
        return b"".join(driver().read(key))
    except KeyMissing:
        return None


# -- describing


@transaction.atomic
def describe_repository(repository: Repository, description: str, by: str, address: str = "") -> None:
    Repository.objects.filter(pk=repository.pk).update(description=description, updated_at=Now())
    audit.record(
        by, "update", "repository", repository.name, namespace_id=repository.namespace_id, address=address
    )
