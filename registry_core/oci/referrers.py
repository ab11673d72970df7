"""referrers (distribution-spec "Listing Referrers"): what says of itself that it belongs to a digest."""

from __future__ import annotations

import json
import urllib.parse
from typing import Any

from registry_core import errors, hooks, hot_reads, versions
from registry_core.digests import parse_digest
from registry_core.manifests import OCI_INDEX
from registry_core.oci import pages
from registry_core.oci.request import Header, Request
from registry_core.references import RepositoryName

PAGE_BYTES = 4 << 20  # an index is a manifest, and no client takes a larger one
_ROWS = 2000
_INDEX: Header = (b"content-type", OCI_INDEX.encode())

# By subject, and by the tag that clients write where a registry knows no referrers (`sha256-<hex>`: an index of them).
_FOUND = """
WITH r AS (SELECT id FROM registry_core_repository WHERE namespace_id = $1 AND path = $2), found AS (
    SELECT a.id FROM r JOIN registry_core_artifact a ON a.repository_id = r.id
    WHERE a.subject_digest = $3 AND a.subject_digest <> ''
    UNION
    SELECT c.child_id FROM r JOIN registry_core_tag t ON t.repository_id = r.id AND t.name = $4
    JOIN registry_core_artifactchild c ON c.artifact_id = t.artifact_id WHERE c.child_id IS NOT NULL)
"""
_REFERRERS = f"""
{_FOUND}
SELECT a.id, a.digest, a.media_type, coalesce(nullif(a.artifact_type, ''), a.config_media_type) AS artifact_type,
       octet_length(a.payload) AS size, a.annotations::text AS annotations
FROM found JOIN registry_core_artifact a ON a.id = found.id
WHERE a.id > $5 AND ($6 = '' OR coalesce(nullif(a.artifact_type, ''), a.config_media_type) = $6)
ORDER BY a.id LIMIT $7
"""
_TOTAL = f"{_FOUND} SELECT count(*) FROM found"


async def get(request: Request, name: RepositoryName, reference: str) -> None:
    """200 with an index, empty when nothing refers to the digest or nobody knows it."""
    namespace = (await hooks.authorize(request.caller(), name, "pull")).namespace_id
    slot = versions.slot(namespace, name.path)
    await pages.answer(request, namespace, slot, lambda: _page(request, namespace, name, reference))


async def _page(request: Request, namespace_id: int, name: RepositoryName, reference: str) -> pages.Page:
    digest = parse_digest(reference)
    wanted = (request.parameter("artifactType") or "").replace("\0", "")
    after = request.parameter("last") or "0"
    if not after.isascii() or not after.isdigit() or len(after) > 18:
        raise errors.BadRequest("last is not one that this registry gave", {"last": after[:40]})
    fallback = f"{digest.algorithm[:32]}-{digest.hex[:64]}"
    rows = await hot_reads.fetch(
        _REFERRERS, namespace_id, name.path, reference, fallback, int(after), wanted, _ROWS + 1
    )
    page, more = _fill(rows)
    headers: list[Header] = []
    if more is not None:
        query = urllib.parse.urlencode({"last": more} | ({"artifactType": wanted} if wanted else {}))
        headers.append((b"link", f'<{request.path}?{query}>; rel="next"'.encode()))
    total = len(rows)
    if wanted or more is not None or after != "0":
        total = await hot_reads.fetchval(_TOTAL, namespace_id, name.path, reference, fallback)
    headers.append((b"x-total-count", str(total).encode()))
    if wanted:
        headers.append((b"oci-filters-applied", b"artifactType"))
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": page}
    return pages.Page.of(index, headers, _INDEX)


def _fill(rows: list[Any]) -> tuple[list[dict[str, Any]], int | None]:
    """Descriptors up to the size of a page, and the id after which the next begins."""
    page: list[dict[str, Any]] = []
    size = 0
    for i, row in enumerate(rows):
        entry = _descriptor(row)
        size += len(json.dumps(entry)) + 1
        if i == _ROWS or (page and size > PAGE_BYTES - 200):
            return page, rows[i - 1]["id"]
        page.append(entry)
    return page, None


def _descriptor(row: Any) -> dict[str, Any]:
    entry = {"mediaType": row["media_type"], "digest": row["digest"], "size": row["size"]}
    if row["artifact_type"]:
        entry["artifactType"] = row["artifact_type"]
    if annotations := json.loads(row["annotations"]):
        entry["annotations"] = annotations
    return entry
