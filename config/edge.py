"""What is true of a request before anybody handles it: whose it is, and under which URL the client knows us.

X-Forwarded-* is believed from BREAKWATER_TRUSTED_PROXIES only. The URL that goes into answers is one of
BREAKWATER_EXTERNAL_URL: the one the request names, else the first (design 3, Tokens).
"""

from __future__ import annotations

import functools
import ipaddress
import urllib.parse
from collections.abc import MutableMapping
from typing import Any

from django.conf import settings

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@functools.cache
def _trusted() -> list[Network]:
    return [ipaddress.ip_network(text, strict=False) for text in settings.TRUSTED_PROXIES]


@functools.lru_cache(maxsize=4096)
def is_trusted(address: str) -> bool:
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(ip in network for network in _trusted())


@functools.lru_cache(maxsize=1024)
def external_url(scheme: str, host: str) -> str:
    urls = [(u, urllib.parse.urlsplit(u)) for u in settings.EXTERNAL_URLS]
    same_host = [u for u in urls if u[1].netloc.lower() == host.lower()]
    same = [u for u in same_host if u[1].scheme == scheme] or same_host or urls
    return str(same[0][0])


@functools.lru_cache(maxsize=4096)
def _peer(text: str) -> tuple[str, bool]:
    """Who is at the other end of the connection, and whether it is a proxy whose words count."""
    address = _address(text)
    return address, is_trusted(address)


def prepare(scope: MutableMapping[str, Any]) -> None:
    """Set client, scheme, `breakwater.headers` (by name; of several alike the last), `breakwater.base_url` and
    `breakwater.accel` (the proxy's own location for files, or '')."""
    client = scope.get("client") or ("", 0)
    headers: dict[bytes, bytes] = dict(scope["headers"])
    address, proxied = _peer(client[0])
    scheme, host, accel = scope.get("scheme", "http"), headers.get(b"host", b""), b""
    if proxied:
        if chain := headers.get(b"x-forwarded-for"):
            address = _client_of(chain.decode("latin-1"), address)
        if given := headers.get(b"x-forwarded-proto"):
            scheme = given.decode("latin-1")
        host = headers.get(b"x-forwarded-host", host)
        accel = headers.get(b"x-accel-location", b"")
    scope["client"] = (address, client[1])
    scope["scheme"] = scheme
    scope["breakwater.headers"] = headers
    scope["breakwater.base_url"] = external_url(scheme, host.decode("latin-1"))
    scope["breakwater.accel"] = accel.decode("latin-1")


def _client_of(chain: str, nearest: str) -> str:
    """The last address in the chain that is no proxy of ours: what stands before it anybody may have written."""
    address = nearest
    for part in reversed(chain.split(",")):
        found = _address(part)
        if not found:
            break
        address = found
        if not is_trusted(address):
            break
    return address


@functools.lru_cache(maxsize=4096)
def _address(text: str) -> str:
    """As it is compared and kept, or '' for what is none. Some proxies write the port behind it."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        ip = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return ""
    return str(getattr(ip, "ipv4_mapped", None) or ip)
