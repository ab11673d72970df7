"""Which operation of the contract a path and a method name (contract 1.1, 1.6).

Fixed parts are matched as they were sent, parameters are decoded once. Runs of slashes, `.` segments and the trailing
slash do not count.
"""

from __future__ import annotations

import functools
import posixpath
import re
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings

from api import contract
from api.errors import MethodNotAllowed
from registry_core.errors import BadRequest, NotFound

_BAD_ESCAPE = re.compile(r"%(?![0-9a-fA-F]{2}).{0,2}", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Route:
    """An operation and the values of its path's parameters."""

    operation: contract.Operation
    values: dict[str, str]


@dataclass(slots=True)
class _Node:
    fixed: dict[str, _Node] = field(default_factory=dict)
    parameter: _Node | None = None
    # By method: the operation and the names of its parameters, in the order of the path.
    operations: dict[str, tuple[contract.Operation, tuple[str, ...]]] = field(default_factory=dict)


def find(method: str, raw_path: str) -> Route:
    """The operation; NotFound for an unknown path, MethodNotAllowed for a known one with another method."""
    path = clean(raw_path)
    if not path.startswith(contract.PREFIX + "/"):
        raise NotFound(f"path {raw_path} was not found")
    found = _search(_tree(), path.removeprefix(contract.PREFIX + "/").split("/"), 0, [])
    if found is None:
        raise NotFound(f"path {raw_path} was not found")
    node, values = found
    if method not in node.operations:
        raise MethodNotAllowed(f"method {method} is not allowed, but [{','.join(node.operations)}] are")
    operation, names = node.operations[method]
    return Route(operation, dict(zip(names, values, strict=True)))


def raw_path(environ: Mapping[str, Any]) -> str:
    """The path as the client sent it: escapes tell `a%2Fb` from `a/b`, and the decoded path does not."""
    if raw := environ.get("REQUEST_URI"):
        path: str = raw.partition("?")[0]
        return path
    return urllib.parse.quote(
        environ.get("PATH_INFO", "").encode("latin-1", "replace"), safe="/:@!$&'()*+,;=~%"
    )


def external_url(environ: Mapping[str, Any]) -> str:
    """The URL under which this client knows the registry; the edge chose it from BREAKWATER_EXTERNAL_URL."""
    url: str = environ.get("breakwater.base_url") or settings.EXTERNAL_URLS[0]
    return url


def clean(raw_path: str) -> str:
    """One slash for many, no `.` segments, no slash at the end; escapes stay as they are."""
    return posixpath.normpath("/" + raw_path.lstrip("/"))


def check_escapes(text: str, *, query: bool = False) -> None:
    """BadRequest for a path or query string that does not parse; before anything else is looked at."""
    if bad := _BAD_ESCAPE.search(text):
        raise BadRequest(f'invalid URL escape "{bad[0]}"')
    if query and ";" in text:
        raise BadRequest("invalid semicolon separator in query")


def _search(
    node: _Node, segments: list[str], position: int, values: list[str]
) -> tuple[_Node, list[str]] | None:
    if position == len(segments):
        return (node, values) if node.operations else None
    segment = segments[position]
    if (child := node.fixed.get(segment)) and (
        found := _search(child, segments, position + 1, values)
    ) is not None:
        return found
    if node.parameter is None:
        return None
    value = urllib.parse.unquote(segment, errors="replace")
    return _search(node.parameter, segments, position + 1, [*values, value])


@functools.cache
def _tree() -> _Node:
    root = _Node()
    for operation in contract.operations():
        node, names = root, []
        for segment in operation.path.strip("/").split("/"):
            if segment.startswith("{"):
                names.append(segment.strip("{}"))
                node.parameter = node.parameter or _Node()
                node = node.parameter
            else:
                node = node.fixed.setdefault(segment, _Node())
        node.operations[operation.method] = (operation, tuple(names))
    return root
