"""Whose request it is and under which URL the client knows us: proxies are believed only where they are trusted."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest_django.fixtures import Settings

from config import edge

PROXY, SECOND, CLIENT = "10.0.0.1", "10.0.0.2", "203.0.113.7"


@pytest.fixture(autouse=True)
def known(settings: Settings) -> Iterator[None]:
    settings.TRUSTED_PROXIES = ["10.0.0.0/8", "fd00::/8"]
    settings.EXTERNAL_URLS = [
        "https://registry.example",
        "http://registry.example",
        "https://other.example:8443",
    ]
    forget()
    yield
    forget()


def forget() -> None:
    for cache in (edge._trusted, edge.is_trusted, edge._peer, edge.external_url):
        cache.cache_clear()


def prepared(client: str, scheme: str = "http", **headers: str) -> dict[str, Any]:
    named = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope: dict[str, Any] = {"client": (client, 1234), "scheme": scheme, "headers": named}
    edge.prepare(scope)
    return scope


@pytest.mark.parametrize(
    ("chain", "address"),
    [
        (CLIENT, CLIENT),
        (f"{CLIENT}, {SECOND}", CLIENT),
        (f"6.6.6.6, {CLIENT}", CLIENT),
        (f"6.6.6.6, {CLIENT}, {SECOND}", CLIENT),
        (f"{SECOND}, {PROXY}", SECOND),
        ("", PROXY),
        (" , ,", PROXY),
        (f"{CLIENT}:51234", CLIENT),
        ("[2001:db8::7]:51234", "2001:db8::7"),
        ("2001:db8:0:0::7", "2001:db8::7"),
        (f"::ffff:{CLIENT}", CLIENT),
        ("fe80::1%eth0", "fe80::1"),
        ("unknown", PROXY),
        (f"'; DROP TABLE x, {SECOND}", SECOND),
        (f"{CLIENT}, _hidden", PROXY),
    ],
)
def test_the_client_is_the_last_address_that_is_no_proxy_of_ours(chain: str, address: str) -> None:
    assert prepared(PROXY, x_forwarded_for=chain)["client"] == (address, 1234)


def test_nobody_else_is_believed() -> None:
    scope = prepared(
        CLIENT, host="registry.example", x_forwarded_for="10.9.9.9", x_forwarded_proto="https",
        x_forwarded_host="other.example:8443", x_accel_location="/files",
    )  # fmt: skip
    assert scope["client"] == (CLIENT, 1234)
    assert scope["scheme"] == "http"
    assert scope["breakwater.base_url"] == "http://registry.example"
    assert scope["breakwater.accel"] == ""


def test_a_trusted_proxy_says_how_the_client_came() -> None:
    scope = prepared(
        PROXY, host="10.1.1.1:8080", x_forwarded_for=CLIENT, x_forwarded_proto="https",
        x_forwarded_host="other.example:8443", x_accel_location="/files",
    )  # fmt: skip
    assert scope["client"] == (CLIENT, 1234)
    assert scope["scheme"] == "https"
    assert scope["breakwater.base_url"] == "https://other.example:8443"
    assert scope["breakwater.accel"] == "/files"


def test_an_address_of_ipv4_that_came_by_ipv6_is_the_same() -> None:
    assert prepared(f"::ffff:{PROXY}", x_forwarded_for=CLIENT)["client"][0] == CLIENT
    assert prepared(f"::ffff:{CLIENT}")["client"][0] == CLIENT


@pytest.mark.parametrize(
    ("scheme", "host", "url"),
    [
        ("http", "registry.example", "http://registry.example"),
        ("https", "registry.example", "https://registry.example"),
        ("https", "Registry.Example", "https://registry.example"),
        ("http", "other.example:8443", "https://other.example:8443"),
        ("https", "other.example", "https://registry.example"),
        ("http", "evil.example", "https://registry.example"),
        ("http", "registry.example@evil.example", "https://registry.example"),
        ("http", "registry.example\r\nX: 1", "https://registry.example"),
        ("http", "", "https://registry.example"),
    ],
)
def test_answers_hold_one_of_our_own_urls(scheme: str, host: str, url: str) -> None:
    """The one that the request names, else the first (design 3, Tokens)."""
    assert prepared(CLIENT, scheme, host=host)["breakwater.base_url"] == url


def test_a_server_without_client_addresses_still_answers() -> None:
    scope: dict[str, Any] = {"client": None, "headers": []}
    edge.prepare(scope)
    assert scope["client"] == ("", 0)


@given(st.text(max_size=60))
def test_whatever_a_chain_holds_the_client_is_an_address(chain: str) -> None:
    """It goes into a column of type inet."""
    ipaddress.ip_address(edge._client_of(chain, PROXY))
