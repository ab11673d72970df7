"""A body is read in pieces, and one that does not come, or comes too slowly, is cut (design 8.4)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from registry_core.errors import BadRequest, ManifestTooLarge, RequestTimeout
from registry_core.oci import request as module
from registry_core.oci.request import ClientGone, Request

MIB = 1 << 20


def request_of(messages: Iterable[Any], *, query: str = "", **headers: str) -> Request:
    """Messages come one by one; a number is a pause of so many seconds, and after the last one nothing comes."""
    coming = iter(messages)

    async def receive() -> dict[str, Any]:
        for message in coming:
            if isinstance(message, float):
                await asyncio.sleep(message)
                continue
            if message is None:
                return {"type": "http.disconnect"}
            data, more = message
            return {"type": "http.request", "body": data, "more_body": more}
        await asyncio.sleep(60)
        raise AssertionError

    async def send(message: Any) -> None:
        raise AssertionError

    scope = {
        "method": "PUT", "raw_path": b"/v2/", "client": ("192.0.2.1", 1), "query_string": query.encode(),
        "breakwater.base_url": "http://registry.example",
        "breakwater.headers": {k.replace("_", "-").encode(): v.encode() for k, v in headers.items()},
    }  # fmt: skip
    return Request(scope, receive, send)


def chunks_of(messages: Iterable[Any]) -> list[bytes]:
    async def read() -> list[bytes]:
        return [b"".join(pieces) async for pieces in request_of(messages).chunks()]

    return asyncio.run(read())


def test_small_pieces_are_gathered_to_a_mebibyte() -> None:
    pieces = [(b"x" * 60_000, True)] * 40 + [(b"end", False)]
    chunks = chunks_of(pieces)
    assert b"".join(chunks) == b"x" * 2_400_000 + b"end"
    assert [len(chunk) >= MIB for chunk in chunks] == [True, True, False]


@pytest.mark.parametrize("messages", [[(b"", False)], [(b"", True), (b"", False)]])
def test_an_empty_body_has_no_chunk(messages: list[Any]) -> None:
    assert chunks_of(messages) == []


def test_what_came_before_a_client_left_is_handed_on() -> None:
    kept = []

    async def read() -> None:
        async for pieces in request_of([(b"one", True), (b"two", True), None]).chunks():
            kept.extend(pieces)

    with pytest.raises(ClientGone):
        asyncio.run(read())
    assert b"".join(kept) == b"onetwo"


def refusal_of(work: Callable[[], Any]) -> RequestTimeout:
    with pytest.raises(RequestTimeout) as refusal:
        asyncio.run(work())
    assert (refusal.value.code, refusal.value.status) == ("REQUEST_TIMEOUT", 408)
    return refusal.value


def test_a_body_that_stops_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IDLE", 0.2)
    began = time.monotonic()
    refusal = refusal_of(lambda: request_of([(b"one", True)]).body(MIB))
    assert 0.2 <= time.monotonic() - began < 5
    assert refusal.detail["fix"]


def test_a_body_that_trickles_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each piece comes in time; all of them together are slower than 1 KiB a second."""
    monkeypatch.setattr(module, "IDLE", 0.2)
    trickle = [part for _ in range(100) for part in (0.02, (b"x", True))]
    began = time.monotonic()
    refusal_of(lambda: request_of(trickle).body(MIB))
    assert time.monotonic() - began < 1.5


def test_a_body_that_is_slow_and_fast_enough_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IDLE", 0.1)
    pieces = [part for _ in range(20) for part in (0.02, (b"x" * 100, True))] + [(b"", False)]
    assert asyncio.run(request_of(pieces).body(MIB)) == b"x" * 2000


def test_the_limits_are_those_of_the_design() -> None:
    assert (module.IDLE, module.SLOWEST) == (60, 1024)


def test_a_body_that_says_it_is_too_large_is_not_read() -> None:
    with pytest.raises(ManifestTooLarge):
        asyncio.run(request_of([], content_length="11").body(10))
    assert asyncio.run(request_of([(b"x" * 10, False)], content_length="10").body(10)) == b"x" * 10


def test_a_body_that_turns_out_too_large_is_refused() -> None:
    with pytest.raises(ManifestTooLarge):
        asyncio.run(request_of([(b"x" * 6, True), (b"x" * 6, False)]).body(10))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", None),
        ("n=1", "1"),
        ("n=1&n=2", "1"),
        ("n=", ""),
        ("n", ""),
        ("n=%31", "1"),
        ("n=a+b", "a b"),
        ("n=%ff", "\ufffd"),
    ],
)
def test_parameters(query: str, expected: str | None) -> None:
    assert request_of([], query=query).parameter("n") == expected


def test_64_parameters_and_no_more() -> None:
    assert len(request_of([], query="&".join(["tag=x"] * 64)).query["tag"]) == 64
    with pytest.raises(BadRequest):
        _ = request_of([], query="&".join(["tag=x"] * 65)).query
