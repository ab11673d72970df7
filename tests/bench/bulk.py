"""A registry with any number of tags, in about a minute a million: one image is pushed, others are copies of its rows.

What a push writes is thereby what stands here: artifact, edges, tag, history, pairs, quota, outbox and audit log. Each
copy's manifest differs in a number, so it has a digest of its own; all share the config and the layers of the first.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import psycopg2
from psycopg2 import sql

NUMBER = "00000000"  # of the first image, wherever a copy has its own
PER_REPOSITORY = 100

_TABLES = ("repository", "artifact", "artifactblob", "tag", "taghistory", "namespaceblob", "eventoutbox")
_KEYS = """
SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
WHERE contype = ANY(%s) AND conrelid = ANY(%s::regclass[]) ORDER BY contype DESC, conname
"""
_INDEXES = """
SELECT i.indexrelid::regclass::text, pg_get_indexdef(i.indexrelid) FROM pg_index i
WHERE i.indrelid = ANY(%s::regclass[]) AND NOT EXISTS (SELECT 1 FROM pg_constraint c WHERE c.conindid = i.indexrelid
                                                       AND c.contype IN ('p', 'u'))
"""

# The first image, and the repository of each copy: its own, or one for every hundred.
_FIRST = """
CREATE TEMP TABLE first AS
SELECT a.id, a.repository_id, r.namespace_id, n.name AS project, r.path, a.digest, a.payload
FROM registry_core_artifact a JOIN registry_core_repository r ON r.id = a.repository_id
JOIN registry_core_namespace n ON n.id = r.namespace_id WHERE n.name = %(project)s AND r.path = %(path)s
"""
_REPOSITORIES = """
INSERT INTO registry_core_repository
    (namespace_id, path, description, pull_count, is_listed, created_at, updated_at)
SELECT namespace_id, 's' || lpad(s::text, 8, '0'), '', 0, true, now(), now()
FROM first, generate_series(1, (%(copies)s - 1) / %(per)s + 1) AS s
"""
_COPIES = """
CREATE TEMP TABLE copy AS
SELECT c.*, 'sha256:' || encode(sha256(payload), 'hex') AS digest FROM (
    SELECT nextval('registry_core_artifact_id_seq') AS id, i, lpad(i::text, 8, '0') AS number,
           CASE WHEN %(spread)s THEN 's' || lpad(((i - 1) / %(per)s + 1)::text, 8, '0') ELSE path END AS path,
           now() - (%(copies)s - i) * interval '1 second' AS at,
           convert_to(replace(convert_from(payload, 'UTF8'), %(number)s, lpad(i::text, 8, '0')), 'UTF8') AS payload
    FROM first, generate_series(1, %(copies)s) AS i) AS c
"""
_ROWS = (
    """
    INSERT INTO registry_core_artifact (id, repository_id, digest, media_type, artifact_type, kind, config_media_type,
        size, subject_digest, subject_id, annotations, extra_attrs, pushed_at, pulled_at, payload)
    SELECT c.id, r.id, c.digest, a.media_type, a.artifact_type, a.kind, a.config_media_type, a.size, a.subject_digest,
        a.subject_id, replace(a.annotations::text, %(number)s, c.number)::jsonb, a.extra_attrs, c.at, a.pulled_at,
        c.payload
    FROM copy c, first f JOIN registry_core_artifact a ON a.id = f.id, registry_core_repository r
    WHERE r.namespace_id = f.namespace_id AND r.path = c.path ORDER BY c.id
    """,
    """
    INSERT INTO registry_core_artifactblob (artifact_id, repository_id, digest, blob_id)
    SELECT c.id, r.id, e.digest, e.blob_id
    FROM copy c, first f JOIN registry_core_artifactblob e ON e.artifact_id = f.id, registry_core_repository r
    WHERE r.namespace_id = f.namespace_id AND r.path = c.path ORDER BY c.id, e.blob_id
    """,
    """
    INSERT INTO registry_core_tag (repository_id, name, artifact_id, pushed_at)
    SELECT r.id, 't' || c.number, c.id, c.at FROM copy c, first f, registry_core_repository r
    WHERE r.namespace_id = f.namespace_id AND r.path = c.path ORDER BY c.id
    """,
    """
    INSERT INTO registry_core_taghistory (repository_id, name, from_digest, to_digest, moved_by, moved_at)
    SELECT r.id, 't' || c.number, '', c.digest, h.moved_by, c.at
    FROM copy c, first f JOIN registry_core_taghistory h ON h.repository_id = f.repository_id,
         registry_core_repository r
    WHERE r.namespace_id = f.namespace_id AND r.path = c.path ORDER BY c.id
    """,
    """
    INSERT INTO registry_core_namespaceblob (namespace_id, digest, size)
    SELECT f.namespace_id, c.digest, length(c.payload) FROM copy c, first f ORDER BY c.digest COLLATE "C"
    """,
    """
    INSERT INTO registry_core_eventoutbox (type, payload, operator, occurred_at, planned_at)
    SELECT e.type, replace(replace(replace(e.payload::text, f.digest, c.digest), %(number)s, c.number),
                           f.path, c.path)::jsonb, e.operator, c.at, e.planned_at
    FROM copy c, first f JOIN registry_core_eventoutbox e ON e.payload->>'digest' = f.digest ORDER BY c.id
    """,
    """
    INSERT INTO registry_core_auditlog (username, operation, resource_type, resource, description, succeeded,
                                        namespace_id, address, occurred_at)
    SELECT l.username, l.operation, l.resource_type,
        replace(replace(l.resource, %(number)s, c.number), f.path, c.path),
        replace(replace(l.description, %(number)s, c.number), f.path, c.path), l.succeeded, l.namespace_id, l.address,
        c.at
    FROM copy c, first f JOIN registry_core_auditlog l ON l.namespace_id = f.namespace_id AND l.operation = 'create'
         AND l.resource = f.project || '/' || f.path || ':t' || %(number)s ORDER BY c.id
    """,
    """
    UPDATE projects_quota q SET used = used + (SELECT sum(length(payload)) FROM copy)
    FROM projects_project p, first f WHERE p.namespace_id = f.namespace_id AND q.project_id = p.id
    """,
)


def copy_image(database: str, project: str, path: str, copies: int, *, spread: bool) -> None:
    """`copies` more images beside the only one of `project`/`path`, tagged `t` and a number of eight digits from 1 on.

    In its repository, or `spread` over repositories `s` and a number of eight digits, a hundred in each.
    """
    arguments = {
        "project": project, "path": path, "copies": copies, "spread": spread, "number": NUMBER,
        "per": PER_REPOSITORY,
    }  # fmt: skip
    connection = psycopg2.connect(database)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute("SET LOCAL work_mem = '256MB'; SET LOCAL maintenance_work_mem = '512MB'")
            cursor.execute(_FIRST, arguments)
            with _without_indexes(cursor) if copies > PER_REPOSITORY else contextlib.nullcontext():
                if spread:
                    cursor.execute(_REPOSITORIES, arguments)
                cursor.execute(_COPIES, arguments)
                cursor.execute("ANALYZE copy; ANALYZE registry_core_repository")
                for rows in _ROWS:
                    cursor.execute(rows, arguments)
            cursor.execute("DROP TABLE copy, first")
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("VACUUM (ANALYZE)")
    finally:
        connection.close()


@contextlib.contextmanager
def _without_indexes(cursor: Any) -> Iterator[None]:
    """Keys and indexes go and come back whole: built at once they take a tenth of the time of row by row.

    The table of repositories keeps its own: other tables find by them.
    """
    tables = [f"registry_core_{table}" for table in _TABLES]
    cursor.execute(_KEYS, [["f"], tables])
    keys = cursor.fetchall()
    cursor.execute(_KEYS, [["u"], [t for t in tables if t != "registry_core_repository"]])
    keys = cursor.fetchall() + keys
    cursor.execute(_INDEXES, [[t for t in tables if t != "registry_core_repository"]])
    indexes = cursor.fetchall()
    for table, name, _ in keys:
        _execute(cursor, "ALTER TABLE {} DROP CONSTRAINT {}", table, name)
    for name, _ in indexes:
        cursor.execute(sql.SQL("DROP INDEX {}").format(sql.Identifier(name)))
    yield
    for _, definition in indexes:
        cursor.execute(definition)
    for table, name, definition in keys:
        _execute(cursor, "ALTER TABLE {} ADD CONSTRAINT {} " + definition, table, name)


def _execute(cursor: Any, statement: str, *names: str) -> None:
    cursor.execute(sql.SQL(statement).format(*(sql.Identifier(name) for name in names)))
