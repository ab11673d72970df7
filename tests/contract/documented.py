"""Harbor's OpenAPI file, read for what it says of an operation, and answers held against it."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from tests.contract.shared import CONTRACT

# The tags of which everything is built; each of the others comes with an issue of its own.
TAGS = {
    "health", "ping", "search", "statistic", "Ldap", "configure", "project", "member", "projectMetadata", "repository",
    "artifact", "icon", "user", "usergroup", "robot", "quota", "label", "permissions", "systeminfo", "auditlog", "oidc",
    "SystemCVEAllowlist",
}  # fmt: skip
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
_TYPES: dict[str, type | tuple[type, ...]] = {
    "string": str, "integer": int, "number": (int, float), "boolean": bool, "array": list, "object": dict,
}  # fmt: skip

# Definitions and operations that are not what Harbor itself answers: its attributes are texts and not only objects, its
# additions and reports JSON and not text in a string.
_SENT_OTHERWISE = {"ExtraAttrs"}
OF_ANY_FORM = {"getAddition", "getVulnerabilitiesAddition"}

Node = dict[str, Any]


@functools.cache
def contract() -> Node:
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    document: Node = yaml.load(CONTRACT.read_text(encoding="utf-8"), Loader=loader)  # noqa: S506  a safe loader
    return document


def resolved(document: Node, node: Node) -> Node:
    while "$ref" in node:
        *place, name = node["$ref"].removeprefix("#/").split("/")
        target: Node = functools.reduce(lambda at, step: at[step], place, document)[name]
        node = {**target, **{key: value for key, value in node.items() if key != "$ref"}}
    return node


@dataclass(frozen=True)
class Documented:
    id: str
    tag: str
    method: str
    path: str
    parameters: list[Node]
    responses: Node

    @property
    def successes(self) -> dict[int, Node]:
        return {int(s): resolved(contract(), r) for s, r in self.responses.items() if s.startswith("2")}


def operations() -> list[Documented]:
    """Of the tags that are built; none where the contract is not beside the checkout."""
    if not CONTRACT.exists():
        return []
    return [
        Documented(
            operation["operationId"], operation["tags"][0], method.upper(), path,
            [resolved(contract(), p) for p in operation.get("parameters", [])], operation["responses"],
        )
        for path, item in contract()["paths"].items()
        for method, operation in item.items()
        if operation["tags"][0] in TAGS
    ]  # fmt: skip


def spelling(name: str) -> str:
    """Harbor's generator knows no JSON name of a quoted one: `'os.version'` goes out as OsVersion."""
    return {"'os.version'": "OsVersion", "'os.features'": "OsFeatures"}.get(name, name)


def members(node: Node) -> dict[str, Node]:
    return {spelling(name): member for name, member in node.get("properties", {}).items()}


def faults(schema: Node, value: Any, seen: set[str], place: str = "$", owner: str = "") -> Iterator[str]:
    """Where `value` is not as documented. `seen` gathers `Definition.field` of every documented field that it has."""
    owner = schema["$ref"].rsplit("/", 1)[-1] if "$ref" in schema else owner
    schema = resolved(contract(), schema)
    if value is None or owner in _SENT_OTHERWISE:
        return
    kind = schema.get("type", "object" if "properties" in schema else "")
    if kind and (not isinstance(value, _TYPES[kind]) or (isinstance(value, bool) and kind != "boolean")):
        yield f"{place} is {type(value).__name__}, not {kind}"
    elif schema.get("format") == "date-time" and not _TIME.fullmatch(value):
        yield f"{place} is no time: {value}"
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from faults(schema["items"], item, seen, f"{place}[{number}]", owner)
    elif isinstance(value, dict):
        yield from _object_faults(schema, value, seen, place, owner)


def _object_faults(schema: Node, value: Node, seen: set[str], place: str, owner: str) -> Iterator[str]:
    known, more = members(schema), schema.get("additionalProperties")
    for name, item in value.items():
        if name in known:
            seen.add(f"{owner}.{name}")
            yield from faults(known[name], item, seen, f"{place}.{name}", f"{owner}.{name}")
        elif isinstance(more, dict):
            yield from faults(more, item, seen, f"{place}.{name}", owner)
        elif known:
            yield f"{place}.{name} is not documented"


def fields(schema: Node, owner: str = "", path: frozenset[str] = frozenset()) -> Iterator[str]:
    """`Definition.field` of everything that an answer of this schema may hold."""
    name = schema["$ref"].rsplit("/", 1)[-1] if "$ref" in schema else ""
    if name in path:
        return
    owner, path = name or owner, path | {name} if name else path
    schema = resolved(contract(), schema)
    for member, node in members(schema).items():
        yield f"{owner}.{member}"
        yield from fields(node, f"{owner}.{member}", path)
    for part in ("items", "additionalProperties"):
        if isinstance(schema.get(part), dict):
            yield from fields(schema[part], owner, path)
