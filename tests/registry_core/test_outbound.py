"""Requests that leave because of a URL that somebody configured: only to where they may go (design 10)."""

from __future__ import annotations

import http.server
import ipaddress
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from registry_core import outbound
from registry_core.outbound import AddressRefused, Bounds, OutboundError, fetch

OUTSIDE, INSIDE = "127.0.0.5", "127.0.0.1"  # the first is listed, the second is not


class Site:
    """A server on one address; `asked` are the requests that reached it."""

    def __init__(self, address: str) -> None:
        self.asked: list[tuple[str, str | None]] = []
        self.location = ""
        self.body = b"hello"
        self.pause = 0.0
        site = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.asked.append((self.path, self.headers["Authorization"]))
                goes_on = self.path != "/end" and site.location
                self.send_response(302 if goes_on else 200)
                if goes_on:
                    self.send_header("Location", site.location)
                self.send_header("Content-Length", str(len(site.body)))
                self.end_headers()
                for at in range(0, len(site.body), max(1, len(site.body) // 8)):
                    time.sleep(site.pause)
                    self.wfile.write(site.body[at : at + max(1, len(site.body) // 8)])

            def do_POST(self) -> None:
                self.do_GET()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer((address, 0), Handler)
        self.port = self.server.server_port
        self.url = f"http://{address}:{self.port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture(autouse=True)
def listed(settings: Any) -> Iterator[None]:
    settings.OUTBOUND_NETWORKS = [f"{OUTSIDE}/32"]
    outbound._allowed.cache_clear()
    yield
    outbound._allowed.cache_clear()


@pytest.fixture
def outside() -> Iterator[Site]:
    site = Site(OUTSIDE)
    yield site
    site.close()


@pytest.fixture
def inside() -> Iterator[Site]:
    site = Site(INSIDE)
    yield site
    site.close()


def names(monkeypatch: pytest.MonkeyPatch, name: str, *answers: list[str]) -> list[str]:
    """`name` leads to these addresses, to the last of them for ever; what was asked for."""
    real, asked, left = socket.getaddrinfo, [], list(answers)

    def look(host: Any, port: Any, *arguments: Any, **options: Any) -> Any:
        if host != name:
            return real(host, port, *arguments, **options)
        asked.append(name)
        found = left.pop(0) if len(left) > 1 else left[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]

    monkeypatch.setattr(socket, "getaddrinfo", look)
    return asked


def test_what_is_listed_is_asked(outside: Site) -> None:
    answer = fetch("GET", outside.url + "/x", headers={"Authorization": "Basic c2VjcmV0"})
    assert (answer.status, answer.body, outside.asked) == (200, b"hello", [("/x", "Basic c2VjcmV0")])


def test_what_is_not_listed_is_not(inside: Site) -> None:
    with pytest.raises(AddressRefused, match="BREAKWATER_OUTBOUND_NETWORKS"):
        fetch("GET", inside.url)
    assert inside.asked == []


@pytest.mark.parametrize("address", [
    "127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
    "255.255.255.255", "::1", "::", "fe80::1", "fc00::1", "ff02::1", "fd00:ec2::254", "::ffff:127.0.0.1",
    "::ffff:169.254.169.254", "64:ff9b::7f00:1", "2002:7f00:1::", "198.18.0.1", "192.0.2.1",
])  # fmt: skip
def test_addresses_that_are_not_public(address: str) -> None:
    assert not outbound._may_be_asked(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "64:ff9b::808:808", OUTSIDE])
def test_addresses_that_are(address: str) -> None:
    assert outbound._may_be_asked(ipaddress.ip_address(address))


@pytest.mark.parametrize("written", ["127.1", "2130706433", "0x7f000001", "017700000001", "localhost"])
def test_other_ways_to_write_loopback(inside: Site, written: str) -> None:
    with pytest.raises(OutboundError):
        fetch("GET", f"http://{written}:{inside.port}/")
    assert inside.asked == []


def test_a_name_that_changes_its_mind_is_connected_to_where_it_was_looked_at(
    monkeypatch: pytest.MonkeyPatch, outside: Site, inside: Site
) -> None:
    asked = names(monkeypatch, "rebinding.test", [OUTSIDE], [INSIDE])
    answer = fetch("GET", f"http://rebinding.test:{outside.port}/")
    assert (answer.status, len(outside.asked), inside.asked, len(asked)) == (200, 1, [], 1)
    with pytest.raises(AddressRefused):
        fetch("GET", f"http://rebinding.test:{inside.port}/")
    assert inside.asked == []


def test_one_bad_address_among_good_ones_is_no_choice(
    monkeypatch: pytest.MonkeyPatch, outside: Site, inside: Site
) -> None:
    names(monkeypatch, "both.test", [OUTSIDE, INSIDE])
    with pytest.raises(AddressRefused):
        fetch("GET", f"http://both.test:{outside.port}/")
    assert outside.asked == inside.asked == []


def test_a_redirect_is_looked_at_anew(outside: Site, inside: Site) -> None:
    outside.location = inside.url + "/secret"
    with pytest.raises(AddressRefused):
        fetch("GET", outside.url)
    assert (len(outside.asked), inside.asked) == (1, [])


def test_a_redirect_to_the_same_name_is_looked_at_anew(
    monkeypatch: pytest.MonkeyPatch, outside: Site, inside: Site
) -> None:
    names(monkeypatch, "rebinding.test", [OUTSIDE], [INSIDE])
    outside.location = f"http://rebinding.test:{inside.port}/secret"
    with pytest.raises(AddressRefused):
        fetch("GET", f"http://rebinding.test:{outside.port}/")
    assert inside.asked == []


def test_credentials_do_not_follow_to_another_host(settings: Any, outside: Site) -> None:
    settings.OUTBOUND_NETWORKS = ["127.0.0.5/32", "127.0.0.6/32"]
    outbound._allowed.cache_clear()
    other = Site("127.0.0.6")
    try:
        outside.location = other.url + "/end"
        assert fetch("GET", outside.url, headers={"Authorization": "Basic c2VjcmV0"}).status == 200
        assert other.asked == [("/end", None)]
    finally:
        other.close()


def test_a_post_follows_nowhere(outside: Site) -> None:
    outside.location = outside.url + "/end"
    assert fetch("POST", outside.url, form={"a": "b"}).status == 302
    assert len(outside.asked) == 1


def test_redirects_without_end(outside: Site) -> None:
    outside.location = outside.url + "/again"
    with pytest.raises(OutboundError, match="too many redirects"):
        fetch("GET", outside.url)
    assert len(outside.asked) == Bounds().redirects + 1


def test_answers_have_a_size(outside: Site) -> None:
    outside.body = b"x" * 5000
    with pytest.raises(OutboundError, match="longer than 4000 bytes"):
        fetch("GET", outside.url, bounds=Bounds(size=4000))
    assert len(fetch("GET", outside.url, bounds=Bounds(size=5000)).body) == 5000


def test_answers_that_trickle_are_given_up(outside: Site) -> None:
    outside.body, outside.pause = b"x" * 800, 0.3
    began = time.monotonic()
    with pytest.raises(OutboundError, match="in time"):
        fetch("GET", outside.url, bounds=Bounds(seconds=0.7))
    assert time.monotonic() - began < 2


@pytest.mark.parametrize("url", [
    "", "::::", "ftp://127.0.0.5/", "file:///etc/passwd", "http://", "http://\x00/", "http://[::1", "//127.0.0.5/",
    "gopher://127.0.0.5:6379/_FLUSHALL",
])  # fmt: skip
def test_what_is_no_url(url: str) -> None:
    with pytest.raises(OutboundError):
        fetch("GET", url)


def test_the_environment_names_no_proxy(monkeypatch: pytest.MonkeyPatch, outside: Site, inside: Site) -> None:
    monkeypatch.setenv("HTTP_PROXY", inside.url)
    monkeypatch.setenv("http_proxy", inside.url)
    assert fetch("GET", outside.url).body == b"hello"
    assert inside.asked == []
