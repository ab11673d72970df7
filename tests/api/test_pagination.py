"""Pages and the headers that lead to the others (contract 1.2; golden: query_sort_and_pages)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.pagination import Page

PATH = "/api/v2.0/projects"
NEXT = '</api/v2.0/projects?page={}&page_size={}>; rel="next"'
PREV = '</api/v2.0/projects?page={}&page_size={}>; rel="prev"'


@pytest.mark.parametrize(
    ("number", "size", "rows"),
    [(1, 2, "ab"), (2, 2, "cd"), (3, 2, "e"), (4, 2, ""), (0, 2, "ab"), (-1, 2, "ab"), (1, 0, "abcde"), (2, 0, "abcde"),
     (1, -1, "abcde"), (2, -5, "abcde"), (2**63 - 1, 2, "ab"), (1, 100, "abcde")],
)  # fmt: skip
def test_rows_of_a_page(number: int, size: int, rows: str) -> None:
    assert "abcde"[Page(number, size).part] == rows


@pytest.mark.parametrize(
    ("number", "size", "link"),
    [
        (1, 2, NEXT.format(2, 2)),
        (2, 2, PREV.format(1, 2) + " , " + NEXT.format(3, 2)),
        (3, 2, PREV.format(2, 2)),
        (4, 2, ""),
        (9, 2, ""),
        (0, 2, NEXT.format(1, 2)),
        (-1, 2, NEXT.format(0, 2)),
        (1, 5, ""),
        (1, 1, NEXT.format(2, 1)),
        (1, 100, ""),
        (1, 0, ""),
        (2, 0, ""),
        (1, -1, NEXT.format(2, -1)),
        (2, -1, PREV.format(1, -1) + " , " + NEXT.format(3, -1)),
        (2**63 - 1, 2, PREV.format(2**63 - 2, 2) + " , " + NEXT.format(-(2**63), 2)),
    ],
)
def test_link_of_five_rows(number: int, size: int, link: str) -> None:
    assert Page(number, size).link(PATH, [("page", str(number)), ("page_size", str(size))], 5) == link


def test_link_keeps_what_was_asked_sorted_and_not_escaped() -> None:
    pairs = [
        ("x", "a&b=c"),
        ("q", "name=~a b"),
        ("sort", "-name"),
        ("colour", "red ish"),
        ("page_size", "2"),
        ("q", "z"),
    ]
    assert Page(1, 2).link(PATH, pairs, 5) == (
        '</api/v2.0/projects?colour=red ish&page=2&page_size=2&q=name=~a b&q=z&sort=-name&x=a&b=c>; rel="next"'
    )


@given(st.integers(1, 50), st.integers(1, 20), st.integers(0, 200))
def test_following_next_shows_every_row_once(number: int, size: int, total: int) -> None:
    seen, page = [], Page(1, size)
    while True:
        seen += list(range(total))[page.part]
        if 'rel="next"' not in page.link(PATH, [], total):
            break
        page = Page(page.number + 1, size)
    assert seen == list(range(total))
