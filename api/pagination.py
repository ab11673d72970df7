"""Pages of a list, and the headers that lead to the others (contract 1.2)."""

from __future__ import annotations

import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Page:
    """`size` 0 or below asks for everything; `number` 0 or below for the first page."""

    number: int
    size: int

    @classmethod
    def of(cls, query: Any) -> Self:
        return cls(query.get("page") or 0, query.get("page_size") or 0)

    @property
    def part(self) -> slice:
        if self.size <= 0:
            return slice(None)
        start = max(self.before, 0)
        return slice(start, start + self.size)

    @property
    def before(self) -> int:
        """How many rows lie before this page, in 64 bits as Harbor counts: the last page of all is the first."""
        return _int64((self.number - 1) * self.size)

    def link(self, path: str, pairs: Sequence[tuple[str, str]], total: int) -> str:
        """The Link header; empty when there is no other page to name. A size of 0 has none, a negative one a next."""
        links = []
        if self.size and self.number > 1 and self.before < total:
            links.append(f'<{self._url(path, pairs, self.number - 1)}>; rel="prev"')
        if self.size and _int64(self.number * self.size) < total:
            links.append(f'<{self._url(path, pairs, _int64(self.number + 1))}>; rel="next"')
        return " , ".join(links)

    def _url(self, path: str, pairs: Sequence[tuple[str, str]], number: int) -> str:
        kept = [(k, v) for k, v in pairs if k not in ("page", "page_size")]
        kept += [("page", str(number)), ("page_size", str(self.size))]
        # Sorted by key and not escaped: clients of Harbor read it so.
        return path + "?" + "&".join(f"{k}={v}" for k, v in sorted(kept, key=lambda pair: pair[0]))


def parse_query(text: str) -> list[tuple[str, str]]:
    """The pairs of a query string that was found well-formed."""
    return urllib.parse.parse_qsl(text, keep_blank_values=True, errors="replace")


def _int64(number: int) -> int:
    return (number + 2**63) % 2**64 - 2**63
