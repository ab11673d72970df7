"""Tag ping: the web process answers."""

from __future__ import annotations

from api.dispatch import Answer, Call


def get_ping(call: Call) -> Answer:
    return Answer("Pong", content_type="text/plain")
