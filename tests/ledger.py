"""Is every byte on exactly one line, and does every acknowledged manifest have all it names? (design 2.3, 2.4)

Asked of PostgreSQL and of the directory on their own: SQL, a walk, and the SHA of every file. It imports nothing of the
registry, so that a mistake there is not repeated here.
"""

from __future__ import annotations

import collections
import hashlib
import json
import pathlib
from typing import Any

import psycopg2

_LINES = """
SELECT key, 'blob', size FROM registry_core_blob
UNION ALL SELECT key, 'deleted', size FROM registry_core_deletedobject
UNION ALL SELECT key, 'upload', "offset" FROM registry_core_upload
"""
# Blobs and manifests, each digest once a project.
_HELD = """
SELECT r.namespace_id, b.digest, b.size FROM registry_core_artifactblob e
JOIN registry_core_blob b ON b.id = e.blob_id JOIN registry_core_repository r ON r.id = e.repository_id
UNION
SELECT r.namespace_id, a.digest, octet_length(a.payload) FROM registry_core_artifact a
JOIN registry_core_repository r ON r.id = a.repository_id
"""
_LOOSE_ENDS = {
    "a project that holds something else than it pays for": f"""
        SELECT coalesce(h.digest, p.digest) FROM ({_HELD}) h
        FULL JOIN registry_core_namespaceblob p USING (namespace_id, digest)
        WHERE h.digest IS NULL OR p.digest IS NULL OR h.size <> p.size
    """,  # noqa: S608  constants
    "a project whose quota is not what it holds": f"""
        SELECT n.name FROM projects_quota q JOIN projects_project p ON p.id = q.project_id
        JOIN registry_core_namespace n ON n.id = p.namespace_id
        WHERE q.used <> (SELECT coalesce(sum(h.size), 0) FROM ({_HELD}) h WHERE h.namespace_id = n.id)
    """,  # noqa: S608  constants
    "an edge to a blob of another digest": """
        SELECT e.digest FROM registry_core_artifactblob e JOIN registry_core_blob b ON b.id = e.blob_id
        WHERE b.digest <> e.digest
    """,
    "an index's child without its artifact, though it is here": """
        SELECT c.digest FROM registry_core_artifactchild c JOIN registry_core_artifact a
        ON a.repository_id = c.repository_id AND a.digest = c.digest WHERE c.child_id IS DISTINCT FROM a.id
    """,
    "a referrer without its subject, though it is here": """
        SELECT r.digest FROM registry_core_artifact r JOIN registry_core_artifact s
        ON s.repository_id = r.repository_id AND s.digest = r.subject_digest
        WHERE r.subject_digest <> '' AND r.subject_id IS DISTINCT FROM s.id
    """,
    "a tag of another repository's artifact": """
        SELECT t.name FROM registry_core_tag t JOIN registry_core_artifact a ON a.id = t.artifact_id
        WHERE a.repository_id <> t.repository_id
    """,
    "a blob that nothing holds and nobody will look at": """
        SELECT b.digest FROM registry_core_blob b
        WHERE NOT EXISTS (SELECT 1 FROM registry_core_artifactblob e WHERE e.blob_id = b.id)
          AND NOT EXISTS (SELECT 1 FROM registry_core_collectorcandidate c WHERE c.blob_id = b.id)
    """,
    "a digest that a project holds and that is not counted": f"""
        SELECT t.digest FROM ({_HELD}) AS t (namespace_id, digest, size) LEFT JOIN registry_core_namespaceblob p
        ON p.namespace_id = t.namespace_id AND p.digest = t.digest WHERE p.size IS DISTINCT FROM t.size
    """,  # noqa: S608  constants
    "a digest that is counted and that nothing in the project holds": f"""
        SELECT p.digest FROM registry_core_namespaceblob p LEFT JOIN ({_HELD}) AS t (namespace_id, digest, size)
        ON p.namespace_id = t.namespace_id AND p.digest = t.digest WHERE t.digest IS NULL
    """,  # noqa: S608  constants
    "a quota that is not the sum of what its project holds": f"""
        SELECT q.project_id FROM projects_quota q JOIN projects_project p ON p.id = q.project_id
        WHERE q.used <> coalesce((SELECT sum(t.size) FROM ({_HELD}) AS t (namespace_id, digest, size)
                                  WHERE t.namespace_id = p.namespace_id), 0)
    """,  # noqa: S608  constants
    "an artifact whose digest is not its payload's": """
        SELECT a.digest FROM registry_core_artifact a WHERE a.digest <> CASE
            WHEN a.digest LIKE 'sha256:%' THEN 'sha256:' || encode(sha256(a.payload), 'hex')
            ELSE 'sha512:' || encode(sha512(a.payload), 'hex') END
    """,
}
_ELSEWHERE = (
    "application/vnd.oci.image.layer.nondistributable.",
    "application/vnd.docker.image.rootfs.foreign.",
)


def findings(database: str, storage: pathlib.Path) -> list[str]:
    """Everything that does not add up, as sentences; empty when all does."""
    found: list[str] = []
    files = {str(f.relative_to(storage)): f for f in storage.rglob("*") if f.is_file() and f.name[0] != "."}
    lines: dict[str, list[tuple[str, int]]] = collections.defaultdict(list)
    for key, kind, size in rows(database, _LINES):
        lines[key].append((kind, size))
    found += [f"{key} is on {len(on)} lines: {on}" for key, on in lines.items() if len(on) != 1]
    found += [f"{key} is on no line" for key in files if key not in lines]
    for key, digest, size in rows(database, "SELECT key, digest, size FROM registry_core_blob"):
        found += _faults_of_blob(files.get(key), digest, size)
    for key, offset in rows(database, 'SELECT key, "offset" FROM registry_core_upload WHERE writer IS NULL'):
        kept = files[key].stat().st_size if key in files else 0
        if kept < offset:
            found.append(f"{key} of an open upload holds {kept} of {offset} bytes")
    for what, sql in _LOOSE_ENDS.items():
        found += [f"{what}: {name}" for (name,) in rows(database, sql)]
    found += [f"{artifact} lost {part}" for artifact, part in missing_parts(database, set(files))]
    return found


def missing_parts(database: str, keys: set[str]) -> list[tuple[str, str]]:
    """(artifact, digest) of what an accepted manifest names and the registry does not hold for it.

    Read from the documents themselves: an edge that was never written is missed like one that was lost.
    """
    held = {
        (artifact, digest)
        for artifact, digest, key in rows(
            database,
            "SELECT e.artifact_id, b.digest, b.key FROM registry_core_artifactblob e "
            "JOIN registry_core_blob b ON b.id = e.blob_id",
        )
        if key in keys
    } | set(
        rows(
            database,
            "SELECT c.artifact_id, a.digest FROM registry_core_artifactchild c "
            "JOIN registry_core_artifact a ON a.id = c.child_id AND a.repository_id = c.repository_id",
        )
    )
    return [
        (digest, part)
        for pk, digest, payload in rows(database, "SELECT id, digest, payload FROM registry_core_artifact")
        for part in _named_in(bytes(payload))
        if (pk, part) not in held
    ]


def _named_in(payload: bytes) -> list[str]:
    document = json.loads(payload)
    parts = [document["config"]] if document.get("config") else []
    parts += document.get("layers") or []
    parts += document.get("manifests") or []
    return [
        part["digest"]
        for part in parts
        if not part.get("urls") and not (part.get("mediaType") or "").startswith(_ELSEWHERE)
    ]


def _faults_of_blob(file: pathlib.Path | None, digest: str, size: int) -> list[str]:
    if file is None:
        return [f"{digest} has no bytes"]
    content = file.read_bytes()
    algorithm = digest.partition(":")[0]
    if len(content) != size:
        return [f"{digest} has {len(content)} of {size} bytes"]
    if f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}" != digest:
        return [f"{digest} has other bytes"]
    return []


def assert_adds_up(database: str, storage: pathlib.Path) -> None:
    if found := findings(database, storage):
        raise AssertionError("\n".join(found))


def rows(database: str, sql: str, *values: Any) -> list[tuple[Any, ...]]:
    connection = psycopg2.connect(database)
    try:
        with connection.cursor() as cursor:
            cursor.execute(sql, values or None)
            return cursor.fetchall()
    finally:
        connection.close()
