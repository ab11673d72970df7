"""What an operation answers, written as the contract says (contract 1.3).

Zero values are left out except where the contract keeps them; lists are never left out (null when there is none);
times are RFC 3339 in UTC with milliseconds, a time that is not set is the year 1. Driven by the contract's schema.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from api.contract import Schema, resolve

ZERO_TIME = "0001-01-01T00:00:00.000Z"


def write(schema: Schema | None, value: Any) -> bytes:
    """The body of an answer; nothing for an operation that answers without one."""
    if value is None:
        return b""
    shown = present(resolve(schema), value) if schema is not None else value
    return orjson.dumps(shown) + b"\n"


def present(schema: Schema, value: Any) -> Any:
    """`value` as JSON of `schema`; keys that the schema does not name are dropped."""
    match schema.kind:
        case "ref":
            return present(resolve(schema), value)
        case "object":
            return None if value is None else _present_object(schema, value)
        case "array":
            return None if value is None else _present_list(schema, value)
        case "map":
            return None if value is None else _present_map(schema, value)
        case "time":
            return show_time(value)
        case _:
            return value


def _present_object(schema: Schema, value: Mapping[str, Any]) -> dict[str, Any]:
    shown = {}
    for name, member in schema.members.items():
        item = value.get(name)
        if _is_omitted(member, item):
            continue
        shown[name] = _zero(member) if item is None and not member.nullable else present(member, item)
    return shown


def _present_list(schema: Schema, value: Iterable[Any]) -> list[Any]:
    assert schema.items is not None
    items = resolve(schema.items)
    return [present(items, item) for item in value]


def _present_map(schema: Schema, value: Mapping[str, Any]) -> dict[str, Any]:
    assert schema.items is not None
    items = resolve(schema.items)
    return {key: present(items, item) for key, item in value.items()}


def _is_omitted(member: Schema, item: Any) -> bool:
    if member.omit_empty is False:
        return False
    if member.nullable:
        return item is None
    if member.kind == "time":
        return member.omit_empty is True and item is None
    if member.kind == "array":
        return member.omit_empty is True and not item
    if member.kind == "object":
        return item is None
    return item is None or item in ("", 0, False) or item == {}


def _zero(member: Schema) -> Any:
    """What stands where nothing is set and nothing may be left out."""
    match member.kind:
        case "string":
            return ""
        case "integer" | "number":
            return 0
        case "boolean":
            return False
        case "time":
            return ZERO_TIME
        case _:
            return None


def show_time(moment: datetime.datetime | None) -> str:
    if moment is None:
        return ZERO_TIME
    return moment.astimezone(datetime.UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
