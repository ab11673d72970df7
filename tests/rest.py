"""A client of the REST API with Basic: it keeps no cookies, since with a session's it would need a token besides."""

from __future__ import annotations

import http.cookiejar
from typing import Any

import httpx


def rest_client(url: str, **options: Any) -> httpx.Client:
    client = httpx.Client(base_url=url, timeout=30, **options)
    client.cookies.jar.set_policy(http.cookiejar.DefaultCookiePolicy(allowed_domains=[]))
    return client
