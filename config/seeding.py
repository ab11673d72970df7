"""A registry of any size in minutes, for tests and benchmarks: rows as pushes would have written them, by the million.

Blobs are three, and real; every artifact has a manifest of its own that names them. Nothing is announced: there are no
events, since nobody pushed.

seed-0001 … seed-N         projects; seed-user-0001 … administer one each, and cannot sign in
seed-0001/r0001 … r-N      a repository each with one image, tagged `latest`
seed-0001/many             --artifacts, with --tags t00000001 …
"""

from __future__ import annotations

import datetime
import hashlib
import json
from typing import Any, NamedTuple

from django.db import connection, transaction
from django.utils import timezone

from projects.models import Project, Quota
from rbac.actions import ADMIN_ID
from rbac.models import Member, User
from registry_core import audit, audit_months
from registry_core.models import Blob, Namespace
from registry_core.storage.paths import new_key
from registry_core.store import driver

FIRST, MANY = "seed-0001", "seed-0001/many"
MONTHS = 12
_NUMBER = "00000000"
_MEDIA = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
_CREATED = "2024-01-02T03:04:05Z"
_ATTRIBUTES = {"architecture": "amd64", "author": "", "config": {}, "created": _CREATED, "os": "linux"}


class Size(NamedTuple):
    projects: int
    repos: int
    artifacts: int
    tags: int
    audit: int


def is_seeded() -> bool:
    return Project.objects.named(FIRST).exists()


def seed(size: Size) -> None:
    """In two transactions: content, audit log."""
    written: list[str] = []
    try:
        with transaction.atomic():
            _seed_content(size, written)
    except BaseException:
        driver().delete(written)
        raise
    with transaction.atomic():
        _seed_audit(size.audit, timezone.now())
    audit_months.count_finished(timezone.now())
    with connection.cursor() as cursor:
        cursor.execute("VACUUM (ANALYZE)")


# -- content


def _seed_content(size: Size, written: list[str]) -> None:
    _seed_projects(size.projects)
    blobs = [_blob(data, written) for data in _parts()]
    arguments: dict[str, Any] = {
        "repos": size.repos, "artifacts": size.artifacts, "tags": size.tags,
        "number": _NUMBER, "manifest": _manifest(blobs), "media": _MEDIA, "config": _CONFIG,
        "attributes": json.dumps(_ATTRIBUTES), "blobs": [b.pk for b in sorted(blobs, key=lambda b: b.pk)],
        "blob_bytes": sum(b.size for b in blobs),
    }  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL work_mem = '128MB'")
        for statement in _CONTENT:
            cursor.execute(statement, arguments)


def _seed_projects(count: int) -> None:
    """Each with a quota, and two who administer it: `admin`, and somebody without a password."""
    numbers = [f"{i:04}" for i in range(1, count + 1)]
    namespaces = Namespace.objects.bulk_create([Namespace(name=f"seed-{number}") for number in numbers])
    projects = Project.objects.bulk_create(
        [
            Project(namespace=namespace, owner_id=ADMIN_ID, owner_name="admin", metadata={"public": "false"})
            for namespace in namespaces
        ]
    )
    Quota.objects.bulk_create([Quota(project=project) for project in projects])
    people = User.objects.bulk_create(
        [
            User(username=f"seed-user-{number}", email=f"seed-{number}@example.org", realname="seed")
            for number in numbers
        ]
    )
    Member.objects.bulk_create(
        [
            Member(project=project, user_id=user, role=Member.Role.PROJECT_ADMIN)
            for project, person in zip(projects, people, strict=True)
            for user in (ADMIN_ID, person.pk)
        ]
    )


def _parts() -> list[bytes]:
    config = {"architecture": "amd64", "os": "linux", "created": _CREATED, "rootfs": {"type": "layers", "diff_ids": []}}
    return [json.dumps(config).encode(), b"seed: the first layer" * 50, b"seed: the second layer" * 50]


def _blob(data: bytes, written: list[str]) -> Blob:
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    if (found := Blob.objects.filter(digest=digest).select_for_update().first()) is not None:
        return found
    key = new_key()
    written.append(key)
    writer = driver().open_writer(key)
    writer.write(data)
    writer.finish()
    return Blob.objects.create(digest=digest, size=len(data), key=key)


def _manifest(blobs: list[Blob]) -> str:
    """Of artifact 0; each has its own number in it."""
    parts = [
        {"mediaType": kind, "digest": blob.digest, "size": blob.size}
        for kind, blob in zip((_CONFIG, _LAYER, _LAYER), blobs, strict=True)
    ]
    document = {
        "schemaVersion": 2, "mediaType": _MEDIA, "config": parts[0], "layers": parts[1:],
        "annotations": {"seed": _NUMBER},
    }  # fmt: skip
    return json.dumps(document)


_REPOSITORIES = """
INSERT INTO registry_core_repository (namespace_id, path, description, pull_count, is_listed, created_at, updated_at)
SELECT n.id, 'r' || lpad(i::text, 4, '0'), '', 0, true, now(), now()
FROM registry_core_namespace n, generate_series(1, %(repos)s) AS i WHERE n.name ~ '^seed-[0-9]+$'
UNION ALL SELECT id, 'many', '', 0, true, now(), now() FROM registry_core_namespace
    WHERE name = 'seed-0001' AND %(artifacts)s > 0
"""
# One for each small repository, and those of the large one; each second a push.
_COPIES = """
CREATE TEMP TABLE seeded ON COMMIT DROP AS
SELECT c.*, 'sha256:' || encode(sha256(payload), 'hex') AS digest,
       now() - (count(*) OVER () - i) * interval '1 second' AS at
FROM (
    SELECT nextval('registry_core_artifact_id_seq') AS id, i, place, repository_id, namespace_id,
           convert_to(replace(%(manifest)s, %(number)s, lpad(i::text, 8, '0')), 'UTF8') AS payload
    FROM (
        SELECT row_number() OVER (ORDER BY r.path = 'many', r.id, place) AS i, place, r.id AS repository_id,
               r.namespace_id
        FROM registry_core_repository r JOIN registry_core_namespace n ON n.id = r.namespace_id,
             generate_series(1, CASE WHEN r.path = 'many' THEN %(artifacts)s ELSE 1 END) AS place
        WHERE n.name ~ '^seed-[0-9]+$'
    ) AS placed ORDER BY i
) AS c
"""
_ARTIFACTS = """
INSERT INTO registry_core_artifact (id, repository_id, digest, media_type, artifact_type, kind, config_media_type, size,
    subject_digest, subject_id, annotations, extra_attrs, pushed_at, pulled_at, payload)
SELECT id, repository_id, digest, %(media)s, '', 'IMAGE', %(config)s, length(payload) + %(blob_bytes)s, '', NULL,
    jsonb_build_object('seed', lpad(i::text, 8, '0')), %(attributes)s::jsonb, at, NULL, payload
FROM seeded ORDER BY id
"""
_EDGES = """
INSERT INTO registry_core_artifactblob (artifact_id, repository_id, digest, blob_id)
SELECT s.id, s.repository_id, b.digest, b.id FROM seeded s, registry_core_blob b WHERE b.id = ANY(%(blobs)s)
ORDER BY s.id, b.id
"""
_TAGS = """
WITH tag AS (
    INSERT INTO registry_core_tag (repository_id, name, artifact_id, pushed_at)
    SELECT s.repository_id, 'latest', s.id, s.at FROM seeded s JOIN registry_core_repository r ON r.id = s.repository_id
        WHERE r.path <> 'many'
    UNION ALL
    SELECT s.repository_id, 't' || lpad(t::text, 8, '0'), s.id, s.at
    FROM generate_series(1, %(tags)s) AS t JOIN seeded s ON s.place = (t - 1) %% greatest(%(artifacts)s, 1) + 1
    JOIN registry_core_repository r ON r.id = s.repository_id WHERE r.path = 'many'
    RETURNING repository_id, name, artifact_id, pushed_at
)
INSERT INTO registry_core_taghistory (repository_id, name, from_digest, to_digest, moved_by, moved_at)
SELECT t.repository_id, t.name, '', s.digest, 'admin', t.pushed_at FROM tag t JOIN seeded s ON s.id = t.artifact_id
"""
_PAIRS = """
INSERT INTO registry_core_namespaceblob (namespace_id, digest, size)
SELECT namespace_id, digest, length(payload) FROM seeded
UNION ALL SELECT n.namespace_id, b.digest, b.size FROM (SELECT DISTINCT namespace_id FROM seeded) AS n,
    registry_core_blob b WHERE b.id = ANY(%(blobs)s)
"""
_QUOTAS = """
UPDATE projects_quota q SET used = held.bytes FROM projects_project p JOIN (
    SELECT namespace_id, sum(size) AS bytes FROM registry_core_namespaceblob GROUP BY namespace_id
) AS held ON held.namespace_id = p.namespace_id
WHERE q.project_id = p.id AND p.namespace_id IN (SELECT namespace_id FROM seeded)
"""
_CONTENT = (
    _REPOSITORIES, _COPIES, "ANALYZE seeded", _ARTIFACTS, _EDGES, _TAGS, _PAIRS, _QUOTAS,
)  # fmt: skip


# -- the audit log

# Filled before it is attached: its indexes are then built at once.
_MONTH = "CREATE TABLE {table} (LIKE registry_core_auditlog INCLUDING DEFAULTS)"
_ATTACH = "ALTER TABLE registry_core_auditlog ATTACH PARTITION {table} FOR VALUES FROM ('{first}') TO ('{end}')"
_ROWS = f"""
INSERT INTO {{table}} (id, {audit.COLUMNS})
SELECT nextval(pg_get_serial_sequence('registry_core_auditlog', 'id')), username, operation, resource_type, resource,
    operation || ' ' || resource_type || ': ' || resource, i %% 50 <> 0, namespace_id, '192.0.2.1'::inet,
    %(from)s::timestamptz + (%(until)s::timestamptz - %(from)s::timestamptz) * (i::float8 / %(rows)s)
FROM (
    SELECT i, 'seed-user-' || lpad((1 + i * 31 %% cardinality(p.names))::text, 4, '0') AS username,
        CASE i %% 10 WHEN 0 THEN 'create' WHEN 1 THEN 'delete' WHEN 2 THEN 'login' ELSE 'pull' END AS operation,
        CASE i %% 10 WHEN 1 THEN 'tag' WHEN 2 THEN 'user' ELSE 'artifact' END AS resource_type,
        CASE i %% 10 WHEN 2 THEN 'seed-user' ELSE p.names[1 + i * 31 %% cardinality(p.names)] || '/r0001:latest' END
            AS resource,
        CASE i %% 10 WHEN 2 THEN NULL ELSE p.ids[1 + i * 31 %% cardinality(p.ids)] END AS namespace_id
    FROM (SELECT array_agg(id ORDER BY id) AS ids, array_agg(name ORDER BY id) AS names FROM registry_core_namespace
          WHERE name ~ '^seed-[0-9]+$') AS p, generate_series(0, %(rows)s - 1) AS i
) AS made
"""  # noqa: S608  constants


def _seed_audit(count: int, now: datetime.datetime) -> None:
    """As many in each of the last months; this one's until now."""
    if not count:
        return
    months = [audit_months.month(now.date(), -ahead) for ahead in reversed(range(MONTHS))]
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL maintenance_work_mem = '256MB'")
        for number, first in enumerate(months, 1):
            end = audit_months.month(first, 1)
            rows = count * number // MONTHS - count * (number - 1) // MONTHS
            if rows:
                _seed_month(cursor, first, end, min(end, now.date()), rows)


def _seed_month(cursor: Any, first: datetime.date, end: datetime.date, until: datetime.date, rows: int) -> None:
    table = f"registry_core_auditlog_{first:%Y_%m}"
    cursor.execute("SELECT to_regclass(%s) IS NULL", [table])
    is_new = cursor.fetchone()[0]
    if is_new:
        cursor.execute(_MONTH.format(table=table))
    cursor.execute(_ROWS.format(table=table), {"from": first, "until": max(until, first), "rows": rows})
    if is_new:
        cursor.execute(_ATTACH.format(table=table, first=first, end=end))
