"""The usual push in one trip, which is its transaction: a manifest that is new here, of blobs that are here, in a
repository that is listed. Any other is pushed step by step (push_rows).

The lock order is that of all writers, though it is one statement: a part that has to wait for another reads from it.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any

from django.db import DataError, connection

from registry_core import audit, events, hooks, push_rows, versions
from registry_core.locks import BY_INDEX, Vanished, alone
from registry_core.manifests import Manifest, kind_of, storable
from registry_core.references import RepositoryName
from registry_core.statements import Statement, Step, run_all

# Tags before blobs. The artifact is not there, and nobody else makes it while we hold its name.
_LOCKED = f"""
t AS MATERIALIZED (
    SELECT name, artifact_id FROM registry_core_tag
    WHERE repository_id = %(repository)s AND name = ANY(%(tags)s::text[]) ORDER BY name FOR UPDATE
), b AS MATERIALIZED ({push_rows.BLOBS}),
locked AS MATERIALIZED (
    SELECT true AS is_tag, name, artifact_id AS id, 0::bigint AS size FROM t
    UNION ALL SELECT false, digest, id, size FROM b
), blob AS (SELECT name AS digest, id, size FROM locked WHERE NOT is_tag)
"""
# After edges, tags and leases (accounting). What somebody else's commit brings while we look is in neither part: then
# all of it is undone, and tried again.
_PAIRS = """
done AS MATERIALIZED (
    SELECT id FROM artifact
    WHERE (SELECT count(*) FROM edges) + (SELECT count(*) FROM told) + (SELECT count(*) FROM ended) >= 0
), held AS MATERIALIZED (
    SELECT digest FROM registry_core_namespaceblob
    WHERE EXISTS (SELECT 1 FROM done) AND namespace_id = %(namespace)s AND digest = ANY(%(pairs)s::varchar[])
    ORDER BY digest FOR KEY SHARE
), added AS (
    INSERT INTO registry_core_namespaceblob (namespace_id, digest, size)
    SELECT %(namespace)s, new.digest, new.size
    FROM (SELECT digest, size FROM blob
          UNION ALL SELECT %(digest)s, octet_length(%(payload)s::bytea)) AS new (digest, size)
    WHERE EXISTS (SELECT 1 FROM done) AND NOT EXISTS (SELECT 1 FROM held WHERE held.digest = new.digest)
    ORDER BY new.digest COLLATE "C"
    ON CONFLICT (namespace_id, digest) DO NOTHING RETURNING size
), counted AS (
    SELECT (SELECT count(*) FROM done) AS done, (SELECT count(*) FROM held) + count(*) AS pairs,
        coalesce(sum(size), 0) AS bytes FROM added
)
"""


_MOST = "(SELECT coalesce(sum(size), 0) + octet_length(%(payload)s::bytea) FROM blob)"


@functools.cache
def _push() -> Statement:
    """Leaves the bytes that are new to the namespace in a setting of the transaction; empty if nothing was done."""
    return Statement(
        "push_manifest",
        f"""
WITH {_LOCKED}, usual AS MATERIALIZED (
    SELECT 1 WHERE (SELECT count(*) FROM blob) = cardinality(%(blobs)s::text[])
    AND EXISTS (SELECT 1 FROM registry_core_repository WHERE id = %(repository)s AND is_listed)
    AND NOT EXISTS (
        SELECT 1 FROM registry_core_artifact WHERE repository_id = %(repository)s AND digest = %(digest)s)
    AND NOT ({push_rows.AWAITED})
    AND NOT ({hooks.concerns_pushes(_MOST)})
), artifact AS (
    INSERT INTO registry_core_artifact ({push_rows.COLUMNS})
    SELECT %(repository)s, %(digest)s, %(media_type)s, %(artifact_type)s, %(kind)s, %(config_media_type)s,
        %(own_size)s::bigint, '', NULL, %(annotations)s::jsonb, %(attributes)s::jsonb, %(payload)s::bytea, now()
    FROM usual RETURNING id
), edges AS (
    INSERT INTO registry_core_artifactblob (artifact_id, repository_id, digest, blob_id)
    SELECT artifact.id, %(repository)s, blob.digest, blob.id FROM artifact, blob ORDER BY blob.id RETURNING 1
), before AS (
    SELECT l.name, a.digest FROM locked l JOIN registry_core_artifact a ON a.id = l.id WHERE l.is_tag
), {push_rows.MOVE}, ended AS (
    DELETE FROM registry_core_repositoryblob l USING artifact, blob
    WHERE l.repository_id = %(repository)s AND l.blob_id = blob.id AND l.principal = %(principal)s RETURNING 1
), event AS ({events.INSERT} FROM artifact), {audit.insert("FROM artifact")}, {_PAIRS}
SELECT set_config('breakwater.new_bytes', CASE WHEN done = 0 THEN ''
    WHEN pairs = cardinality(%(pairs)s::text[]) THEN bytes::text
    ELSE ('not held: ' || pairs)::bigint::text END, true) FROM counted
""",
        under=BY_INDEX,
    )


_IS_DONE = Statement("is_pushed", "SELECT current_setting('breakwater.new_bytes') <> ''")


def is_usual(manifest: Manifest, subject: str, seen: push_rows.Seen, found: push_rows.Found) -> bool:
    """Worth the trip. Inside somebody else's transaction it is not: what failed could not be undone alone."""
    return not (
        seen.repository_id is None
        or seen.is_known
        or subject
        or manifest.children
        or found.allow_sparse
        or connection.in_atomic_block
    )


def push(
    grant: hooks.Grant,
    name: RepositoryName,
    manifest: Manifest,
    tags: tuple[str, ...],
    found: push_rows.Found,
) -> bool:
    """Whether it was the usual push. If not, nothing has changed."""
    versions.announce(grant.namespace_id, name.path)
    is_done = _run(_steps(grant, name, manifest, tags, found))
    if is_done:
        versions.raise_after_commit(grant.namespace_id, name.path)
    return is_done


@alone
def _run(steps: list[Step]) -> bool:
    with connection.cursor() as cursor:
        try:
            run_all(cursor, steps)
        except DataError as e:
            raise Vanished from e
        return bool(cursor.fetchone()[0])


def _steps(
    grant: hooks.Grant,
    name: RepositoryName,
    manifest: Manifest,
    tags: tuple[str, ...],
    found: push_rows.Found,
) -> list[Step]:
    assert found.repository_id is not None
    principal, digest = grant.principal, str(manifest.digest)
    blobs = [str(d.digest) for d in manifest.blobs]
    arguments: Mapping[str, Any] = {
        "repository": found.repository_id, "namespace": grant.namespace_id, "digest": digest,
        "media_type": manifest.media_type, "artifact_type": manifest.artifact_type, "kind": kind_of(manifest),
        "config_media_type": manifest.config_media_type, "own_size": manifest.size,
        "annotations": json.dumps(storable(manifest.annotations)),
        "attributes": None if found.attributes is None else json.dumps(found.attributes), "payload": manifest.payload,
        "blobs": blobs, "pairs": [digest, *blobs], "tags": list(tags), "by": principal.name,
        "principal": principal.subject,
        **push_rows.event(grant, name, digest, tags)[1],
        **push_rows.audit_line(grant, name, digest, tags, found.address)[1],
    }  # fmt: skip
    return [
        push_rows.lock_names(found.repository_id, manifest, "", tags),
        (_push(), arguments),
        *((check.counting, {"namespace": grant.namespace_id}) for check in hooks.push_checks),
        (_IS_DONE, {}),
    ]
