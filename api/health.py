"""Tag health: does every component answer, said within a second or two whatever hangs (contract 6.10)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.models.functions import Now

from api.dispatch import Answer, Call
from registry_core.models import Heartbeat
from registry_core.presence import LIVE
from registry_core.store import driver

PATIENCE = 1.0
# A worker that starts with the web process has not beaten yet: no reason to call the registry sick.
STARTING = 60.0
_started = time.monotonic()


def get_health(call: Call) -> Answer:
    """Always 200; what is wrong is in the body. Components that Breakwater does not have are absent."""
    deadline = time.monotonic() + PATIENCE
    running = {name: _ask(name) for name in sorted(CHECKS)}
    components = [{"name": "core", "status": "healthy"}]
    components += [_component(name, answer, deadline) for name, answer in running.items()]
    sick = any(c["status"] != "healthy" for c in components)
    return Answer({"status": "unhealthy" if sick else "healthy", "components": components})


def _component(name: str, answer: Future[None], deadline: float) -> dict[str, str]:
    try:
        answer.result(max(0.0, deadline - time.monotonic()))
    except TimeoutError:
        return {"name": name, "status": "unhealthy", "error": f"no answer within {PATIENCE:g} s"}
    except Exception as e:  # noqa: BLE001  whatever a component raises is what there is to say about it
        return {"name": name, "status": "unhealthy", "error": f"{type(e).__name__}: {e}".strip()[:200]}
    return {"name": name, "status": "healthy"}


# One thread a component: one that hangs is not asked again until it answered, and holds up no other. Daemons, for a
# process that ends does not wait for a component that hangs.
_asked: dict[str, Future[None]] = {}
_asking = threading.Lock()


def _ask(name: str) -> Future[None]:
    with _asking:
        if (asked := _asked.get(name)) is not None and not asked.done():
            return asked
        answer = _asked[name] = Future()
    threading.Thread(target=_run, args=(CHECKS[name], answer), name=f"health-{name}", daemon=True).start()
    return answer


def _run(check: Callable[[], None], answer: Future[None]) -> None:
    try:
        check()
        answer.set_result(None)
    except Exception as e:  # noqa: BLE001  see _component
        answer.set_exception(e)


def _check_database() -> None:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    finally:
        connection.close()  # a connection of this thread's own: the budget of a process has none for it


def _check_worker() -> None:
    try:
        seen = (
            Heartbeat.objects.filter(role="worker").order_by("-seen_at").values("seen_at", now=Now()).first()
        )
    finally:
        connection.close()
    age = (seen["now"] - seen["seen_at"]).total_seconds() if seen else None
    if (age is None or age > LIVE) and time.monotonic() - _started > STARTING:
        raise RuntimeError("no worker" if age is None else f"the last sign of a worker is {age:.0f} s old")


def _check_redis() -> None:
    client = _redis()
    client.ping()


_client: list[Any] = []


def _redis() -> Any:
    if not _client:
        from redis import Redis

        _client.append(
            Redis.from_url(settings.REDIS_URL, socket_timeout=PATIENCE, socket_connect_timeout=PATIENCE)
        )
    return _client[0]


def _check_storage() -> None:
    driver().check()


CHECKS: dict[str, Callable[[], None]] = {
    "database": _check_database,
    "jobservice": _check_worker,
    "redis": _check_redis,
    "registry": _check_storage,
}
