"""The one client for requests that leave this machine because of what somebody configured (design 10).

Whoever names a URL must not reach with it what only this machine reaches: private, loopback, link-local and metadata
addresses are refused unless BREAKWATER_OUTBOUND_NETWORKS lists them. The address that was looked at is the one that is
connected to, for each connection anew, so also after a redirect and for a name that changes its mind.
"""

from __future__ import annotations

import functools
import ipaddress
import socket
import ssl
import time
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import httpcore
import httpx
from django.conf import settings

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class OutboundError(Exception):
    """A sentence for whoever configured the URL; nothing of what was answered is in it."""


class AddressRefused(OutboundError):
    """The name leads to an address that may not be asked."""


class Answer(NamedTuple):
    status: int
    headers: httpx.Headers
    body: bytes
    url: str


class Bounds(NamedTuple):
    """`seconds` for the whole answer, redirects included; `size` of its body in bytes."""

    seconds: float = 10.0
    size: int = 1 << 20
    redirects: int = 3


class Trust(NamedTuple):
    """Whether a certificate must be good, and a CA (PEM) besides those of this machine."""

    verify: bool = True
    ca_pem: str = ""


USUAL, SYSTEM = Bounds(), Trust()


def fetch(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    form: Mapping[str, str] | None = None,
    json: Any = None,
    trust: Trust = SYSTEM,
    bounds: Bounds = USUAL,
) -> Answer:
    """The answer, of any status. OutboundError when there is none within the bounds.

    Credentials do not follow a redirect to another host (httpx drops `Authorization`); a form or document is not sent
    there either: only GET and HEAD follow.
    """
    ends = time.monotonic() + bounds.seconds
    follow = bounds.redirects if method in ("GET", "HEAD") else 0
    with _client(trust, ends, follow) as client:
        try:
            with client.stream(method, url, headers=headers, data=form, json=json) as response:
                body = _read(response, ends, bounds.size)
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError, ValueError) as e:
            raise _explained(e) from e
        return Answer(response.status_code, response.headers, body, str(response.url))


def _client(trust: Trust, ends: float, redirects: int) -> httpx.Client:
    transport = httpx.HTTPTransport(verify=_tls(trust), trust_env=False)
    transport._pool._network_backend = _Checked(ends)  # noqa: SLF001  httpx offers no other way in
    return httpx.Client(
        transport=transport, trust_env=False, timeout=max(ends - time.monotonic(), 0.001),
        follow_redirects=redirects > 0, max_redirects=max(redirects, 1),
    )  # fmt: skip


def _tls(trust: Trust) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if trust.ca_pem:
        try:
            context.load_verify_locations(cadata=trust.ca_pem)
        except ssl.SSLError as e:
            raise OutboundError("the CA certificate does not parse") from e
    if not trust.verify:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _read(response: httpx.Response, ends: float, most: int) -> bytes:
    parts, size = [], 0
    for part in response.iter_bytes():
        size += len(part)
        if size > most:
            raise OutboundError(f"the answer is longer than {most} bytes")
        if time.monotonic() > ends:
            raise OutboundError("the answer did not come in time")
        parts.append(part)
    return b"".join(parts)


def _explained(e: Exception) -> OutboundError:
    cause: BaseException | None = e
    while cause is not None:
        if isinstance(cause, OutboundError):
            return cause
        cause = cause.__cause__ or cause.__context__
    if isinstance(e, httpx.TimeoutException):
        return OutboundError("no answer in time")
    if isinstance(e, httpx.TooManyRedirects):
        return OutboundError("too many redirects")
    if isinstance(e, httpx.ConnectError):
        return OutboundError("no connection: nobody there, or a certificate that is not trusted")
    if isinstance(e, (httpx.UnsupportedProtocol, httpx.InvalidURL, UnicodeError, ValueError)):
        return OutboundError("no URL that could be asked; it begins with http:// or https://")
    return OutboundError(f"the answer broke off: {type(e).__name__}")


# -- which addresses


class _Checked(httpcore.SyncBackend):
    """Looks a name up, looks at what it is, and connects there."""

    def __init__(self, ends: float) -> None:
        self._ends = ends

    def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:  # fmt: skip
        failure: httpcore.ConnectError = httpcore.ConnectError("the name is not known")
        for address in resolve(host, port):
            left = self._ends - time.monotonic()
            if left <= 0:
                raise httpcore.ConnectTimeout("no time is left")
            try:
                return super().connect_tcp(str(address), port, left, local_address, socket_options)
            except httpcore.ConnectError as e:
                failure = e
        raise failure

    def connect_unix_socket(self, *_: Any, **__: Any) -> httpcore.NetworkStream:
        raise AddressRefused("sockets of this machine are not asked")


def resolve(host: str, port: int) -> list[_Address]:
    """The addresses of `host`, all of them such as may be asked. AddressRefused when one is not.

    One that may not be asked among others that may is an attempt: it is not picked around.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as e:
        raise httpcore.ConnectError(str(e)) from e
    addresses = list(dict.fromkeys(ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found))
    for address in addresses:
        if not _may_be_asked(address):
            raise AddressRefused(
                f"{host} leads to {address}, which is not asked: it is no public address. Whoever runs this registry "
                "may list its network in BREAKWATER_OUTBOUND_NETWORKS"
            )
    return addresses


def _may_be_asked(address: _Address) -> bool:
    if any(address in network for network in _allowed() if network.version == address.version):
        return True
    inner = _inner(address)
    return _may_be_asked(inner) if inner is not None else address.is_global and not address.is_multicast


def _inner(address: _Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that an IPv6 address stands for."""
    if not isinstance(address, ipaddress.IPv6Address):
        return None
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)


@functools.cache
def _allowed() -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    return [ipaddress.ip_network(text, strict=False) for text in settings.OUTBOUND_NETWORKS]
