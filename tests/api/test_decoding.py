"""JSON bodies as Harbor reads them (contract 1.1; golden: bodies)."""

from __future__ import annotations

import datetime
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api import contract, decoding

NEW_YEAR = datetime.datetime(2001, 1, 1, tzinfo=datetime.UTC)
LABEL = contract.definition("Label")


def read(text: str | bytes, schema: contract.Schema = LABEL) -> Any:
    data = text.encode() if isinstance(text, str) else text
    return decoding.to_value(schema, decoding.parse(data))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"name":"a","scope":"g"}', {"name": "a", "scope": "g"}),
        ('  {"name":"a"} \n', {"name": "a"}),
        ('{"name":"a"}x', {"name": "a"}),
        ('{"name":"a"}{"name":"b"}', {"name": "a"}),
        ('{"name":"a","name":"b"}', {"name": "b"}),
        ('{"name":"a","NAME":"b"}', {"name": "b"}),
        ('{"NAME":"a","name":"b"}', {"name": "b"}),
        ('{"NAME":"a","Scope":"g"}', {"name": "a", "scope": "g"}),
        ('{"name":null}', {}),
        ('{"name":"a","colour":"red"}', {"name": "a"}),
        ('{"name":"\\u0079"}', {"name": "y"}),
        ('{"project_id":-5}', {"project_id": -5}),
        ('{"project_id":9223372036854775807}', {"project_id": 2**63 - 1}),
        ('{"creation_time":"2001-01-01T00:00:00Z"}', {"creation_time": NEW_YEAR}),
        ('{"creation_time":""}', {}),
        ("null", None),
    ],
)  # fmt: skip
def test_what_is_taken(text: str, value: Any) -> None:
    assert read(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff{}", "/* c */{}", "{'name':'a'}", '{"name":"a",}', '{"name":"a', "", "  ", "nonsense", "NaN",
        "true", "5", '"x"', "[]", "[" * 200 + "]" * 200, "[" * 100_000,
        '{"name":5}', '{"name":{}}', '{"name":["a"]}', '{"name":true}', '{"name":"a\\u0000"}',
        '{"creation_time":"yesterday"}', '{"creation_time":5}',
        '{"project_id":99999999999999999999}', '{"project_id":9223372036854775808}', '{"project_id":1.5}',
        '{"project_id":0e0}', '{"project_id":"1"}', '{"project_id":' + "9" * 5000 + "}",
    ],
)  # fmt: skip
def test_what_is_refused(text: str) -> None:
    with pytest.raises(decoding.Fault):
        read(text)


def test_what_is_no_utf8_becomes_a_replacement_character() -> None:
    assert read(b'{"name":"a\xff"}') == {"name": "a\ufffd"}


def test_half_a_surrogate_pair_can_be_stored() -> None:
    assert read('{"name":"\\ud800"}')["name"].encode() == "\ufffd".encode()


def test_a_map_keeps_its_keys_and_their_case() -> None:
    metadata = contract.Schema("map", items=contract.Schema("string"))
    assert read('{"Public":"true","public":"false"}', metadata) == {"Public": "true", "public": "false"}
    with pytest.raises(decoding.Fault):
        read('{"public":true}', metadata)


def test_an_open_value_is_taken_as_it_is() -> None:
    anything = contract.Schema("any")
    assert read('{"a":[1,2.5,"x",null,true,{"b":{}}]}', anything) == {
        "a": [1, 2.5, "x", None, True, {"b": {}}]
    }
    with pytest.raises(decoding.Fault):
        read('{"a":' * 70 + "1" + "}" * 70, anything)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda x: st.lists(x) | st.dictionaries(st.text(), x),
        max_leaves=20,
    )
)
def test_whatever_json_comes_it_is_a_value_or_a_fault(document: Any) -> None:
    try:
        value = read(json.dumps(document))
    except decoding.Fault:
        return
    assert value is None or set(value) <= set(LABEL.members)


@given(st.binary(max_size=200))
def test_whatever_bytes_come_they_are_a_value_or_a_fault(data: bytes) -> None:
    try:
        read(data)
    except decoding.Fault:
        return
