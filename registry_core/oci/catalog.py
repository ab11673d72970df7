"""_catalog: repositories that have a tag, by full name in byte order (contract 3.2)."""

from __future__ import annotations

from registry_core import hooks, hot_reads, versions
from registry_core.oci import pages
from registry_core.oci.request import Request
from registry_core.oci.tags import next_link, page_of

# Walks the namespaces in order and stops at the page's end: the rest of the namespace of `last`, then those behind it.
_PAGE = """
SELECT n.name || '/' || r.path FROM registry_core_namespace n
JOIN LATERAL (
    SELECT path FROM registry_core_repository r
    WHERE r.namespace_id = n.id AND (n.name || '/' > $1 OR r.path > $2)
      AND EXISTS (SELECT 1 FROM registry_core_tag t WHERE t.repository_id = r.id)
    ORDER BY r.path LIMIT $3
) AS r ON true
WHERE n.name || '/' >= $1
ORDER BY n.name || '/', r.path LIMIT $3
"""


async def get(request: Request) -> None:
    await hooks.authorize_catalog(request.caller())
    await pages.answer(request, 0, versions.REPOSITORIES, lambda: _page(request))


async def _page(request: Request) -> pages.Page:
    size, last = page_of(request)
    project, slash, path = last.partition("/")
    rows = await hot_reads.fetch(_PAGE, project + slash, path, size + 1)
    names = [row[0] for row in rows]
    page = names[:size]
    headers = next_link("/v2/_catalog", page[-1], size) if len(names) > size and page else []
    return pages.Page.of({"repositories": page}, headers)
