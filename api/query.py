"""The language of `q` and `sort` (contract 1.2), compiled to Django conditions by a map of fields per resource.

    q=k=v,k=~v,k=[min~max],k={a b},k=(a b)        sort=a,-b

The grammar is pure: text in, values out. A FieldMap knows which keys a resource has; unknown keys are ignored.
"""

from __future__ import annotations

import datetime
import re
import urllib.parse
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from django.db.models import F, OrderBy, Q

from registry_core.errors import BadRequest

Item = str | int | datetime.datetime
Kind = Literal["text", "integer", "boolean", "time"]


@dataclass(frozen=True, slots=True)
class Exact:
    value: str


@dataclass(frozen=True, slots=True)
class Fuzzy:
    value: str


@dataclass(frozen=True, slots=True)
class Range:
    low: Item | None
    high: Item | None


@dataclass(frozen=True, slots=True)
class AnyOf:
    values: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class AllOf:
    values: tuple[Item, ...]


Match = Exact | Fuzzy | Range | AnyOf | AllOf

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", re.ASCII)
_INTEGER = re.compile(r"[+-]?[0-9]{1,19}")
_ESCAPES = re.compile(r"(?:%[0-9a-fA-F]{2}|[^%])*", re.DOTALL)


def parse(text: str) -> dict[str, Match]:
    """The conditions of `q` by key as written; of a double key the later counts. BadRequest where it is malformed."""
    if not text:
        return {}
    # Once more, as Harbor does; what does not parse stays as it is.
    if _ESCAPES.fullmatch(text):
        text = urllib.parse.unquote_plus(text, errors="replace")
    if "\0" in text:
        raise BadRequest("the query string must not hold the character U+0000")
    conditions: dict[str, Match] = {}
    for part in text.split(","):
        key, equals, value = part.partition("=")
        if not equals or not key or not value:
            raise BadRequest('the query string must contain "=" and the key/value cannot be empty')
        conditions[key] = _parse_value(value)
    return conditions


def _parse_value(text: str) -> Match:
    match text[0]:
        case "~":
            if len(text) == 1:
                raise _malformed(text)
            return Fuzzy(text[1:])
        case "[":
            return _parse_range(text)
        case "{":
            return AnyOf(_parse_list(text, "}"))
        case "(":
            return AllOf(_parse_list(text, ")"))
    return Exact(text.removeprefix("\\"))


def _parse_range(text: str) -> Range:
    ends = text[1:-1].split("~")
    if len(text) < 2 or text[-1] != "]" or len(ends) != 2:
        raise _malformed(text)
    low, high = (end.strip() for end in ends)
    if not low and not high:
        raise _malformed(text)
    return Range(_parse_item(low) if low else None, _parse_item(high) if high else None)


def _parse_list(text: str, closing: str) -> tuple[Item, ...]:
    if len(text) < 2 or text[-1] != closing:
        raise _malformed(text)
    items = (_parse_item(part) for part in text[1:-1].split(" "))
    return tuple(item for item in items if item != "")


def _parse_item(text: str) -> Item:
    """Time, then integer, then text without its quotes."""
    text = text.strip()
    if _TIME.fullmatch(text):
        try:
            return datetime.datetime.fromisoformat(text).replace(tzinfo=datetime.UTC)
        except ValueError:
            return text
    if _INTEGER.fullmatch(text):
        return int(text)
    return text.strip("\"'")


def _malformed(text: str) -> BadRequest:
    return BadRequest(f"invalid query string value: {text}")


@dataclass(frozen=True, slots=True)
class Sort:
    key: str
    descending: bool


def parse_sort(text: str) -> list[Sort]:
    return [Sort(part.removeprefix("-"), part.startswith("-")) for part in text.split(",")] if text else []


@dataclass(frozen=True, slots=True)
class Field:
    """A key of a resource. `column` is Harbor's name for it, `path` where Django finds it.

    `condition` replaces the comparison of columns: it gets the match and returns what it means. A key that is no
    column says sortable=False.
    """

    column: str
    path: str = ""
    kind: Kind = "text"
    go: str = ""
    filterable: bool = True
    sortable: bool = True
    condition: Callable[[Match], Q] | None = None

    @property
    def lookup(self) -> str:
        return self.path or self.column

    @property
    def go_form(self) -> str:
        """`project_id` is ProjectID in Harbor's code, and clients may write that."""
        return self.go or "".join("ID" if w == "id" else w.capitalize() for w in self.column.split("_"))


@dataclass(frozen=True)
class FieldMap:
    """What a resource can be asked for and ordered by; `default` is its own order, as Django writes it."""

    fields: Sequence[Field]
    default: Sequence[str]
    _by_key: dict[str, Field] = field(init=False, repr=False)
    _by_sort: dict[str, Field] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        by_key, by_sort = {}, {}
        for f in self.fields:
            if f.filterable:
                by_key[f.column.lower()] = by_key[f.go_form.lower()] = f
            if f.sortable:
                by_sort[f.column] = by_sort[f.go_form] = f
        object.__setattr__(self, "_by_key", by_key)
        object.__setattr__(self, "_by_sort", by_sort)

    def conditions(self, matches: dict[str, Match]) -> Q:
        condition = Q()
        for key, match in matches.items():
            name, _, suffix = key.partition("__")
            found = self._by_key.get(name.lower())
            if found is None or suffix not in _SUFFIXES:
                continue
            if found.condition is not None:
                condition &= found.condition(_without_suffix(suffix, match))
            elif suffix:
                condition &= _compare_by_suffix(found, suffix, match)
            else:
                condition &= compare(found, match)
        return condition

    def order(self, sorts: Iterable[Sort]) -> list[OrderBy | str]:
        """At the end the id, so that pages neither repeat nor lose a row."""
        wanted: list[OrderBy | str] = [
            OrderBy(F(found.lookup), descending=sort.descending)
            for sort in sorts
            if (found := self._by_sort.get(sort.key))
        ]
        return [*(wanted or self.default), "id"]


_SUFFIXES = ("", "exact", "in", "gte", "lte", "gt", "lt", "icontains")


def compare(f: Field, match: Match) -> Q:
    match match:
        case Exact(value):
            return Q(**{f.lookup: _fit(f, value)})
        case Fuzzy(value):
            return Q(**{f"{f.lookup}__icontains": value})
        case Range(low, high):
            condition = Q()
            if low is not None:
                condition &= Q(**{f"{f.lookup}__gte": _fit(f, low, typed=True)})
            if high is not None:
                condition &= Q(**{f"{f.lookup}__lte": _fit(f, high, typed=True)})
            return condition
        case AnyOf(values):
            return Q(**{f"{f.lookup}__in": [_fit(f, v, typed=True) for v in values]})
        case AllOf():
            return Q()  # only keys with a condition of their own know it


def _without_suffix(suffix: str, match: Match) -> Match:
    """The same in the grammar's own forms, as far as it has them."""
    if isinstance(match, Exact) and suffix == "icontains":
        return Fuzzy(match.value)
    if isinstance(match, Exact) and suffix == "in":
        return AnyOf((match.value,))
    return match


def _compare_by_suffix(f: Field, suffix: str, match: Match) -> Q:
    if not isinstance(match, Exact):
        raise BadRequest(f"{f.column}__{suffix} takes a plain value")
    if suffix == "icontains":
        return Q(**{f"{f.lookup}__icontains": match.value})
    value = _fit(f, match.value)
    return Q(**{f"{f.lookup}__{suffix}": [value] if suffix == "in" else value})


def _fit(f: Field, value: Item, *, typed: bool = False) -> Item | bool:
    """`value` as the column has it. Items of ranges and lists come typed, and digits are then text only in quotes."""
    fitting: Item | bool | None = None
    if f.kind == "text":
        fitting = value if isinstance(value, str) else None
    elif f.kind == "integer":
        fitting = _fit_integer(value, typed=typed)
    elif f.kind == "time":
        fitting = _fit_time(value)
    elif isinstance(value, str):
        fitting = _BOOLEANS.get(value.strip().lower())
    if fitting is None:
        hint = "; put digits in quotes to search text" if f.kind == "text" else ""
        raise BadRequest(f"{value!s:.100} is no {f.kind} value for {f.column}{hint}")
    return fitting


def _fit_integer(value: Item, *, typed: bool) -> int | None:
    if isinstance(value, str):
        return int(value) if not typed and _INTEGER.fullmatch(value.strip()) else None
    return value if isinstance(value, int) else None


def _fit_time(value: Item) -> datetime.datetime | None:
    if not isinstance(value, str):
        return value if isinstance(value, datetime.datetime) else None
    try:
        moment = datetime.datetime.fromisoformat(value)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)


# How PostgreSQL reads a boolean; Harbor hands the text on.
_BOOLEANS = dict.fromkeys(("t", "true", "y", "yes", "on", "1"), True) | dict.fromkeys(
    ("f", "false", "n", "no", "off", "0"), False
)
