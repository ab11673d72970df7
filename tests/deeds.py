"""What a second process of the registry does when tests/steps.py tells it: the verbs of registry_core, called by name.

Run as `python -m tests.deeds` with the registry's environment. Each line that comes in is an order, each that goes out
its result; an order may ask to be stopped after one of its SQL statements, and goes on when a line comes.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import sys
from collections.abc import Callable
from typing import Any

# Log lines go to standard output as well: what is said to the test goes where they do not.
_results = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

import django  # noqa: E402

django.setup()

from django.core.exceptions import ObjectDoesNotExist  # noqa: E402
from django.db import connection, transaction  # noqa: E402

from projects import actions as projects  # noqa: E402
from projects.models import Project  # noqa: E402
from registry_core import (  # noqa: E402
    actions,
    configuration,
    copies,
    deletions,
    gc,
    hot_reads,
    keys,
    leases,
    manifests,
    scrub,
    tokens,
    uploads,
)
from registry_core.errors import BlobUnknown, RegistryError  # noqa: E402
from registry_core.hooks import Grant, Principal  # noqa: E402
from registry_core.models import Artifact, Namespace, Repository  # noqa: E402
from registry_core.oci import tags as oci_tags  # noqa: E402
from registry_core.references import RepositoryName  # noqa: E402
from registry_core.store import driver  # noqa: E402

PROJECT = "races"


def _split(path: str) -> tuple[str, str]:
    """`path`, or `project/path` for another project than the one of races."""
    project, _, rest = path.rpartition("/")
    return project or PROJECT, rest


def _grant(who: str, path: str = "") -> Grant:
    project = _split(path)[0]
    namespace = Namespace.objects.filter(name=project).first()
    if namespace is None:
        if project != PROJECT:
            raise Namespace.DoesNotExist(project)
        namespace = _create_project(PROJECT).namespace
    actions_ = frozenset({"pull", "push", "delete"})
    return Grant(Principal(who, "robot", f"r:{who}"), namespace.pk, actions_)


def _create_project(name: str) -> Project:
    return projects.create(name, {}, owner_id=1, owner_name="admin", by="tests", storage_limit=1 << 40)


def create_project(name: str) -> None:
    _create_project(name)


def delete_project(name: str) -> None:
    projects.delete(Project.objects.get(namespace__name=name), by="tests")


def _name(path: str) -> RepositoryName:
    return RepositoryName(*_split(path))


def _repository(path: str) -> Repository:
    project, rest = _split(path)
    return Repository.objects.get(namespace__name=project, path=rest)


def _artifact(path: str, digest: str) -> Artifact:
    return Artifact.objects.get(repository=_repository(path), digest=digest)


def push_blob(path: str, who: str, text: str, digest: str) -> None:
    grant, name = _grant(who, path), _name(path)
    session = uploads.start_upload(grant, name)
    session = uploads.claim_session(grant, name, session.id, session.id)
    writer = driver().open_writer(session.key)
    writer.write(text.encode())
    uploads.commit_upload(grant, name, session, digest, writer.finish(), session.id)


def put_manifest(path: str, who: str, payload: str, media_type: str, tags: list[str]) -> str:
    manifest = manifests.parse_manifest(payload.encode(), media_type)
    return actions.put_manifest(_grant(who, path), _name(path), manifest, tags).digest


def mount(path: str, who: str, digest: str, source: str) -> bool:
    _, rest = _split(source)
    where = (_grant(who, source).namespace_id, rest)
    return leases.mount_blob(_grant(who, path), _name(path), digest, where)


def mounted(path: str, who: str, digest: str, source: str) -> None:
    """Refused where the blob is not to be had; a promise otherwise."""
    if not mount(path, who, digest, source):
        raise BlobUnknown(detail=digest)


def delete_blob(path: str, who: str, digest: str) -> None:
    deletions.delete_blob(_grant(who, path), _name(path), digest)


def delete_artifact(path: str, digest: str) -> None:
    deletions.delete_artifact(_artifact(path, digest), "tests")


def delete_tag(path: str, tag: str) -> None:
    deletions.delete_tag(_repository(path).pk, tag, "tests")


def delete_repository(path: str) -> None:
    deletions.delete_repository(_repository(path).pk, "tests")


def add_tag(path: str, digest: str, tag: str) -> None:
    deletions.add_tag(_artifact(path, digest), tag, "tests")


def copy(path: str, digest: str, target: str, tag: str) -> None:
    copies.copy_artifact(_grant("alice", target), _name(target), _artifact(path, digest), tag)


def collect() -> dict[str, int]:
    gc.tidy()
    freed = gc.collect()
    return {"blobs": freed.blobs, "objects": freed.objects, "bytes": freed.bytes}


def end_leases(digest: str) -> None:
    """As if 24 hours had passed for this blob: the clock is in the rows."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "UPDATE registry_core_repositoryblob SET leased_until = now() - interval '1 second' WHERE id IN "
            "(SELECT l.id FROM registry_core_repositoryblob l JOIN registry_core_blob b ON b.id = l.blob_id "
            "WHERE b.digest = %s FOR UPDATE OF l SKIP LOCKED)",
            [digest],
        )
        cursor.execute(
            "UPDATE registry_core_collectorcandidate SET due_at = now() WHERE id IN "
            "(SELECT c.id FROM registry_core_collectorcandidate c JOIN registry_core_blob b ON b.id = c.blob_id "
            "WHERE b.digest = %s FOR UPDATE OF c SKIP LOCKED)",
            [digest],
        )


def collect_blobs() -> int:
    return gc.collect_blobs()


def scrubbed(percent: float) -> list[list[str]]:
    return [[f.kind, f.key, f.what] for f in scrub.scrub(percent=percent).findings]


def configure(setting: str, value: bool | int | str) -> None:
    configuration.set_values({setting: value})


def sign(claims: dict[str, Any]) -> str:
    """A token that the registry itself would take for its own, whatever it says."""
    key = keys.signing_key()
    return tokens.sign(claims, key.private, key.kid)


def trips(deed: str, *arguments: Any) -> list[str]:
    """What it sends to PostgreSQL, one by one; what travels together is one."""
    sent: list[str] = []

    def hear(execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: Any) -> Any:
        # _grant() asks for the one, and a process for the other once a second.
        if not any(table in sql for table in ('"registry_core_namespace"', '"registry_core_setting"')):
            sent.append(str(sql)[:100])
        return execute(sql, params, many, context)

    with connection.execute_wrapper(hear):
        DEEDS[deed](*arguments)
    return sent


_EXPLAINED = ("SELECT", "INSERT", "UPDATE", "DELETE", "WITH", "EXECUTE")
_TOGETHER = re.compile(r";\s*(?=EXECUTE\b)")
_NEXT = re.compile(r";\s*(?=(?:SET|EXECUTE|SELECT|INSERT|UPDATE|DELETE|WITH)\b)")


def touched(deed: str, arguments: list[Any]) -> list[tuple[str, int]]:
    """Do it; each of its statements with the pages that PostgreSQL looks at for it, prepared ones by their name."""
    found: list[tuple[str, int]] = []

    def explain(execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: Any) -> Any:
        if connection.in_atomic_block:
            with connection.connection.cursor() as cursor:
                cursor.execute("SAVEPOINT explained")
                found.extend(_pages(cursor, statement, params) for statement in _NEXT.split(sql))
                cursor.execute("ROLLBACK TO explained")
                cursor.execute("RELEASE explained")
        elif "EXECUTE" in str(sql):  # a transaction by itself
            with transaction.atomic(), connection.connection.cursor() as cursor:
                found.extend(_pages(cursor, statement, params) for statement in _NEXT.split(sql))
                transaction.set_rollback(True)
        return execute(sql, params, many, context)

    with connection.execute_wrapper(explain):
        DEEDS[deed](*arguments)
    return [(sql, pages) for sql, pages in found if sql]


def _pages(cursor: Any, statement: str, params: Any) -> tuple[str, int]:
    verb = statement.split(maxsplit=1)[0]
    if verb not in _EXPLAINED:
        cursor.execute(statement, params)
        return "", 0
    cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}", params)
    plan = cursor.fetchone()[0][0]["Plan"]
    shown = statement.partition("(")[0] if verb == "EXECUTE" else statement
    return shown, plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]


def planned_anew(path: str) -> int:
    """Of twenty first pages of a repository's tags, as a web process reads them."""

    async def read() -> int:
        try:
            for _ in range(20):
                await hot_reads.fetchval(oci_tags._PAGE, namespace_id, rest, "", 51)
            return int(
                await hot_reads.fetchval(
                    "SELECT custom_plans FROM pg_prepared_statements WHERE statement = $1", oci_tags._PAGE
                )
            )
        finally:
            await hot_reads.close()

    project, rest = _split(path)
    namespace_id = Namespace.objects.get(name=project).pk
    return asyncio.run(read())


def each(orders: list[list[Any]]) -> list[Any]:
    """Several in one go; what is refused stops the rest."""
    return [DEEDS[deed](*arguments) for deed, *arguments in orders]


def select(sql: str) -> list[tuple[Any, ...]]:
    """In a transaction that is rolled back."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(sql)
        found: list[tuple[Any, ...]] = cursor.fetchall()
        transaction.set_rollback(True)
    return found


def backend() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])


DEEDS: dict[str, Callable[..., Any]] = {
    f.__name__: f
    for f in (
        push_blob, put_manifest, mount, mounted, delete_blob, delete_artifact, delete_tag, delete_repository,
        add_tag, copy, collect, create_project, delete_project, collect_blobs, end_leases, scrubbed, configure, sign,
        trips, touched, planned_anew, each, select, backend,
    )
}  # fmt: skip


EVERY = -1


class Stops:
    """Says so after the nth statement of an order, or after EVERY one, and waits for a line."""

    def __init__(self, after: int) -> None:
        self._left, self._each = after, after == EVERY

    def __call__(self, execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: Any) -> Any:
        """Those that travel together come apart here: between them others find their moment, too."""
        if self._left <= 0 and not self._each:
            return execute(sql, params, many, context)
        statements = _TOGETHER.split(sql)
        if len(statements) == 1:
            return self._run(execute, sql, params, many, context)
        result = None
        with contextlib.nullcontext() if connection.in_atomic_block else transaction.atomic():
            for statement in statements:
                result = self._run(execute, statement, params, many, context)
        return result

    def _run(self, execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: Any) -> Any:
        result = execute(sql, params, many, context)
        self._left -= 1
        if self._each or self._left == 0:
            say({"stopped": " ".join(str(sql).rpartition(";")[2].split())[:100]})
            sys.stdin.readline()
        return result


def say(what: dict[str, Any]) -> None:
    _results.write(json.dumps(what) + "\n")
    _results.flush()


def main() -> None:
    for line in sys.stdin:
        order = json.loads(line)
        try:
            with connection.execute_wrapper(Stops(order["after"])):
                say({"result": DEEDS[order["deed"]](*order["arguments"])})
        except RegistryError as e:
            say({"refused": e.code, "message": e.message})
        except ObjectDoesNotExist as e:
            say({"refused": "ABSENT", "message": str(e)})


if __name__ == "__main__":
    main()
