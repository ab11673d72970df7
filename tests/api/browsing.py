"""A browser: it keeps cookies and sends the newest token against forgery."""

from __future__ import annotations

import json
import urllib.parse
from typing import Any

from django.test import Client

from tests.api.conftest import Reply

FORM = "application/x-www-form-urlencoded"
TOKEN = "X-Harbor-CSRF-Token"


class Browser:
    """The first answer brings the session's cookie, only the second the token (contract 1.5)."""

    def __init__(self, address: str = "192.0.2.77") -> None:
        self.client = Client(raise_request_exception=False, REMOTE_ADDR=address)
        self.token = ""
        self.get("/api/v2.0/systeminfo")
        self.get("/api/v2.0/systeminfo")

    def request(
        self, method: str, path: str, data: bytes = b"", kind: str = "application/json", *, token: str | None = None,
        authorization: str = "", **headers: str,
    ) -> Reply:  # fmt: skip
        """`token` is sent in place of the newest one; empty for none."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if used := self.token if token is None else token:
            sent[TOKEN] = used
        if authorization:
            sent["Authorization"] = authorization
        uri, _, query = path.partition("?")
        response = self.client.generic(
            method, uri, data, kind, headers=sent, QUERY_STRING=query, REQUEST_URI=uri
        )
        self.token = response.headers.get(TOKEN, self.token)
        self.set_cookies = sorted(response.cookies)
        return Reply(response.status_code, response.headers, response.content)

    def get(self, path: str, **options: Any) -> Reply:
        return self.request("GET", path, **options)

    def send(self, method: str, path: str, body: Any = None, **options: Any) -> Reply:
        return self.request(method, path, json.dumps(body).encode(), **options)

    def form(self, path: str, **fields: str) -> Reply:
        return self.request("POST", path, urllib.parse.urlencode(fields).encode(), FORM)

    def sign_in(self, name: str, password: str) -> Reply:
        return self.form("/c/login", principal=name, password=password)

    def who(self) -> str | None:
        reply = self.get("/api/v2.0/users/current")
        return str(reply.body["username"]) if reply.status == 200 else None

    @property
    def sid(self) -> str:
        return str(self.client.cookies["sid"].value)
