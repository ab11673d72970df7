"""Trying an OIDC provider, and the pages of a way to sign in that is off (contract 7; golden: oidc_ping)."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from registry_core import outbound
from registry_core.models import Setting
from tests.api.conftest import Api
from tests.builders import Person

pytestmark = pytest.mark.django_db
PING = "/system/oidc/ping"


class Provider:
    def __init__(self) -> None:
        self.described: Any = {}
        self.status = 200
        self.asked: list[str] = []
        provider = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider.asked.append(self.path)
                described = provider.described
                body = described if isinstance(described, bytes) else json.dumps(described).encode()
                self.send_response(provider.status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.described = {
            "issuer": self.url, "authorization_endpoint": self.url + "/auth", "token_endpoint": self.url + "/token",
            "jwks_uri": self.url + "/keys",
        }  # fmt: skip
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def provider(settings: Any) -> Iterator[Provider]:
    settings.OUTBOUND_NETWORKS = ["127.0.0.0/8"]
    outbound._allowed.cache_clear()
    provider = Provider()
    yield provider
    provider.server.shutdown()
    provider.server.server_close()
    outbound._allowed.cache_clear()


def test_a_provider_that_is_there(admin: Api, provider: Provider) -> None:
    reply = admin.post(PING, {"url": provider.url, "verify_cert": True})
    assert (reply.status, provider.asked) == (200, ["/.well-known/openid-configuration"])


def refused(reply: Any, cause: str) -> None:
    assert (reply.status, reply.code, reply.message) == (400, "BAD_REQUEST", "failed to verify connection")
    assert cause in reply.body["errors"][0]["detail"]["cause"]


@pytest.mark.parametrize(("change", "cause"), [
    ({"issuer": "http://example.org"}, "sign for sign"), ({"token_endpoint": ""}, "lacks an endpoint"),
    ({"jwks_uri": 7}, "lacks an endpoint"), ({"authorization_endpoint": None}, "lacks an endpoint"),
])  # fmt: skip
def test_what_a_provider_must_say(admin: Api, provider: Provider, change: dict[str, Any], cause: str) -> None:
    provider.described |= change
    refused(admin.post(PING, {"url": provider.url}), cause)


@pytest.mark.parametrize("body", [b"", b"[1]", b"<html>secret</html>", b"[" * 100_000])
def test_what_is_no_provider(admin: Api, provider: Provider, body: bytes) -> None:
    provider.described = body
    reply = admin.post(PING, {"url": provider.url})
    refused(reply, "no JSON object")
    assert "secret" not in json.dumps(reply.body)


def test_a_slash_too_many_another_status_and_no_url(admin: Api, provider: Provider) -> None:
    refused(admin.post(PING, {"url": provider.url + "/"}), "sign for sign")
    provider.status = 404
    refused(admin.post(PING, {"url": provider.url}), "answers 404")
    refused(admin.post(PING, {}), "no URL")
    refused(admin.post(PING, {"url": "::::"}), "no URL")


def test_what_only_this_machine_reaches_is_not_asked(admin: Api, provider: Provider, settings: Any) -> None:
    settings.OUTBOUND_NETWORKS = []
    outbound._allowed.cache_clear()
    refused(admin.post(PING, {"url": provider.url}), "BREAKWATER_OUTBOUND_NETWORKS")
    assert provider.asked == []


def test_who_may_ask(provider: Provider, anonymous: Api, charlie: Person, as_: Callable[[Person], Api]) -> None:
    refusal = as_(charlie).post(PING, {"url": provider.url})
    assert (refusal.status, refusal.code, refusal.message) == (403, "FORBIDDEN", "charlie")
    assert anonymous.post(PING, {"url": provider.url}).status == 401
    assert provider.asked == []


@pytest.mark.parametrize("path", ["/c/oidc/login?redirect_url=/x", "/c/oidc/callback?code=x&state=y", "/c/oidc/logout"])
def test_pages_while_another_mode_is_on(client: Any, path: str) -> None:
    response = client.get(path)
    assert response.status_code == httpx.codes.PRECONDITION_FAILED
    error = {"code": "PRECONDITION_FAILED", "message": "auth mode: db_auth is not OIDC based"}
    assert response.json() == {"errors": [error]}


def test_pages_that_are_not_built_yet_are_not_there(client: Any) -> None:
    Setting.objects.update_or_create(name="auth_mode", defaults={"value": "oidc_auth"})
    from registry_core import configuration

    configuration._kept = None
    assert client.get("/c/oidc/login").status_code == httpx.codes.NOT_FOUND
    configuration._kept = None
