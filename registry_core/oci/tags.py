"""tags/list (distribution-spec "Listing Tags"): bytewise order, `n`, `last`, Link."""

from __future__ import annotations

import urllib.parse

from registry_core import errors, hooks, hot_reads, versions
from registry_core.oci import pages
from registry_core.oci.request import Header, Request
from registry_core.references import RepositoryName

MAX_PAGE = 10_000
_REPOSITORY = "SELECT id FROM registry_core_repository WHERE namespace_id = $1 AND path = $2 AND is_listed"
# One statement: an unknown repository gives no row, one without tags an empty list.
_PAGE = f"""
SELECT ARRAY(SELECT t.name FROM registry_core_tag t WHERE t.repository_id = r.id AND t.name > $3
             ORDER BY t.name LIMIT $4)
FROM ({_REPOSITORY}) AS r
"""


async def get(request: Request, name: RepositoryName, _: str) -> None:
    namespace = (await hooks.authorize(request.caller(), name, "pull")).namespace_id
    slot = versions.slot(namespace, name.path)
    await pages.answer(request, namespace, slot, lambda: _page(request, namespace, name))


async def _page(request: Request, namespace_id: int, name: RepositoryName) -> pages.Page:
    size, last = page_of(request)
    names = await hot_reads.fetchval(_PAGE, namespace_id, name.path, last, size + 1)
    if names is None:
        raise errors.NameUnknown(f"repository {name} not found", {"repository": str(name)})
    page = names[:size]
    headers = next_link(request.path, page[-1], size) if len(names) > size and page else []
    return pages.Page.of({"name": str(name), "tags": page}, headers)


def page_of(request: Request) -> tuple[int, str]:
    """(`n`, `last`) of a list request; BadRequest when `n` is no number."""
    text = request.parameter("n")
    if text is None or text == "":
        size = MAX_PAGE
    elif text.isascii() and text.isdigit() and len(text) < 19:
        size = min(int(text), MAX_PAGE)
    else:
        raise errors.BadRequest(
            f"invalid value of n: {text[:40]!r}", {"n": text[:40], "form": f"a whole number up to {MAX_PAGE}"}
        )
    return size, (request.parameter("last") or "").replace("\0", "")


def next_link(path: str, last: str, size: int) -> list[Header]:
    query = urllib.parse.urlencode({"last": last, "n": size})
    return [(b"link", f'<{path}?{query}>; rel="next"'.encode())]
