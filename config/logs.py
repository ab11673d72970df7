"""What every Python process of ours logs: one JSON object a line on stdout, for whoever collects it."""

import datetime
import json
import logging
import sys
from typing import Any

# Libraries that tell their life story at INFO.
_QUIET = ("amqp", "asyncio", "boto3", "botocore", "celery", "httpcore", "httpx", "kombu", "s3transfer")


class JsonLines(logging.Formatter):
    """Fields beyond the message come from `extra={"fields": {...}}`."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        line: dict[str, Any] = {
            "at": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line.update(getattr(record, "fields", {}))
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def configure(settings: dict[str, Any] | None = None) -> None:
    """Called by Django in place of logging.config.dictConfig (settings.LOGGING_CONFIG)."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    # Django says for every 4xx that there was one; what deserves a line has it from api.errors.
    logging.getLogger("django.request").setLevel(logging.CRITICAL)
    logging.captureWarnings(capture=True)
