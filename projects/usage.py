"""How many bytes a project's content takes: every blob and every manifest once, however many repositories share it."""

from __future__ import annotations

from django.db import connection

_USED = """
SELECT coalesce((SELECT sum(b.size) FROM registry_core_blob b WHERE b.id IN (
           SELECT e.blob_id FROM registry_core_artifactblob e
           JOIN registry_core_repository r ON r.id = e.repository_id WHERE r.namespace_id = %(namespace)s)), 0)
     + coalesce((SELECT sum(bytes) FROM (
           SELECT DISTINCT ON (a.digest) octet_length(a.payload) AS bytes FROM registry_core_artifact a
           JOIN registry_core_repository r ON r.id = a.repository_id WHERE r.namespace_id = %(namespace)s
       ) AS manifests), 0)
"""


def used_bytes(namespace_id: int) -> int:
    with connection.cursor() as cursor:
        cursor.execute(_USED, {"namespace": namespace_id})
        (used,) = cursor.fetchone()
    return int(used)
