"""JSON as Harbor's clients are used to send it, turned into values of the contract.

Lenient where Harbor is (contract 1.1): unknown fields are dropped, keys match in any case, the last of a double key
wins, what follows the first value is ignored, null is "not given". Strict where a value does not fit its type.
"""

from __future__ import annotations

import datetime
import json
import re
import urllib.parse
from collections.abc import Callable
from typing import Any

from api.contract import Schema

MAX_DEPTH = 64
_BLANK = " \t\r\n"
_RANGES = {
    "int8": (-(2**7), 2**7 - 1),
    "int32": (-(2**31), 2**31 - 1),
    "uint64": (0, 2**64 - 1),
}
_INT64 = (-(2**63), 2**63 - 1)
_INTEGER = re.compile(r"-?[0-9]{1,20}")
_SURROGATE = re.compile("[\ud800-\udfff]")


class Fault(Exception):
    """The bytes are no JSON, or a value does not fit its type; the text is for the client."""


class Number(str):
    """A number as it was written: whether 1.0 or 1e3 is an integer is for the contract to say."""

    __slots__ = ()


class Pairs(list[tuple[str, Any]]):
    """An object in the order of its keys, double ones included."""


def parse(data: bytes) -> Any:
    """The first JSON value in `data`; Fault if there is none."""
    text = data.decode("utf-8", "replace").lstrip(_BLANK)
    decoder = json.JSONDecoder(
        object_pairs_hook=Pairs, parse_int=Number, parse_float=Number, parse_constant=_refuse_constant
    )
    try:
        return decoder.raw_decode(text)[0]
    except RecursionError:
        raise Fault(f"it is nested deeper than {MAX_DEPTH} levels") from None
    except json.JSONDecodeError as e:
        if e.pos >= len(text):
            raise Fault("unexpected end of JSON input") from None
        raise Fault(f"{e.msg} at character {e.pos}: invalid character {text[e.pos]!r}") from None


def _refuse_constant(name: str) -> Any:
    raise Fault(f"{name} is no JSON value")


def to_value(schema: Schema, raw: Any, path: str = "", depth: int = 0) -> Any:
    """`raw` in the types of `schema`; None where nothing was given. `path` names the place in messages."""
    if depth > MAX_DEPTH:
        raise Fault(f"it is nested deeper than {MAX_DEPTH} levels")
    if raw is None:
        return None
    return _READERS.get(schema.kind, _free)(schema, raw, path, depth)


def _object(schema: Schema, raw: Any, path: str, depth: int) -> dict[str, Any]:
    if not isinstance(raw, Pairs):
        raise _misfit(raw, path, "an object")
    members = schema.members
    folded = {name.lower(): name for name in members}
    value: dict[str, Any] = {}
    for key, item in raw:
        name = key if key in members else folded.get(key.lower())
        if name is None:
            continue
        converted = to_value(members[name], item, f"{path}.{name}" if path else name, depth + 1)
        if converted is not None:
            value[name] = converted
    return value


def _array(schema: Schema, raw: Any, path: str, depth: int) -> list[Any]:
    if not isinstance(raw, list) or isinstance(raw, Pairs):
        raise _misfit(raw, path, "a list")
    assert schema.items is not None
    return [to_value(schema.items, item, f"{path}[{i}]", depth + 1) for i, item in enumerate(raw)]


def _map(schema: Schema, raw: Any, path: str, depth: int) -> dict[str, Any]:
    if not isinstance(raw, Pairs):
        raise _misfit(raw, path, "an object")
    assert schema.items is not None
    return {
        _clean(key, path): to_value(schema.items, item, f"{path}.{key}" if path else key, depth + 1)
        for key, item in raw
    }


def _integer(schema: Schema, raw: Any, path: str, depth: int) -> int:
    low, high = _RANGES.get(schema.format, _INT64)
    if not isinstance(raw, Number) or not _INTEGER.fullmatch(raw) or not low <= int(raw) <= high:
        raise _misfit(raw, path, f"an integer of type {schema.format or 'int64'}")
    return int(raw)


def _number(schema: Schema, raw: Any, path: str, depth: int) -> float:
    if not isinstance(raw, Number):
        raise _misfit(raw, path, "a number")
    return float(raw)


def _boolean(schema: Schema, raw: Any, path: str, depth: int) -> bool:
    if not isinstance(raw, bool):
        raise _misfit(raw, path, "a boolean")
    return raw


def _text(schema: Schema, raw: Any, path: str, depth: int) -> str:
    if not isinstance(raw, str) or isinstance(raw, Number):
        raise _misfit(raw, path, "a string")
    return _clean(raw, path)


def _clean(text: str, path: str) -> str:
    """Text that PostgreSQL and UTF-8 can hold: no zero character, no half of a surrogate pair."""
    if "\0" in text:
        raise Fault(f"{path or 'text'} must not hold the character U+0000")
    return _SURROGATE.sub("\ufffd", text)


def _time(schema: Schema, raw: Any, path: str, depth: int) -> datetime.datetime | None:
    text = _text(schema, raw, path, depth)
    if not text:
        return None
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise Fault(f"{path} must be a time as in RFC 3339, not {text[:40]!r}") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)


def _free(schema: Schema, raw: Any, path: str, depth: int) -> Any:
    """A value whose type the contract leaves open."""
    if depth > MAX_DEPTH:
        raise Fault(f"it is nested deeper than {MAX_DEPTH} levels")
    if isinstance(raw, Pairs):
        return {_clean(key, path): _free(schema, item, path, depth + 1) for key, item in raw}
    if isinstance(raw, list):
        return [_free(schema, item, path, depth + 1) for item in raw]
    if isinstance(raw, Number):
        return int(raw) if _INTEGER.fullmatch(raw) else float(raw)
    return _clean(raw, path) if isinstance(raw, str) else raw


_READERS: dict[str, Callable[[Schema, Any, str, int], Any]] = {
    "object": _object,
    "array": _array,
    "map": _map,
    "integer": _integer,
    "number": _number,
    "boolean": _boolean,
    "string": _text,
    "time": _time,
}


def _misfit(raw: Any, path: str, wanted: str) -> Fault:
    seen = {bool: "a boolean", Number: "a number", str: "a string", list: "a list", Pairs: "an object"}
    what = seen.get(type(raw), "null")
    if isinstance(raw, Number):
        what = f"the number {raw[:40]}"
    return Fault(f"{path or 'the body'} must be {wanted}, not {what}")


def is_uri(text: str) -> bool:
    try:
        parts = urllib.parse.urlsplit(text)
    except ValueError:
        return False
    return bool(parts.scheme) and not any(c.isspace() for c in text)
