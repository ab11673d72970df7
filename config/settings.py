"""The settings, read from the environment and from nothing else; see docs/operations.md for every variable."""

from __future__ import annotations

import json
import pathlib
import urllib.parse
from typing import Any

from config.environment import (
    ConfigurationError,
    env_bool,
    env_int,
    env_list,
    env_seconds,
    env_secret,
    env_str,
)

VERSION = "0.1.0"  # as in pyproject.toml, which is not there in an image
HOME = str(pathlib.Path(env_str("BREAKWATER_HOME", "./.breakwater")).absolute())
RUN_DIR = env_str("BREAKWATER_RUN_DIR", f"{HOME}/run")
ADDR = env_str("BREAKWATER_ADDR", "127.0.0.1:8080")
EXTERNAL_URLS = [u.rstrip("/") for u in env_list("BREAKWATER_EXTERNAL_URL", f"http://{ADDR}")]
TRUSTED_PROXIES = env_list("BREAKWATER_TRUSTED_PROXIES")
OUTBOUND_NETWORKS = env_list("BREAKWATER_OUTBOUND_NETWORKS")
STORAGE = env_str("BREAKWATER_STORAGE") or f"file://{HOME}/storage"
if env_int("BREAKWATER_UNDO_DAYS", 0):
    raise ConfigurationError("BREAKWATER_UNDO_DAYS must be 0: deleted content cannot be kept for undo yet.")
GC_GRACE = env_seconds("BREAKWATER_GC_GRACE", "2h")
DELETE_DELAY = env_seconds("BREAKWATER_DELETE_DELAY", "0")
AUDIT_MONTHS = env_int("BREAKWATER_AUDIT_MONTHS", 36)
MAX_TRANSFERS_PER_ADDRESS = env_int("BREAKWATER_MAX_TRANSFERS_PER_ADDRESS", 256, minimum=1)
WORKERS = env_int("BREAKWATER_WORKERS", 0)

SECRET_KEY = env_secret("BREAKWATER_SECRET_KEY")
if not SECRET_KEY:
    raise ConfigurationError(
        "BREAKWATER_SECRET_KEY (or BREAKWATER_SECRET_KEY_FILE) is not set; it encrypts stored credentials and token "
        "keys. Make one with: python3 -c 'import secrets; print(secrets.token_urlsafe(48))'"
    )


def _overwrite(text: str) -> dict[str, Any]:
    """Settings that the environment fixes (contract 5): a JSON object of names and values."""
    try:
        values = json.loads(text or "{}")
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise ConfigurationError('CONFIG_OVERWRITE_JSON must be a JSON object, such as {"read_only": true}.')
    return values


CONFIG_OVERWRITE = _overwrite(env_secret("CONFIG_OVERWRITE_JSON"))


# A machine that went away without a word is noticed within a minute; libpq would wait for hours.
_GONE = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3, "tcp_user_timeout": 60_000}


def _database(url: str) -> dict[str, Any]:
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("postgres", "postgresql") or not parts.path.strip("/"):
        raise ConfigurationError("DATABASE_URL must look like postgresql://user:password@host:5432/name.")
    query = dict(urllib.parse.parse_qsl(parts.query))
    pgbouncer = env_bool("BREAKWATER_PGBOUNCER")
    if not pgbouncer:  # it takes no such option from a client, and hands connections on with the server's own setting
        # Acknowledged means durable (design 2.5), whatever a role or database has as its default. What is prepared is
        # to be planned once: left alone PostgreSQL plans anew, each time, whatever has lists or a dozen parts.
        query["options"] = (
            f"-c synchronous_commit=on -c plan_cache_mode=force_generic_plan {query.get('options', '')}".strip()
        )
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": urllib.parse.unquote(parts.path[1:]),
        "USER": urllib.parse.unquote(parts.username or ""),
        "PASSWORD": urllib.parse.unquote(parts.password or ""),
        "HOST": query.pop("host", "") or parts.hostname or "",
        "PORT": str(parts.port or ""),
        "CONN_MAX_AGE": None,
        "DISABLE_SERVER_SIDE_CURSORS": pgbouncer,
        "OPTIONS": {"connect_timeout": 5, "application_name": "breakwater", **_GONE, **query},
    }


DATABASE_URL = env_secret("DATABASE_URL")
REDIS_URL = env_secret("REDIS_URL")
PGBOUNCER = env_bool("BREAKWATER_PGBOUNCER")
DATABASES = {"default": _database(DATABASE_URL)}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django.contrib.postgres",
    "rest_framework",
    "registry_core",
    "projects",
    "rbac",
    "scanning",
    "config",
]
AUTH_USER_MODEL = "rbac.User"
PASSWORD_HASHERS = ["rbac.authn.local.PasswordHasher"]
MIDDLEWARE: list[str] = [
    "api.middleware.RequestId",
    "api.middleware.Errors",
    "api.browser.Csrf",
    "api.middleware.ReadOnly",
    "api.browser.Session",
]
ROOT_URLCONF = "config.urls"
APPEND_SLASH = False
ALLOWED_HOSTS = ["*"]  # the Host header decides nothing: URLs are made from EXTERNAL_URLS (design 3, Tokens)
USE_TZ = True
TIME_ZONE = "UTC"
DATA_UPLOAD_MAX_MEMORY_SIZE = 8 << 20
LANGUAGE_CODE = "en"
USE_I18N = False
TEMPLATES: list[dict[str, Any]] = []
LOGGING_CONFIG = "config.logs.configure"
LOGGING: dict[str, Any] = {"version": 1}  # empty settings are not passed on to the function above

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["api.authentication.Credentials"],
    "DEFAULT_PERMISSION_CLASSES": [],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "EXCEPTION_HANDLER": "api.errors.handle",
    "UNAUTHENTICATED_USER": None,
}

CELERY_BROKER_URL = REDIS_URL
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_WORKER_CONCURRENCY = env_int("BREAKWATER_JOB_THREADS", 4, minimum=1)
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
# For ever: a worker that gives Redis up would be one that never comes back.
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
# A Redis that hangs fails like one that is gone; nothing rings while the scheduler waits for it. Longer than the
# seconds that a worker lets Redis wait for the next message.
CELERY_BROKER_TRANSPORT_OPTIONS = {"socket_connect_timeout": 5, "socket_timeout": 15, "socket_keepalive": True}
CELERY_BEAT_SCHEDULE = {
    "sweep": {"task": "registry_core.tasks.sweep", "schedule": 5.0, "options": {"expires": 5}},
    "look-ahead": {"task": "registry_core.tasks.look_ahead", "schedule": 21600.0, "options": {"expires": 3600}},
    "end-sessions": {"task": "rbac.tasks.end_sessions", "schedule": 3600.0, "options": {"expires": 3600}},
    "count-audit": {"task": "registry_core.tasks.count_audit", "schedule": 300.0, "options": {"expires": 300}},
    "forward-audit": {"task": "registry_core.tasks.forward_audit", "schedule": 5.0, "options": {"expires": 5}},
    "refresh-groups": {"task": "rbac.tasks.refresh_groups", "schedule": 300.0, "options": {"expires": 300}},
    "prove-quotas": {"task": "projects.tasks.prove_quotas", "schedule": 300.0, "options": {"expires": 300}},
}
