"""The language of q and sort (contract 1.2; golden: query_language), without a database."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from django.db.models import OrderBy, Q
from hypothesis import given
from hypothesis import strategies as st

from api import query
from api.query import AllOf, AnyOf, Exact, Field, FieldMap, Fuzzy, Range, Sort
from registry_core.errors import BadRequest

MOMENT = datetime.datetime(2020, 4, 9, 2, 36, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    ("text", "conditions"),
    [
        ("", {}),
        ("name=a", {"name": Exact("a")}),
        ("name=a=b", {"name": Exact("a=b")}),
        ("name=a b", {"name": Exact("a b")}),
        ("name=5", {"name": Exact("5")}),
        ('name="a"', {"name": Exact('"a"')}),
        ("name=\\~a", {"name": Exact("~a")}),
        ("name=~a", {"name": Fuzzy("a")}),
        ("name=~%a", {"name": Fuzzy("%a")}),
        ("n=[1~5]", {"n": Range(1, 5)}),
        ("n=[ 1 ~ 5 ]", {"n": Range(1, 5)}),
        ("n=[1~]", {"n": Range(1, None)}),
        ("n=[~5]", {"n": Range(None, 5)}),
        ("n=[a~'5']", {"n": Range("a", "5")}),
        ("t=[2020-04-09T02:36:00~]", {"t": Range(MOMENT, None)}),
        ("t=[2020-04-09 02:36:00~]", {"t": Range("2020-04-09 02:36:00", None)}),
        ("n={a b}", {"n": AnyOf(("a", "b"))}),
        ("n={1 'b' \"2\"}", {"n": AnyOf((1, "b", "2"))}),
        ("n={}", {"n": AnyOf(())}),
        ("n={   }", {"n": AnyOf(())}),
        ("n=(1 2)", {"n": AllOf((1, 2))}),
        ("a=1,b=~2", {"a": Exact("1"), "b": Fuzzy("2")}),
        ("a=1, b=2", {"a": Exact("1"), " b": Exact("2")}),
        ("a=1,a=2", {"a": Exact("2")}),
        ("name%3Da", {"name": Exact("a")}),
        ("name=~al%70ha", {"name": Fuzzy("alpha")}),
        ("name=a+b", {"name": Exact("a b")}),
        ("name=a%2Bb", {"name": Exact("a+b")}),
        ("name=~%zz", {"name": Fuzzy("%zz")}),
    ],
)  # fmt: skip
def test_what_is_understood(text: str, conditions: dict[str, Any]) -> None:
    assert query.parse(text) == conditions


@pytest.mark.parametrize("text", ["name", "name=", "=a", "=", ",", "name=a,", ",name=a", "  ", "a=1,,b=2"])
def test_what_is_no_condition(text: str) -> None:
    with pytest.raises(BadRequest) as e:
        query.parse(text)
    assert e.value.message == 'the query string must contain "=" and the key/value cannot be empty'


@pytest.mark.parametrize(
    "text",
    ["n=~", "n=[~]", "n=[1]", "n=[1~2~3]", "n=[1~2", "n=[", "n={a", "n={", "n=(a", "n=(", "n={a,b}"],
)
def test_what_is_no_value(text: str) -> None:
    with pytest.raises(BadRequest) as e:
        query.parse(text)
    assert e.value.message == f"invalid query string value: {text[2:].partition(',')[0]}"


@given(st.text())
def test_any_text_is_understood_or_refused(text: str) -> None:
    try:
        conditions = query.parse(text)
    except BadRequest:
        return
    assert all(key for key in conditions)
    assert not any("," in key for key in conditions) or "%2C" in text.upper()


_plain = st.text(
    st.characters(exclude_characters=",%+\0 ~[]{}()\"'\\", exclude_categories=["Cs", "Zs"]), min_size=1
)


@given(st.dictionaries(st.text(st.sampled_from("abcXYZ_"), min_size=1), _plain, max_size=4))
def test_plain_conditions_survive_writing_and_reading(conditions: dict[str, str]) -> None:
    text = ",".join(f"{key}={value}" for key, value in conditions.items())
    assert query.parse(text) == {key: Exact(value) for key, value in conditions.items()}


@given(st.lists(st.integers(-(2**62), 2**62) | st.sampled_from(["a", "b-c", "x_y"]), min_size=1))
def test_lists_survive_writing_and_reading(values: list[Any]) -> None:
    text = " ".join(str(value) for value in values)
    assert query.parse(f"k={{{text}}}") == {"k": AnyOf(tuple(values))}
    assert query.parse(f"k=({text})") == {"k": AllOf(tuple(values))}


# -- what keys mean

FIELDS = FieldMap(
    [
        Field("project_id", "place__id", "integer"),
        Field("name"),
        Field("creation_time", "created_at", "time"),
        Field("flag", kind="boolean"),
        Field("secret", filterable=False, sortable=False),
        Field("special", condition=lambda match: Q(special=match), sortable=False),
    ],
    default=("-created_at",),
)


def conditions(text: str) -> Q:
    return FIELDS.conditions(query.parse(text))


@pytest.mark.parametrize("key", ["project_id", "ProjectID", "PROJECT_ID", "projectid", "pRoJeCt_Id"])
def test_a_key_in_either_form_and_any_case(key: str) -> None:
    assert conditions(f"{key}=5") == Q(place__id=5)


@pytest.mark.parametrize(
    "key", [" name", "colour", "secret", "name;drop", "name__startswith", "place__id", "pk"]
)
def test_a_key_that_is_not_known_is_ignored(key: str) -> None:
    assert conditions(f"{key}=5") == Q()


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("name=5", Q(name="5")),
        ("name=~A%", Q(name__icontains="A%")),
        ("name=[a~b]", Q(name__gte="a") & Q(name__lte="b")),
        ("name={a '1'}", Q(name__in=["a", "1"])),
        ("name={}", Q(name__in=[])),
        ("name=(a b)", Q()),
        ("project_id=~1", Q(place__id__icontains="1")),
        (
            "creation_time=[2020-04-09~]",
            Q(created_at__gte=datetime.datetime(2020, 4, 9, tzinfo=datetime.UTC)),
        ),
        ("creation_time=[2020-04-09 02:36:00~]", Q(created_at__gte=MOMENT)),
        ("creation_time=2020-04-09T02:36:00Z", Q(created_at=MOMENT)),
        ("flag=true", Q(flag=True)),
        ("flag=Off", Q(flag=False)),
        ("name__icontains=A", Q(name__icontains="A")),
        ("name__in=a", Q(name__in=["a"])),
        ("name__exact=a", Q(name__exact="a")),
        ("project_id__gte=1", Q(place__id__gte=1)),
        ("special=x", Q(special=Exact("x"))),
        ("special__icontains=x", Q(special=Fuzzy("x"))),
        ("special__in=x", Q(special=AnyOf(("x",)))),
        ("name=a,NAME=b", Q(name="a") & Q(name="b")),
    ],
)
def test_what_a_condition_means(text: str, condition: Q) -> None:
    assert conditions(text) == condition


@pytest.mark.parametrize(
    "text",
    [
        "project_id=many", "project_id=[a~b]", "project_id={'1'}", "project_id=1_0", "name={1 2}", "name=[1~2]",
        "creation_time=[1~2]", "creation_time=yesterday", "flag=maybe", "name__in={a}", "name__icontains=~a",
        "project_id__gte=x", "name=[2020-04-09T02:36:00~]",
    ],
)  # fmt: skip
def test_a_value_that_does_not_fit_is_a_clear_refusal(text: str) -> None:
    """Harbor breaks down with 500 (deviation)."""
    with pytest.raises(BadRequest):
        conditions(text)


@given(st.sampled_from(["project_id", "name", "creation_time", "flag"]), st.text(min_size=1))
def test_any_value_fits_or_is_refused(key: str, value: str) -> None:
    try:
        conditions(f"{key}={value}")
    except BadRequest:
        return


# -- order


@pytest.mark.parametrize(
    ("text", "sorts"),
    [
        ("", []),
        ("name", [Sort("name", False)]),
        ("-name,a", [Sort("name", True), Sort("a", False)]),
        ("--name", [Sort("-name", True)]),
        ("-", [Sort("", True)]),
        ("name, a", [Sort("name", False), Sort(" a", False)]),
    ],
)
def test_sort_is_read(text: str, sorts: list[Sort]) -> None:
    assert query.parse_sort(text) == sorts


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("name", ["name", "id"]),
        ("-Name", ["-name", "id"]),
        ("ProjectID,-creation_time", ["place__id", "-created_at", "id"]),
        ("colour,name", ["name", "id"]),
        ("colour", ["-created_at", "id"]),
        ("NAME", ["-created_at", "id"]),
        ("projectid", ["-created_at", "id"]),
        ("special", ["-created_at", "id"]),
        ("secret", ["-created_at", "id"]),
        ("+name", ["-created_at", "id"]),
        ("name desc", ["-created_at", "id"]),
        ("", ["-created_at", "id"]),
    ],
)
def test_order(text: str, order: list[str]) -> None:
    shown = [
        entry if isinstance(entry, str) else f"{'-' if entry.descending else ''}{_name_of(entry)}"
        for entry in FIELDS.order(query.parse_sort(text))
    ]
    assert shown == order


def _name_of(entry: OrderBy) -> str:
    (path,) = entry.expression.deconstruct()[1]  # type: ignore[union-attr]
    return str(path)
