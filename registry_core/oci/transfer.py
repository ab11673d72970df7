"""One request that writes to a blob session: driver, hash and row kept in step.

The small case is the common one: nothing touches a thread until a megabyte has come or the body has ended, and then all
that is left happens in one visit to the pool.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING

from registry_core import errors, hooks, uploads
from registry_core.digests import Digest, new_hash
from registry_core.references import RepositoryName
from registry_core.storage.driver import NotDurable, StorageError, Writer
from registry_core.store import as_registry_error, driver
from registry_core.threads import in_store, in_thread

if TYPE_CHECKING:
    from hashlib import _Hash

RENEW = uploads.WRITER_LEASE / 3
PAUSE = 0.1  # seconds; a body that has not ended by then is a slow one, and its session is taken before it is here
# Each upload holds up to two buffers of a megabyte: what arrives, and what is being written (design 3, Push: 256 MiB).
_buffers = asyncio.Semaphore(128)

Obtain = Callable[[uuid.UUID], uploads.Session]


class Transfer:
    """The session's only writer, from the first visit to the pool on. Ends with one of suspend, commit, end and
    give_up; a second one does nothing."""

    def __init__(self, grant: hooks.Grant, name: RepositoryName, obtain: Obtain, *, resumable: bool) -> None:
        self.grant, self.name = grant, name
        self._obtain, self._resumable = obtain, resumable
        self._session: uploads.Session | None = None
        self._id = uuid.uuid4()
        self._algorithm = ""
        self._writer: Writer | None = None
        self._hash: _Hash | None = None
        self._renewed = 0.0
        self._ended = False
        self._pending: list[bytes] | None = None
        self._failure: StorageError | None = None
        self._size, self._found = 0, ""
        self._claiming: asyncio.Future[None] | None = None
        self._timer = asyncio.get_running_loop().call_later(PAUSE, self._claim_soon)

    @classmethod
    async def begin(
        cls, grant: hooks.Grant, name: RepositoryName, obtain: Obtain, *, resumable: bool = True
    ) -> Transfer:
        """`obtain` gives the session to the writer that it is called with, in a pool thread, or raises."""
        await _buffers.acquire()
        return cls(grant, name, obtain, resumable=resumable)

    @property
    def session(self) -> uploads.Session:
        assert self._session is not None, "claimed by every end but give_up"
        return self._session

    async def claim(self) -> None:
        """Now, since the client would send much, or waits to be told that it may."""
        self._claim_soon()
        await self._settle()

    def will_be(self, algorithm: str) -> None:
        """The digest that the commit names: its algorithm is the one to compute, if no byte has been hashed yet."""
        self._algorithm = algorithm

    async def write(self, chunk: list[bytes]) -> None:
        """Keep one chunk, in pieces, back, so that the last one travels with the end of the request."""
        if self._pending is not None:
            pending, self._pending = self._pending, None
            await self._settle()
            if driver().is_remote:
                await self._claim_or_renew()
                await in_store(self._store, pending)
            else:
                await in_thread(self._store, pending)
        self._pending = chunk

    async def suspend(self) -> None:
        """The request is over, the session goes on: what was written can be resumed."""
        if not self._resumable:
            await self.give_up()
        elif self._finish_once():
            await self._conclude(self._suspend, self._keep_progress)

    async def commit(self, digest: Digest) -> None:
        """The bytes, durable, become the blob; DigestInvalid ends the session (design 3, Push)."""
        if self._finish_once():
            await self._conclude(lambda: self._complete(digest), lambda: self._commit(digest))

    async def end(self) -> None:
        """The session is over and its bytes are condemned."""
        if self._finish_once():
            await self._conclude(self._abandon, lambda: uploads.end_session(self.session.id, written=0))

    async def give_up(self) -> None:
        """The request failed: what this one wrote is dropped, what earlier ones left stays."""
        if self._finish_once():
            await self._conclude(self._close, self._release, must_claim=False)

    def _finish_once(self) -> bool:
        first, self._ended = not self._ended, True
        return first

    async def _conclude(
        self, bring: Callable[[], None], record: Callable[[], None], *, must_claim: bool = True
    ) -> None:
        """`bring` sees to the bytes, `record` then to the rows."""
        try:
            try:
                await self._settle()
            except errors.RegistryError:
                if must_claim:
                    raise
            if must_claim or self._session is not None:
                # A client that leaves cancels the request; rows and file must be brought to an end all the same.
                await asyncio.shield(self._in_pools(bring, record))
        finally:
            _buffers.release()

    async def _in_pools(self, bring: Callable[[], None], record: Callable[[], None]) -> None:
        """One visit where the bytes are near. Threads that everybody needs for rows do not wait for a remote store."""
        if driver().is_remote:
            await self._claim_or_renew()
            await in_store(self._try, bring)
            await in_thread(self._record, record)
        else:
            await in_thread(self._both, bring, record)

    def _claim_soon(self) -> None:
        if self._claiming is None:
            self._claiming = asyncio.ensure_future(in_thread(self._claim))

    async def _settle(self) -> None:
        """Nobody else claims any more, and a claim that is under way has come to its end, or raises why not."""
        self._timer.cancel()
        if self._claiming is not None:
            await asyncio.shield(self._claiming)

    async def _claim_or_renew(self) -> None:
        if self._session is None:
            await in_thread(self._claim)
        elif time.monotonic() - self._renewed > RENEW:
            await in_thread(self._renew)

    # -- in a pool thread

    def _claim(self) -> None:
        """Once. What `obtain` refuses leaves nothing behind."""
        if self._session is not None:
            return
        now = time.monotonic()
        session = self._obtain(self._id)
        self._renewed = now
        if session.offset == 0:
            self._hash = new_hash(self._algorithm or session.algorithm)
        self._session = session

    def _both(self, bring: Callable[[], None], record: Callable[[], None]) -> None:
        self._claim()
        self._try(bring)
        self._record(record)

    def _try(self, bring: Callable[[], None]) -> None:
        try:
            bring()
        except StorageError as e:
            # What was kept is lost then: a session that stands would promise it, and scrub would miss it.
            self._resumable &= not isinstance(e, NotDurable)
            self._failure = e
            self._close()

    def _record(self, record: Callable[[], None]) -> None:
        if self._failure is not None:
            self._release()
            raise as_registry_error(self._failure) from self._failure
        record()

    def _renew(self) -> None:
        uploads.renew_writer(self.session.id, self._id)
        self._renewed = time.monotonic()

    def _open(self) -> Writer:
        """For writing, which only the session's writer may: once its lease is over, the key's bytes may be deleted for
        good, and a byte that is written later would be on no line of the ledger."""
        if not driver().is_remote and time.monotonic() - self._renewed > RENEW:
            self._renew()
        if self._writer is None:
            self._writer = driver().open_writer(self.session.key, self.session.offset, self.session.state)
        return self._writer

    def _store(self, chunk: list[bytes]) -> None:
        try:
            self._claim()
            self._write(chunk)
        except StorageError as e:
            raise as_registry_error(e) from e

    def _write(self, chunk: list[bytes]) -> None:
        writer = self._open()
        for piece in chunk:
            writer.write(piece)
            if self._hash is not None:
                self._hash.update(piece)

    def _flush(self) -> None:
        if self._pending is not None:
            pending, self._pending = self._pending, None
            self._write(pending)

    def _suspend(self) -> None:
        self._flush()
        if self._writer is not None:
            self.session.state = self._writer.suspend()

    def _keep_progress(self) -> None:
        if self._writer is None:
            uploads.release_writer(self.session.id, self._id)
            return
        self.session.offset = self._writer.offset
        self.session.content_digest = self._digest()
        uploads.keep_progress(self.session, self._id)

    def _digest(self) -> str:
        return f"{self._hash.name}:{self._hash.hexdigest()}" if self._hash is not None else ""

    def _complete(self, digest: Digest) -> None:
        before = self.session.offset
        self._flush()
        unchanged = self._writer is None and before > 0
        self._size = self._open().finish()
        self._found = self._digest() or (self.session.content_digest if unchanged else "")
        if not self._found.startswith(digest.algorithm + ":"):
            self._found = self._read_again(digest.algorithm)

    def _commit(self, digest: Digest) -> None:
        if self._found != str(digest):
            is_ours = uploads.may_have_lost_progress(self.session.id)
            uploads.end_session(self.session.id, written=self._size)
            if is_ours:  # a client that sent the right bytes is not told that they were wrong
                raise errors.BlobUploadUnknown(
                    "the database was restarted while this upload ran, and bytes of it were lost",
                    {"upload": str(self.session.id), "computed": self._found, "fix": "begin again with POST"},
                )
            raise errors.DigestInvalid(
                detail={
                    "Digest": str(digest),
                    "Reason": {"computed": self._found, "size": self._size, "fix": "begin again with POST"},
                }
            )
        try:
            uploads.commit_upload(self.grant, self.name, self.session, str(digest), self._size, self._id)
        except errors.Denied:
            # Bytes that may not stay take no room until the session would end by itself.
            uploads.end_session(self.session.id, written=self._size)
            raise
        except errors.RegistryError:
            self._release()
            raise

    def _read_again(self, algorithm: str) -> str:
        """After several PATCHes no hash covers all bytes: read them once (design 3, Push)."""
        again = hashlib.new(algorithm)
        for piece in driver().read(self.session.key):
            again.update(piece)
        return f"{algorithm}:{again.hexdigest()}"

    def _abandon(self) -> None:
        if self._writer is not None:
            self._writer.abandon()

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()  # a file is held by one writer: the next request must not find it taken

    def _release(self) -> None:
        if self._resumable:
            uploads.release_writer(self.session.id, self._id)
        else:
            # Nothing is removed here: of a commit that broke off nobody knows whether it got through.
            uploads.end_session(self.session.id, written=self._writer.offset if self._writer else 0)
