"""Does a request fit the contract? One mechanism for all operations, before the operation's own checks.

What does not fit is 422 with every fault on a line of its own (contract 1.1). What fits comes out as values: integers,
booleans, times, dictionaries with the contract's spelling of keys.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from api import decoding
from api.contract import Operation, Parameter, Schema, resolve
from api.errors import Unprocessable

_TRUE = {"true", "1", "yes", "ok", "y", "on", "selected", "checked", "t", "enabled"}
_INTEGER = re.compile(r"[+-]?[0-9]+")
_INT32 = 2**31
_INT64 = 2**63
PREFIX = "validation failure list:"


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a request gave, with the contract's defaults where it gave nothing.

    `body` is None without a body. A body's fields that were not given, or null, are absent from it.
    """

    path: Mapping[str, Any]
    query: Mapping[str, Any]
    headers: Mapping[str, Any]
    body: Any


@dataclass(frozen=True, slots=True)
class Raw:
    """A request as it came: path values decoded, query pairs in order, header lookup by name."""

    path: Mapping[str, str]
    query: Sequence[tuple[str, str]]
    headers: Mapping[str, str]
    body: bytes


def validate(operation: Operation, raw: Raw) -> Inputs:
    faults = _check_types(operation, raw)
    if faults:
        raise Unprocessable("\n".join([PREFIX, *faults]))
    given = dict(raw.query)  # of a repeated parameter the last one counts
    values: dict[str, dict[str, Any]] = {"path": {}, "query": {}, "header": {}}
    body = None
    for parameter in operation.parameters:
        match parameter.place:
            case "body":
                body = _body(parameter, raw.body, faults)
                continue
            case "query":
                text = given.get(parameter.name)
            case "header":
                text = raw.headers.get(parameter.name)
            case _:
                text = raw.path.get(parameter.name)
        values[parameter.place][parameter.name] = _value(parameter, text, faults)
    if faults:
        raise Unprocessable("\n".join([PREFIX, *faults]))
    return Inputs(values["path"], values["query"], values["header"], body)


def _check_types(operation: Operation, raw: Raw) -> list[str]:
    """Content-Type counts only with a body; with one of the right type, Accept no longer matters."""
    if raw.body:
        kind = raw.headers.get("Content-Type", "").split(";")[0].strip().lower() or "application/octet-stream"
        if kind != "application/json":
            return [f'unsupported media type "{kind}", only [application/json] are allowed']
        return []
    accept = raw.headers.get("Accept")
    if accept is not None and not any(_accepts(accept, offer) for offer in operation.produces):
        return [f"unsupported media type requested, only [{' '.join(operation.produces)}] are available"]
    return []


def _accepts(header: str, offer: str) -> bool:
    for entry in header.split(","):
        kind, *options = (part.strip() for part in entry.lower().split(";"))
        if any(re.fullmatch(r"q=0(\.0*)?", option) for option in options):
            continue
        if kind in ("*/*", offer) or (kind.endswith("/*") and offer.startswith(kind[:-1])):
            return True
    return False


def _value(parameter: Parameter, text: str | None, faults: list[str]) -> Any:
    place = f"{parameter.name} in {parameter.place}"
    if not text:
        if parameter.required:
            faults.append(f"{place} is required")
        return parameter.default if parameter.schema.kind != "array" else []
    if "\0" in text:
        faults.append(f"{place} must not hold the character U+0000")
        return None
    match parameter.schema.kind:
        case "integer":
            return _integer(parameter, place, text, faults)
        case "boolean":
            return text.lower() in _TRUE
        case "array":
            return [item for item in text.split(",") if item]
    if parameter.schema.enum and text not in parameter.schema.enum:
        faults.append(f"{place} should be one of [{' '.join(parameter.schema.enum)}]")
    return text


def _integer(parameter: Parameter, place: str, text: str, faults: list[str]) -> int:
    kind = "int32" if parameter.schema.format == "int32" else "int64"
    limit = _INT32 if kind == "int32" else _INT64
    # 4,300 digits are more than int() takes; 64 bits never need 20.
    number = int(text) if len(text) < 40 and _INTEGER.fullmatch(text) else limit
    if not -limit <= number < limit:
        faults.append(f'{place} must be of type {kind}: "{text[:100]}"')
        return 0
    if parameter.maximum is not None and number > parameter.maximum:
        faults.append(f"{place} should be less than or equal to {parameter.maximum}")
    if parameter.minimum is not None and number < parameter.minimum:
        faults.append(f"{place} should be greater than or equal to {parameter.minimum}")
    return number


def _body(parameter: Parameter, data: bytes, faults: list[str]) -> Any:
    if not data.strip(b" \t\r\n"):
        if parameter.required:
            faults.append(f"{parameter.name} in body is required")
        elif data:
            faults.append(f'parsing {parameter.name} body from "" failed, because there is no value in it')
        return None
    schema = resolve(parameter.schema)
    try:
        value = decoding.to_value(schema, decoding.parse(data))
    except decoding.Fault as e:
        faults.append(f'parsing {parameter.name} body from "" failed, because {e}')
        return None
    if value is None:
        value = [] if schema.kind == "array" else {}
    inner = _constraints(schema, value, "")
    if inner:
        faults.extend([PREFIX, *inner])
    return value


def _constraints(schema: Schema, value: Any, path: str) -> list[str]:
    """Required, read-only, enum and length rules of a body's fields."""
    if isinstance(value, list) and schema.items is not None:
        return [f for i, item in enumerate(value) for f in _constraints(schema.items, item, f"{path}{i}.")]
    if not isinstance(value, dict) or schema.properties is None:
        return []
    faults = []
    for name, member in schema.properties.items():
        item = value.get(name)
        place = f"{path}{name} in body"
        if member.required and item in (None, ""):
            faults.append(f"{place} is required")
        if item is None:
            continue
        if member.read_only and item not in ("", 0):
            faults.append(f"{place} is readOnly")
        if isinstance(item, str) and item:
            faults.extend(_text_constraints(member, item, place))
        faults.extend(_constraints(member, item, f"{path}{name}."))
    return faults


def _text_constraints(schema: Schema, text: str, place: str) -> list[str]:
    faults = []
    if schema.enum and text not in schema.enum:
        faults.append(f"{place} should be one of [{' '.join(schema.enum)}]")
    if schema.max_length is not None and len(text) > schema.max_length:
        faults.append(f"{place} should be at most {schema.max_length} chars long")
    if schema.pattern and not re.search(schema.pattern, text):
        faults.append(f"{place} should match '{schema.pattern}'")
    if schema.format == "uri" and not decoding.is_uri(text):
        faults.append(f'{place} must be of type uri: "{text[:100]}"')
    return faults
