"""Pages that are kept ready: under which version, how long, and how many (design 8.6)."""

from __future__ import annotations

import time

import pytest

from registry_core import lookups, versions
from registry_core.oci import pages
from registry_core.oci.pages import Page

SETTLED, OTHER = 1 << 40, 2 << 40


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The clock, to be set."""
    clock = [1e6]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    assert versions.is_settled(SETTLED)
    assert versions.is_settled(OTHER)
    return clock


def key(number: int, query: bytes = b"n=100") -> pages.Key:
    return (1, f"/v2/p/r{number}/tags/list", query)


def test_a_page_is_that_of_its_version_query_and_namespace(now: list[float]) -> None:
    kept, page = pages._Kept(), Page.of({"tags": []})
    kept.keep(key(1), SETTLED, page)
    assert kept.find(key(1), SETTLED) is page
    assert kept.find(key(1, b"n=10"), SETTLED) is None
    assert kept.find((2, *key(1)[1:]), SETTLED) is None
    assert kept.find(key(1), OTHER) is None
    assert kept._bytes == 0  # a page of an older version is no use to anybody
    assert kept.find(key(1), SETTLED) is None


def test_a_page_is_kept_for_as_long_as_lookups_are(now: list[float]) -> None:
    kept, page = pages._Kept(), Page.of({"tags": []})
    unsettled = int(now[0])
    for version, seconds in ((unsettled, lookups.KEPT_UNSETTLED), (SETTLED, lookups.KEPT)):
        kept.keep(key(1), version, page)
        now[0] += seconds - 0.1
        assert kept.find(key(1), version) is page
        now[0] += 0.2
        assert kept.find(key(1), version) is None


def test_pages_are_bounded_by_bytes_and_the_least_used_goes_first(
    now: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, page = pages._Kept(), Page.of({"tags": ["x" * 1000]})
    monkeypatch.setattr(pages, "MAX_BYTES", 10 * pages._size(key(0), page))
    for i in range(10):
        kept.keep(key(i), SETTLED, page)
    assert kept.find(key(0), SETTLED) is page
    kept.keep(key(9), SETTLED, page)  # again: it takes no more room than before
    for i in range(10, 14):
        kept.keep(key(i), SETTLED, page)
    assert [i for i in range(14) if kept.find(key(i), SETTLED)] == [0, 6, 7, 8, 9, 10, 11, 12, 13]
    assert kept._bytes == sum(pages._size(key(i), page) for i in (0, *range(6, 14)))


def test_a_very_large_page_is_not_kept(now: list[float]) -> None:
    kept = pages._Kept()
    kept.keep(key(1), SETTLED, Page.of({"tags": ["x" * pages.MAX_PAGE_BYTES]}))
    assert kept.find(key(1), SETTLED) is None
    assert kept._bytes == 0


def test_what_nobody_asked_for_lately_is_freed(now: list[float]) -> None:
    kept, page = pages._Kept(), Page.of({"tags": []})
    kept.keep(key(1), SETTLED, page)
    now[0] += lookups.KEPT / 2
    kept.keep(key(2), SETTLED, page)
    now[0] += lookups.KEPT / 2 + 1
    kept.forget_expired()
    assert list(kept._pages) == [key(2)]
    assert kept._bytes == pages._size(key(2), page)


def test_manifests_that_no_answer_names_are_freed(now: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    answers: lookups.Answers[tuple[int, str]] = lookups.Answers()
    payloads = lookups._Payloads()
    monkeypatch.setattr(lookups, "_manifests", answers)
    monkeypatch.setattr(lookups, "_payloads", payloads)
    stored = [lookups.Stored(i, 1, f"sha256:{i:064}", "x", b"x" * 1000, ()) for i in range(3)]
    for one in stored:
        payloads.keep(one)
    answers.keep((1, "r", "old"), SETTLED, (0, stored[0].digest))
    answers.keep((1, "r", "old too"), SETTLED, (1, stored[1].digest))
    now[0] += lookups.KEPT - 1
    answers.keep((1, "r", "v1"), SETTLED, (1, stored[1].digest))
    answers.keep((1, "r", "absent"), SETTLED, None)
    now[0] += 2
    lookups.forget_expired()
    assert set(answers._kept) == {(1, "r", "v1"), (1, "r", "absent")}
    assert [payloads.find((one.artifact_id, one.digest)) for one in stored] == [None, stored[1], None]
    assert payloads._bytes == 1000
