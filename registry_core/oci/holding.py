"""Blobs that pushers are told they need not send: held for them until their manifest comes.

Clients ask for all layers of an image at once, and many clients do; what is asked while one statement is under way is
answered by the next one, together.
"""

from __future__ import annotations

import asyncio
import itertools

from registry_core import hooks, leases
from registry_core.references import RepositoryName
from registry_core.threads import in_thread

AT_ONCE = 100

_waiting: dict[leases.Claim, asyncio.Future[bool]] = {}
_rounds: asyncio.Task[None] | None = None


async def hold(grant: hooks.Grant, name: RepositoryName, digest: str) -> bool:
    """Lease a blob that is readable here; False when it no longer is."""
    claim = leases.Claim(grant.namespace_id, name.path, digest, grant.principal.subject)
    if await _renewed(claim):
        return True
    return await in_thread(leases.mount_blob, grant, name, digest, (grant.namespace_id, name.path))


async def _renewed(claim: leases.Claim) -> bool:
    global _rounds  # noqa: PLW0603  one a process
    future = _waiting.get(claim)
    if future is None:
        future = _waiting[claim] = asyncio.get_running_loop().create_future()
    if _rounds is None:
        _rounds = asyncio.ensure_future(_renew())
    return await asyncio.shield(future)


async def _renew() -> None:
    global _rounds  # noqa: PLW0603
    try:
        while _waiting:
            claims = list(itertools.islice(_waiting, AT_ONCE))
            futures = [_waiting.pop(claim) for claim in claims]
            try:
                renewed = await in_thread(leases.renew_leases, claims)
            except Exception as e:  # noqa: BLE001  everybody who waits for it hears of it
                for future in futures:
                    future.set_exception(e)
                    future.exception()  # who asked may have left
            else:
                for claim, future in zip(claims, futures, strict=True):
                    future.set_result(claim in renewed)
    finally:
        _rounds = None
