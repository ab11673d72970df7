"""The table that the replay reads: what a row covers, and what of it nothing needs."""

from __future__ import annotations

from tests.contract.deviations import Deviation, Difference, fits, listed

ROW = Deviation(("v2_*", "token"), ("head", "get *"), ("status 200*",), "because")
HEAD = Difference("v2_pull", "head", "status 200, Harbor 404: null")


def test_a_star_is_any_text() -> None:
    assert fits("$.a[0]*", "$.a[0].code: 'X'")
    assert fits("*", "")
    assert not fits("head", "head again")
    assert not fits("$.a[0]", "$.a0")


def test_a_row_covers_what_fits_in_every_column() -> None:
    assert ROW.covers(HEAD)
    assert not ROW.covers(Difference("search", "head", HEAD.text))
    assert not ROW.covers(Difference("v2_pull", "put", HEAD.text))
    assert not ROW.covers(Difference("v2_pull", "head", "status 500, Harbor 404: null"))


def test_every_name_of_a_row_is_needed() -> None:
    assert ROW.idle([HEAD]) == ["token", "get *"]
    assert ROW.idle([HEAD, Difference("token", "get it", "status 200")]) == []
    assert ROW.idle([]) == ["v2_*", "token", "head", "get *", "status 200*"]


def test_the_table_is_read() -> None:
    assert len(listed()) > 10
    assert len(set(listed())) == len(listed())
