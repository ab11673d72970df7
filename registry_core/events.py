"""The outbox: an event is one row, written in the transaction of its change (design 9)."""

from __future__ import annotations

import json
from typing import Any

from django.db import connection

from registry_core.statements import Statement

ARTIFACT_PUSHED = "artifact.pushed"
ARTIFACT_DELETED = "artifact.deleted"
TAG_CREATED = "tag.created"
TAG_DELETED = "tag.deleted"
REPOSITORY_DELETED = "repository.deleted"

_RECORD = Statement(
    "record_event",
    """
    INSERT INTO registry_core_eventoutbox (type, payload, operator, occurred_at)
    VALUES (%(type)s, %(payload)s, %(operator)s, now())
    """,
)


def record(event_type: str, operator: str, **payload: Any) -> None:
    """`payload` is JSON: names and digests as text, never ids alone (the rows may be gone when it is read)."""
    with connection.cursor() as cursor:
        _RECORD.run(cursor, {"type": event_type, "payload": json.dumps(payload), "operator": operator})
