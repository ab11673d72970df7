"""The outbox: an event is one row, written in the transaction of its change (design 9)."""

from __future__ import annotations

import json
from typing import Any

from django.db import connection

from registry_core.statements import Statement, Step, run_all

ARTIFACT_PUSHED = "artifact.pushed"
ARTIFACT_DELETED = "artifact.deleted"
TAG_CREATED = "tag.created"
TAG_DELETED = "tag.deleted"
REPOSITORY_DELETED = "repository.deleted"

INSERT = """
INSERT INTO registry_core_eventoutbox (type, payload, operator, occurred_at)
SELECT %(event_type)s, %(event_payload)s::jsonb, %(event_operator)s, now()
"""
_RECORD = Statement("record_event", INSERT)


def step(event_type: str, operator: str, **payload: Any) -> Step:
    """`record` for one that travels with others."""
    return _RECORD, {"event_type": event_type, "event_payload": json.dumps(payload), "event_operator": operator}


def record(event_type: str, operator: str, **payload: Any) -> None:
    """`payload` is JSON: names and digests as text, never ids alone (the rows may be gone when it is read)."""
    with connection.cursor() as cursor:
        run_all(cursor, [step(event_type, operator, **payload)])
