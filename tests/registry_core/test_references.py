"""Names of repositories and tags at and over their limits (contract 7; distribution-spec "Pulling manifests")."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry_core.errors import NameInvalid, TagInvalid
from registry_core.references import is_project_name, is_repository_path, parse_repository, parse_tag

# The grammar as the distribution-spec prints it.
SPEC_NAME = re.compile(r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*")
SPEC_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")

GOOD = [
    "library/alpine",
    "a/b",
    "0/1",
    "my.project/app",
    "my-project_2/team/app/server",
    "p/a__b",
    "p/a---b",
    "p/a.b_c-d",
    "p/blobs/uploads/x",
    "p/manifests",
]
BAD = [
    "/", "/alpine", "library/", "library//alpine", "Library/alpine", "library/Alpine", "library/al pine",
    "library/-alpine", "library/alpine-", "library/.alpine", "library/alpine.", "library/_alpine", "library/a..b",
    "library/a___b", "library/a._b", "library/a.-b", "library/../alpine", "library/./alpine", "..", "../etc",
    "lib__rary/alpine", "lib--rary/alpine", "library/alpine\n", "library/\u0430lpine", "library/alpine:latest",
    "library/alpine@x", "library/a%2fb", "library/a;b", "library\\alpine", "library/a\0b",
]  # fmt: skip


@pytest.mark.parametrize("text", GOOD)
def test_it_takes_apart_a_good_name(text: str) -> None:
    name = parse_repository(text)
    assert (name.project, name.path) == tuple(text.split("/", 1))
    assert str(name) == text


@pytest.mark.parametrize("text", BAD)
def test_it_refuses_a_bad_name(text: str) -> None:
    with pytest.raises(NameInvalid) as refusal:
        parse_repository(text)
    assert (refusal.value.code, refusal.value.status) == ("NAME_INVALID", 400)
    assert refusal.value.detail


@pytest.mark.parametrize("text", ["alpine", "a"])
def test_a_name_without_a_project_is_told_to_put_one_in_front(text: str) -> None:
    with pytest.raises(NameInvalid) as refusal:
        parse_repository(text)
    assert refusal.value.detail["fix"] == f"put the project in front: <project>/{text}"


def test_a_name_has_255_characters_at_most() -> None:
    longest = "library/" + "a" * 247
    assert len(longest) == 255
    assert str(parse_repository(longest)) == longest
    with pytest.raises(NameInvalid) as refusal:
        parse_repository(longest + "a")
    assert refusal.value.detail == {"limit": 255, "length": 256}
    assert "255" in refusal.value.message


def test_a_project_name_has_1_to_255_characters() -> None:
    assert is_project_name("a")
    assert is_project_name("a" * 255)
    assert not is_project_name("a" * 256)
    assert not is_project_name("")


@pytest.mark.parametrize("text", ["a", "A", "_", "v1.0", "_.-", "a" * 128, "sha256-" + "0" * 64 + ".sig"])
def test_it_takes_a_good_tag(text: str) -> None:
    assert parse_tag(text) == text


@pytest.mark.parametrize(
    "text", ["", ".a", "-a", "a" * 129, "a b", "a/b", "a:b", "a\n", "é", "a\0", "a%41", "a@b"]
)
def test_it_refuses_a_bad_tag(text: str) -> None:
    with pytest.raises(TagInvalid) as refusal:
        parse_tag(text)
    assert (refusal.value.code, refusal.value.status) == ("BAD_REQUEST", 400)
    assert len(refusal.value.message) < 250
    assert "1 to 128" in refusal.value.detail["form"]


@given(st.text(alphabet="aB0._-/", max_size=24))
def test_names_follow_the_grammar_of_the_spec(text: str) -> None:
    """Harbor's project, the first component, knows neither `__` nor repeated `-`; the rest is the spec's."""
    assert is_repository_path(text) == bool(SPEC_NAME.fullmatch(text))
    project, slash, path = text.partition("/")
    try:
        parse_repository(text)
    except NameInvalid:
        accepted = False
    else:
        accepted = True
    assert accepted == bool(slash and is_project_name(project) and SPEC_NAME.fullmatch(path))
    if accepted:
        assert SPEC_NAME.fullmatch(text)


@given(st.text(alphabet="aZ9._-:/ é", max_size=8) | st.integers(125, 131).map(lambda n: "a" * n))
def test_tags_follow_the_grammar_of_the_spec(text: str) -> None:
    try:
        parse_tag(text)
    except TagInvalid:
        assert not SPEC_TAG.fullmatch(text)
    else:
        assert SPEC_TAG.fullmatch(text)
