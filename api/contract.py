"""Harbor's REST contract as data: which operations there are, what they take and what they answer.

Read from contract.json.gz, which generate_contract.py writes from Harbor's OpenAPI file; nothing is typed by hand.
Operations are read on first use, a definition when an operation needs it.
"""

from __future__ import annotations

import functools
import gzip
import json
import pathlib
from dataclasses import dataclass
from typing import Any

PREFIX = "/api/v2.0"
_FILE = pathlib.Path(__file__).with_name("contract.json.gz")


@dataclass(frozen=True, slots=True)
class Schema:
    """A value in JSON. `kind`: string, integer, number, boolean, time, array, map, object or any.

    `omit_empty` is None where the contract leaves it to the kind (serialization.py). `name` is the definition's.
    """

    kind: str
    name: str = ""
    format: str = ""
    items: Schema | None = None
    properties: dict[str, Schema] | None = None
    required: bool = False
    nullable: bool = False
    read_only: bool = False
    omit_empty: bool | None = None
    enum: tuple[str, ...] = ()
    max_length: int | None = None
    pattern: str = ""

    @property
    def members(self) -> dict[str, Schema]:
        return self.properties or {}


@dataclass(frozen=True, slots=True)
class Parameter:
    """`place` is path, query, header or body."""

    name: str
    place: str
    schema: Schema
    required: bool = False
    default: Any = None
    maximum: int | None = None
    minimum: int | None = None


@dataclass(frozen=True, slots=True)
class Operation:
    id: str
    tag: str
    method: str
    path: str
    status: int
    parameters: tuple[Parameter, ...]
    answer: Schema | None
    produces: tuple[str, ...]

    @property
    def body(self) -> Parameter | None:
        return next((p for p in self.parameters if p.place == "body"), None)


@functools.cache
def operations() -> tuple[Operation, ...]:
    return _read()[0]


@functools.cache
def definition(name: str) -> Schema:
    return _schema(json.loads(_read()[1][name]), name=name)


@functools.cache
def _read() -> tuple[tuple[Operation, ...], dict[str, str]]:
    """The operations, and the definitions as text."""
    document = json.loads(gzip.decompress(_FILE.read_bytes()))
    return tuple(_operation(raw) for raw in document["operations"]), document["definitions"]


@functools.cache
def _shared(parameter: Parameter) -> Parameter:
    """`page`, `q` and their like are in a hundred operations: one object for all."""
    return parameter


def _operation(raw: dict[str, Any]) -> Operation:
    return Operation(
        id=raw["id"],
        tag=raw["tag"],
        method=raw["method"],
        path=raw["path"],
        status=raw["status"],
        parameters=tuple(_parameter(p) for p in raw["parameters"]),
        answer=_reference(raw["answer"]) if "answer" in raw else None,
        produces=tuple(raw.get("produces", ("application/json",))),
    )


def _parameter(raw: dict[str, Any]) -> Parameter:
    parameter = Parameter(
        name=raw["name"],
        place=raw["in"],
        schema=_reference(raw["schema"]),
        required=raw.get("required", False),
        default=raw.get("default"),
        maximum=raw.get("maximum"),
        minimum=raw.get("minimum"),
    )
    return parameter if parameter.place == "body" else _shared(parameter)


def _reference(raw: dict[str, Any]) -> Schema:
    """A schema whose references wait until somebody resolves them."""
    if "items" in raw:
        return Schema(raw["kind"], items=_reference(raw["items"]))
    return Schema("ref", name=raw["ref"]) if "ref" in raw else _schema(raw)


def resolve(schema: Schema) -> Schema:
    if schema.kind != "ref":
        return schema
    return definition(schema.name)


def _schema(raw: dict[str, Any], *, name: str = "") -> Schema:
    """A reference inside a definition becomes what it refers to, with the flags of the place that refers."""
    if "ref" in raw:
        target = definition(raw["ref"])
        name, kind, items, properties = target.name, target.kind, target.items, target.properties
    else:
        kind = raw["kind"]
        items = _schema(raw["items"]) if "items" in raw else None
        members = raw.get("properties")
        properties = {key: _schema(child) for key, child in members.items()} if members is not None else None
    return Schema(
        kind=kind,
        name=name,
        format=raw.get("format", ""),
        items=items,
        properties=properties,
        required=raw.get("required", False),
        nullable=raw.get("nullable", False),
        read_only=raw.get("read_only", False),
        omit_empty=raw.get("omit_empty"),
        enum=tuple(raw.get("enum", ())),
        max_length=raw.get("max_length"),
        pattern=raw.get("pattern", ""),
    )
