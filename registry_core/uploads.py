"""Verbs of blob sessions: begin, keep what arrived, commit, cancel (design 3, Push)."""

from __future__ import annotations

import functools
import json
import uuid
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import IntegrityError, connection

from registry_core import errors, hooks, versions
from registry_core.actions import ensure_repository
from registry_core.leases import LEASE, lease_blob
from registry_core.locks import Vanished, alone, name_keys, reading, retrying
from registry_core.models import Repository
from registry_core.references import RepositoryName
from registry_core.statements import UNHURRIED, Statement, run_all
from registry_core.storage.paths import new_key

WRITER_LEASE = 30  # seconds
MAX_OPEN = 1000  # sessions of one principal
IDLE = 3600  # seconds without a byte after which a session makes room for others of its principal
ROOM = 50  # sessions that end at once then


@dataclass(slots=True)
class Session:
    """An Upload row while a request works on it."""

    id: uuid.UUID
    repository_id: int
    key: str
    algorithm: str
    offset: int
    content_digest: str
    state: dict[str, Any] = field(default_factory=dict)


_START = """
INSERT INTO registry_core_upload (id, repository_id, principal, key, algorithm, "offset", content_digest, state,
    writer, writer_until, created_at, updated_at)
SELECT %(id)s, r.id, %(principal)s::varchar, %(key)s, %(algorithm)s, 0, '', '{}',
    %(writer)s::uuid, CASE WHEN %(writer)s::uuid IS NOT NULL THEN now() + %(lease)s * interval '1 second' END,
    now(), now()
FROM registry_core_repository r WHERE r.namespace_id = %(namespace)s AND r.path = %(path)s
AND (SELECT count(*) FROM (SELECT 1 FROM registry_core_upload WHERE principal = %(principal)s LIMIT %(most)s) AS open)
    < %(most)s
"""


@functools.cache
def _start(*, is_checked: bool) -> Statement:
    """The session's row; none where there is no repository, too many are open, or a check has to be asked first."""
    if is_checked:
        return Statement("start_upload", f"{_START} RETURNING repository_id")
    return Statement(
        "start_unless_limited", f"{_START} AND NOT ({hooks.concerns_uploads()}) RETURNING repository_id"
    )


@alone
def start_upload(
    grant: hooks.Grant,
    name: RepositoryName,
    algorithm: str = "sha256",
    *,
    instead_of_mount: bool = False,
    writer: uuid.UUID | None = None,
) -> Session:
    """A new session. The row names the key before the first byte is stored, so that the ledger knows it.

    A mount that cannot be done becomes an upload even in a full project (contract 6.8): the blob is asked about when
    it is here. `writer` begins as the session's only one, as `claim_session` would make it.
    """
    session = Session(uuid.uuid4(), 0, new_key(), algorithm, 0, "")
    session.repository_id = _insert_session(
        grant, name, session, writer, is_checked=instead_of_mount
    ) or _start_after_all(grant, name, session, writer, is_checked=instead_of_mount)
    return session


def _insert_session(
    grant: hooks.Grant, name: RepositoryName, session: Session, writer: uuid.UUID | None, *, is_checked: bool
) -> int:
    """The repository's id; 0 when there is no row."""
    with connection.cursor() as cursor:
        _start(is_checked=is_checked).run(
            cursor,
            {
                "id": session.id, "principal": grant.principal.subject, "key": session.key,
                "algorithm": session.algorithm, "namespace": grant.namespace_id, "path": name.path, "most": MAX_OPEN,
                "writer": writer, "lease": WRITER_LEASE,
            },
        )  # fmt: skip
        row = cursor.fetchone()
    return int(row[0]) if row else 0


@retrying
def _start_after_all(
    grant: hooks.Grant, name: RepositoryName, session: Session, writer: uuid.UUID | None, *, is_checked: bool
) -> int:
    """In a new repository, or a namespace with limits; or it is refused."""
    if not is_checked:
        hooks.check_upload(hooks.Arrival(grant.principal, grant.namespace_id))
    ensure_repository(grant.namespace_id, name.path)
    if found := _insert_session(grant, name, session, writer, is_checked=True):
        return found
    if _end_idlest(grant) and (found := _insert_session(grant, name, session, writer, is_checked=True)):
        return found
    raise errors.TooManyRequests(
        f"{MAX_OPEN} uploads are open; finish or cancel some",
        {"limit": MAX_OPEN, "principal": grant.principal.name, "fix": "DELETE the upload's URL"},
    )


def _end_idlest(grant: hooks.Grant) -> int:
    """Sessions that the principal left behind, the oldest ones; how many. A client that begins anew after each failed
    push would be locked out until they end by themselves, after days."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id FROM registry_core_upload "
            "WHERE principal = %s AND updated_at < now() - %s * interval '1 second' "
            "AND (writer IS NULL OR writer_until < now()) ORDER BY updated_at LIMIT %s FOR UPDATE SKIP LOCKED",
            [grant.principal.subject, IDLE, ROOM],
        )
        idle = [pk for (pk,) in cursor.fetchall()]
    for pk in idle:
        end_session(pk)
    return len(idle)


_COLUMNS = 'u.id, u.repository_id, u.key, u.algorithm, u."offset", u.content_digest, u.state'
# Somebody else's session, or one of another repository, is as absent as one that never was.
_OF_CALLER = """
    registry_core_repository r
    WHERE u.id = %(id)s AND u.principal = %(principal)s AND r.id = u.repository_id
      AND r.namespace_id = %(namespace)s AND r.path = %(path)s
"""


def _arguments(grant: hooks.Grant, name: RepositoryName, upload_id: uuid.UUID) -> dict[str, Any]:
    return {
        "id": upload_id,
        "principal": grant.principal.subject,
        "namespace": grant.namespace_id,
        "path": name.path,
    }


def _session(row: tuple[Any, ...]) -> Session:
    upload_id, repository_id, key, algorithm, offset, content_digest, state = row
    # A cursor gives JSON columns as text: Django leaves their decoding to its fields.
    return Session(upload_id, repository_id, key, algorithm, offset, content_digest, json.loads(state))


def _unknown(upload_id: uuid.UUID) -> errors.BlobUploadUnknown:
    return errors.BlobUploadUnknown(
        detail={
            "upload": str(upload_id),
            "reason": "finished, cancelled, expired, or begun by somebody else",
            "fix": "begin again with POST",
        }
    )


@retrying
def get_session(grant: hooks.Grant, name: RepositoryName, upload_id: uuid.UUID) -> Session:
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {_COLUMNS} FROM registry_core_upload u, {_OF_CALLER}",
            _arguments(grant, name, upload_id),
        )
        row = cursor.fetchone()
    if row is None:
        raise _unknown(upload_id)
    return _session(row)


_CLAIM = Statement(
    "claim_upload",
    "UPDATE registry_core_upload u SET writer = %(writer)s, "
    f"writer_until = now() + %(lease)s * interval '1 second', updated_at = now() FROM {_OF_CALLER} "
    f"AND (u.writer IS NULL OR u.writer_until < now() OR u.writer = %(writer)s) AND {UNHURRIED} RETURNING {_COLUMNS}",
)


@alone
def claim_session(
    grant: hooks.Grant, name: RepositoryName, upload_id: uuid.UUID, writer: uuid.UUID
) -> Session:
    """Become the session's only writer for WRITER_LEASE; RangeInvalid while somebody else is (design 3)."""
    arguments = _arguments(grant, name, upload_id) | {"writer": writer, "lease": WRITER_LEASE}
    with connection.cursor() as cursor:
        _CLAIM.run(cursor, arguments)
        if (row := cursor.fetchone()) is not None:
            return _session(row)
        cursor.execute(f'SELECT u."offset" FROM registry_core_upload u, {_OF_CALLER}', arguments)
        busy = cursor.fetchone()
    if busy is None:
        raise _unknown(upload_id)
    raise errors.RangeInvalid(
        "another request writes to this upload",
        {"offset": busy[0], "fix": "wait for it, ask with GET, go on from the offset"},
        headers=position_headers(busy[0]),
    )


def position_headers(offset: int) -> dict[str, str]:
    """`Range: 0-n`, n being the last byte kept; an empty session says 0-0 as every registry does."""
    return {"range": f"0-{max(offset - 1, 0)}"}


@retrying
def renew_writer(upload_id: uuid.UUID, writer: uuid.UUID) -> None:
    """Still the writer for WRITER_LEASE; RangeInvalid or BlobUploadUnknown when not."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE registry_core_upload SET writer_until = now() + %s * interval '1 second', updated_at = now() "
            "WHERE id = %s AND writer = %s",
            [WRITER_LEASE, upload_id, writer],
        )
        if cursor.rowcount == 0:
            raise _lost(cursor, upload_id)


def _lost(cursor: Any, upload_id: uuid.UUID) -> errors.RegistryError:
    """Why a request is no longer the session's writer."""
    cursor.execute("SELECT 1 FROM registry_core_upload WHERE id = %s", [upload_id])
    if cursor.fetchone() is None:
        return _unknown(upload_id)
    return errors.RangeInvalid("another request took this upload over", {"upload": str(upload_id)})


_PROGRESS = Statement(
    "keep_progress",
    'UPDATE registry_core_upload SET "offset" = %(offset)s, content_digest = %(digest)s, state = %(state)s, '
    "writer = NULL, writer_until = NULL, updated_at = now() "
    f"WHERE id = %(id)s AND writer = %(writer)s AND {UNHURRIED} RETURNING 1",
)


@alone
def keep_progress(session: Session, writer: uuid.UUID) -> None:
    """What a PATCH left behind: offset, digest of exactly these bytes ('' = unknown), driver state; the lease ends."""
    with connection.cursor() as cursor:
        _PROGRESS.run(
            cursor,
            {
                "offset": session.offset, "digest": session.content_digest, "state": json.dumps(session.state),
                "id": session.id, "writer": writer,
            },
        )  # fmt: skip
        if cursor.fetchone() is None:
            raise _lost(cursor, session.id)


@alone
def release_writer(upload_id: uuid.UUID, writer: uuid.UUID) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE registry_core_upload SET writer = NULL, writer_until = NULL WHERE id = %s AND writer = %s",
            [upload_id, writer],
        )


# The blob's name is held until commit, so that a manifest which is accepted without it cannot miss it.
_FINISH = Statement(
    "finish_upload",
    # The repository first, as everywhere: who deletes it takes its uploads after it.
    "WITH r AS MATERIALIZED (SELECT id FROM registry_core_repository WHERE id = %(repository)s FOR KEY SHARE) "
    "DELETE FROM registry_core_upload u USING r WHERE u.repository_id = r.id AND u.id = %(id)s "
    "AND u.writer = %(writer)s RETURNING u.repository_id, pg_advisory_xact_lock_shared(%(name)s)",
)
_COMMIT = Statement(
    "insert_blob",
    """
    INSERT INTO registry_core_blob (digest, size, key, created_at) VALUES (%(digest)s, %(size)s, %(key)s, now())
    ON CONFLICT (digest) DO NOTHING RETURNING id
    """,
)


# The blob's name is held until commit (as in _FINISH); the statement after it sees what was there before.
_HOLD_NAME = Statement(
    "hold_name",
    # The repository first, as everywhere.
    "WITH r AS MATERIALIZED (SELECT id FROM registry_core_repository WHERE id = %(repository)s FOR KEY SHARE) "
    "SELECT pg_advisory_xact_lock_shared(%(name)s) FROM r",
)


@functools.cache
def _commit_new() -> Statement:
    """A session becomes a blob that is stored nowhere yet, waited for by no artifact, and limited by nothing; or no
    row, and nothing has changed."""
    return Statement(
        "commit_new_blob",
        f"""
WITH session AS (
    DELETE FROM registry_core_upload u WHERE u.id = %(id)s AND u.writer = %(writer)s
    AND NOT EXISTS (SELECT 1 FROM registry_core_blob WHERE digest = %(digest)s)
    AND NOT EXISTS (SELECT 1 FROM registry_core_artifactblob
                    WHERE repository_id = %(repository)s AND digest = %(digest)s AND blob_id IS NULL)
    AND NOT ({hooks.concerns_uploads()})
    RETURNING u.key, u.repository_id
), blob AS (
    INSERT INTO registry_core_blob (digest, size, key, created_at)
    SELECT %(digest)s, %(size)s, key, now() FROM session RETURNING id
), look_again AS (
    INSERT INTO registry_core_collectorcandidate (blob_id, due_at)
    SELECT id, now() + %(lease)s * interval '1 second' FROM blob
)
INSERT INTO registry_core_repositoryblob (repository_id, blob_id, principal, leased_until)
SELECT session.repository_id, blob.id, %(principal)s, now() + %(lease)s * interval '1 second' FROM session, blob
RETURNING blob_id
""",
    )


def commit_upload(
    grant: hooks.Grant, name: RepositoryName, session: Session, digest: str, size: int, writer: uuid.UUID
) -> None:
    """The bytes under the session's key, durable by now, become the blob `digest`, leased to the pusher.

    Denied leaves the session as it was.
    """
    versions.ring(versions.slot(grant.namespace_id, name.path))
    if _commit_at_once(grant, session, digest, size, writer):
        versions.raise_after_commit(grant.namespace_id, name.path)
    else:
        _commit_in_steps(grant, name, session, digest, size, writer)


@alone
def _commit_at_once(grant: hooks.Grant, session: Session, digest: str, size: int, writer: uuid.UUID) -> bool:
    """The usual case, in one round trip that is its own transaction."""
    (name_key,) = name_keys(session.repository_id, [digest])
    arguments = {
        "repository": session.repository_id, "name": name_key, "id": session.id, "writer": writer, "digest": digest,
        "size": size, "lease": LEASE, "principal": grant.principal.subject, "namespace": grant.namespace_id,
    }  # fmt: skip
    with connection.cursor() as cursor:
        try:
            run_all(cursor, [(_HOLD_NAME, arguments), (_commit_new(), arguments)])
        except IntegrityError as e:  # somebody's same blob came after we had looked
            raise Vanished from e
        return cursor.fetchone() is not None


@retrying
def _commit_in_steps(
    grant: hooks.Grant, name: RepositoryName, session: Session, digest: str, size: int, writer: uuid.UUID
) -> None:
    """Any case.

    Where the digest is stored already, the new bytes go and the old ones stay; unless scrub found the old ones missing:
    then the row takes the new key (design 2.2).
    """
    with connection.cursor() as cursor:
        (name_key,) = name_keys(session.repository_id, [digest])
        _FINISH.run(
            cursor,
            {"repository": session.repository_id, "id": session.id, "writer": writer, "name": name_key},
        )
        if cursor.fetchone() is None:
            raise _lost(cursor, session.id)
        hooks.check_upload(hooks.Arrival(grant.principal, grant.namespace_id, digest, size))
        _COMMIT.run(cursor, {"digest": digest, "size": size, "key": session.key})
        row = cursor.fetchone()
    blob_id = row[0] if row else _join_existing(session, digest, size)
    versions.raise_after_commit(grant.namespace_id, name.path)
    repository = Repository(pk=session.repository_id, namespace_id=grant.namespace_id, path=name.path)
    lease_blob(repository, grant.principal, blob_id, digest, size)


def _join_existing(session: Session, digest: str, size: int) -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id, key, missing_since FROM registry_core_blob WHERE digest = %s FOR NO KEY UPDATE",
            [digest],
        )
        row = cursor.fetchone()
        if row is None:  # collected between two statements
            raise Vanished
        blob_id, key, missing = row
        surplus = session.key
        if missing is not None:
            surplus = key
            cursor.execute(
                "UPDATE registry_core_blob SET key = %s, size = %s, missing_since = NULL WHERE id = %s",
                [session.key, size, blob_id],
            )
            forget([blob_id])
    condemn(surplus, size, digest)
    return int(blob_id)


def forget(blob_ids: list[int]) -> None:
    """Whatever processes of this host keep about these blobs ends with the running transaction, in every repository."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT r.namespace_id, r.path FROM registry_core_repository r WHERE r.id IN ("
            "SELECT e.repository_id FROM registry_core_artifactblob e WHERE e.blob_id = ANY(%(blobs)s) UNION "
            "SELECT l.repository_id FROM registry_core_repositoryblob l WHERE l.blob_id = ANY(%(blobs)s))",
            {"blobs": blob_ids},
        )
        for namespace_id, path in cursor.fetchall():
            versions.raise_after_commit(namespace_id, path)


def condemn(
    key: str,
    size: int,
    digest: str = "",
    state: str = "{}",
    not_before: datetime | None = None,
) -> None:
    """A key's bytes go once DELETE_DELAY has passed; from here on the ledger counts them as waiting for deletion.

    `not_before`: the end of the lease of somebody who may still write to the key.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO registry_core_deletedobject (key, size, digest, state, due_at, attempts) "
            "VALUES (%s, %s, %s, %s, greatest(now() + %s * interval '1 second', %s), 0)",
            [key, size, digest, state, settings.DELETE_DELAY, not_before],
        )


@retrying
def cancel_upload(grant: hooks.Grant, name: RepositoryName, upload_id: uuid.UUID) -> None:
    session = get_session(grant, name, upload_id)
    end_session(session.id)


@retrying
def end_session(upload_id: uuid.UUID, *, written: int | None = None) -> None:
    """The session is over without a blob; its bytes are condemned. Nothing when it is gone already.

    `written`: the caller is the session's writer, and this is what it leaves under the key.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            'DELETE FROM registry_core_upload WHERE id = %s RETURNING key, "offset", state, writer_until',
            [upload_id],
        )
        row = cursor.fetchone()
    if row is not None:
        key, offset, state, writer_until = row
        if written is not None:
            offset, writer_until = written, None
        condemn(key, offset, state=state, not_before=writer_until)


@reading
def may_have_lost_progress(upload_id: uuid.UUID) -> bool:
    """The database crashed or was restarted since the session began: what UNHURRIED wrote just before may be gone.

    A crash of one backend restarts the others without the postmaster; it is then that statistics begin anew.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT 1 FROM registry_core_upload WHERE id = %s AND created_at < "
            "greatest(pg_postmaster_start_time(), (SELECT stats_reset FROM pg_stat_bgwriter))",
            [upload_id],
        )
        return cursor.fetchone() is not None
