"""Does a request fit the contract? (contract 1.1; golden: bodies, query_sort_and_pages)"""

from __future__ import annotations

from typing import Any

import pytest

from api import contract, validation
from api.errors import Unprocessable

OPERATIONS = {operation.id: operation for operation in contract.operations()}
JSON = {"Content-Type": "application/json"}


def validate(
    name: str, *, query: Any = (), path: Any = None, headers: Any = None, body: bytes = b""
) -> validation.Inputs:
    raw = validation.Raw(
        path or {}, list(query), headers if headers is not None else (JSON if body else {}), body
    )
    return validation.validate(OPERATIONS[name], raw)


def refusal(name: str, **raw: Any) -> str:
    with pytest.raises(Unprocessable) as e:
        validate(name, **raw)
    assert e.value.status == 422
    return e.value.message


def test_the_contract_is_whole() -> None:
    assert len(contract.operations()) == 203
    assert len({operation.id for operation in contract.operations()}) == 203
    assert {operation.method for operation in contract.operations()} == {
        "GET",
        "HEAD",
        "POST",
        "PUT",
        "PATCH",
        "DELETE",
    }


def test_defaults() -> None:
    inputs = validate("listArtifacts", path={"project_name": "p", "repository_name": "r"})
    assert (inputs.query["page"], inputs.query["page_size"]) == (1, 10)
    assert inputs.query["with_tag"] is True
    assert inputs.query["with_label"] is False
    assert validate("listRetentionExecutions", path={"id": "1"}).query["page_size"] is None


@pytest.mark.parametrize(
    ("text", "number"), [("0", 0), ("-1", -1), ("-5", -5), ("+2", 2), ("100", 100), ("", 10)]
)
def test_page_sizes_that_fit(text: str, number: int) -> None:
    assert validate("listProjects", query=[("page_size", text)]).query["page_size"] == number


@pytest.mark.parametrize(
    "text", ["abc", "1.5", "99999999999999999999", " 2", "2 ", "0x2", "2e0", "\u0661", "1_0", "9" * 5000]
)
def test_page_sizes_that_are_no_number(text: str) -> None:
    message = refusal("listProjects", query=[("page_size", text)])
    assert message == f'validation failure list:\npage_size in query must be of type int64: "{text[:100]}"'


def test_a_page_size_above_the_maximum() -> None:
    expected = "validation failure list:\npage_size in query should be less than or equal to 100"
    assert refusal("listProjects", query=[("page_size", "101")]) == expected


def test_faults_are_listed_a_line_each() -> None:
    message = refusal("listProjects", query=[("page", "x"), ("page_size", "101")])
    assert message.split("\n") == [
        "validation failure list:",
        'page in query must be of type int64: "x"',
        "page_size in query should be less than or equal to 100",
    ]


@pytest.mark.parametrize(
    ("text", "value"),
    [("true", True), ("1", True), ("YES", True), ("ok", True), ("on", True), ("enabled", True), ("t", True),
     ("false", False), ("garbage", False), ("0", False), ("", None)],
)  # fmt: skip
def test_booleans_are_lenient(text: str, value: bool | None) -> None:
    assert validate("listProjects", query=[("public", text)]).query["public"] is value


def test_of_a_repeated_parameter_the_last_counts() -> None:
    assert validate("listProjects", query=[("name", "a"), ("name", "b")]).query["name"] == "b"


def test_a_number_in_the_path() -> None:
    expected = 'validation failure list:\nuser_id in path must be of type int64: "x"'
    assert refusal("getUser", path={"user_id": "x"}) == expected
    assert validate("getUser", path={"user_id": "-1"}).path["user_id"] == -1


def test_a_word_in_the_path_out_of_those_there_are() -> None:
    at = {"project_name": "p", "repository_name": "r", "reference": "t"}
    assert validate("getAddition", path=at | {"addition": "values.yaml"}).path["addition"] == "values.yaml"
    assert refusal("getAddition", path=at | {"addition": "VALUES.YAML"}).endswith(
        "addition in path should be one of [build_history values.yaml readme.md dependencies sbom license files]"
    )


@pytest.mark.parametrize("query", [[], [("username", "")]])
def test_a_required_parameter(query: list[tuple[str, str]]) -> None:
    assert refusal("searchUsers", query=query) == "validation failure list:\nusername in query is required"


def test_a_required_header() -> None:
    message = refusal("exportScanData", body=b"{}")
    assert message == "validation failure list:\nX-Scan-Data-Type in header is required"


@pytest.mark.parametrize("kind", ["application/json", "application/json; charset=latin1", "Application/JSON"])
def test_content_types_that_count(kind: str) -> None:
    assert validate("CreateLabel", headers={"Content-Type": kind}, body=b'{"scope":"g"}').body == {
        "scope": "g"
    }


@pytest.mark.parametrize(
    ("kind", "shown"),
    [
        ("application/vnd.api+json", "application/vnd.api+json"),
        ("text/plain", "text/plain"),
        ("", "application/octet-stream"),
        (";;", "application/octet-stream"),
    ],
)
def test_content_types_that_do_not(kind: str, shown: str) -> None:
    assert refusal("CreateLabel", headers={"Content-Type": kind}, body=b"{}") == (
        f'validation failure list:\nunsupported media type "{shown}", only [application/json] are allowed'
    )


@pytest.mark.parametrize(
    "accept", ["*/*", "application/json", "text/html, application/*;q=0.5", "Application/JSON; charset=utf-8"]
)
def test_accept_that_allows_json(accept: str) -> None:
    validate("listProjects", headers={"Accept": accept})


@pytest.mark.parametrize("accept", ["", "text/xml", "application/json;q=0", "text/*, image/png"])
def test_accept_that_does_not(accept: str) -> None:
    assert refusal("listProjects", headers={"Accept": accept}) == (
        "validation failure list:\nunsupported media type requested, only [application/json] are available"
    )


@pytest.mark.parametrize("body", [b"", b" ", b"\n"])
def test_a_required_body(body: bytes) -> None:
    assert refusal("createProject", body=body) == "validation failure list:\nproject in body is required"


def test_a_body_that_may_be_absent() -> None:
    assert validate("createProjectMember", path={"project_name_or_id": "1"}).body is None


def test_null_is_an_empty_object() -> None:
    assert validate("createProject", body=b"null").body == {}


def test_a_body_that_does_not_parse_names_itself() -> None:
    assert refusal("createProject", body=b"[]").startswith(
        'validation failure list:\nparsing project body from "" failed, because '
    )


def test_text_that_is_too_long_repeats_the_prefix() -> None:
    assert refusal("createProject", body=b'{"project_name":"%s"}' % (b"x" * 256)) == (
        "validation failure list:\nvalidation failure list:\nproject_name in body should be at most 255 chars long"
    )


@pytest.mark.parametrize("body", [b"{}", b'{"name":""}', b'{"name":null}'])
def test_required_fields(body: bytes) -> None:
    at = {"project_name": "p", "repository_name": "r", "reference": "t"}
    expected = "validation failure list:\nvalidation failure list:\nname in body is required"
    assert refusal("createTag", path=at, body=body) == expected


def test_fields_out_of_an_enumeration() -> None:
    assert refusal("createGCSchedule", body=b'{"schedule":{"type":"Sometimes"}}') == (
        "validation failure list:\nvalidation failure list:\n"
        "schedule.type in body should be one of [Hourly Daily Weekly Custom Manual None Schedule]"
    )


def test_fields_that_only_the_server_writes() -> None:
    assert refusal("createGCSchedule", body=b'{"id":5,"status":"x"}') == (
        "validation failure list:\nvalidation failure list:\nid in body is readOnly\nstatus in body is readOnly"
    )


def test_a_field_that_must_be_an_address() -> None:
    body = b'{"name":"a","url":"not a url"}'
    assert refusal("createScanner", body=body).endswith('url in body must be of type uri: "not a url"')


def test_a_zero_character_reaches_no_database() -> None:
    assert "U+0000" in refusal("listProjects", query=[("name", "a\0")])
    assert "U+0000" in refusal("createProject", body=b'{"project_name":"a\\u0000"}')
