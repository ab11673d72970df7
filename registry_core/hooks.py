"""The seams through which upper packages decide about content; config/wiring.py fills them.

Unfilled they deny and do nothing. `authorize`, `on_miss` and `pull_checks` are async and use hot reads and caches,
never the ORM; the others are sync and run inside the transaction of the change.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from registry_core import errors

if TYPE_CHECKING:
    from registry_core.references import RepositoryName
    from registry_core.statements import Statement

Action = Literal["pull", "push", "delete"]


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks. `subject` is stable over renames: `u:<id>`, `r:<id>` (robot), empty for anonymous."""

    name: str = ""
    kind: Literal["user", "robot", "anonymous"] = "anonymous"
    subject: str = ""
    is_admin: bool = False


ANONYMOUS = Principal()


class Caller(NamedTuple):
    """What a decision may look at in a request.

    `address` is the client's, after trusted proxies; `base_url` is `scheme://host` as the client should see it;
    `mount_from` is a repository that the request reads from beside the one in its path.
    """

    authorization: str
    address: str
    base_url: str
    method: str = "GET"
    path: str = ""
    user_agent: str = ""
    mount_from: str = ""


@dataclass(frozen=True, slots=True)
class Grant:
    """A yes: who, and to which namespace the name led (always go on by this id).

    `policies` are the project's pull policies that are on, in the words of whoever checks them: none for most, and then
    no pull check is asked.
    """

    principal: Principal
    namespace_id: int
    actions: frozenset[str] = field(default_factory=frozenset)
    policies: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Push:
    """What a push check sees: everything is locked already, nothing is committed yet.

    `digest` is that of the manifest; empty where manifests were accepted without a part that has come now. `new_bytes`
    of manifest and blobs are those that the namespace did not hold before.
    """

    principal: Principal
    namespace_id: int
    path: str
    digest: str
    tags: tuple[str, ...]
    new_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Arrival:
    """What an upload check sees: a blob that no manifest names yet, by upload or mount.

    At the start of an upload neither digest nor size are known: "" and 0.
    """

    principal: Principal
    namespace_id: int
    digest: str = ""
    size: int = 0


class UploadCheck(NamedTuple):
    """`ask` raises Denied. `concerns` is SQL: whether it could, in the namespace `%(namespace)s`; where that is false
    the check is not asked."""

    concerns: str
    ask: Callable[[Arrival], None]


class PushCheck(NamedTuple):
    """`ask` raises Denied, or counts what is pushed.

    `concerns` is SQL: whether it could refuse a push of `{most}` bytes in the namespace `%(namespace)s`. Where that is
    false `counting` may take the place of `ask`, after all else of the transaction. The setting breakwater.new_bytes
    says what is new to the namespace; it is empty when nothing was done. An error undoes the push, and it is tried
    again.
    """

    concerns: str
    ask: Callable[[Push], None]
    counting: Statement


async def _deny(caller: Caller, name: RepositoryName, action: Action) -> Grant:
    raise errors.Denied("no authorization is configured", {"repository": str(name), "action": action})


def _not_known(authorization: str, address: str, name: RepositoryName, action: Action) -> Grant | None:
    return None


async def _deny_caller(caller: Caller) -> Principal:
    raise errors.Denied("no authorization is configured")


async def _no_grant(caller: Caller, name: RepositoryName) -> Grant | None:
    return None


async def _nothing(grant: Grant, name: RepositoryName, reference: str) -> bool:
    return False


# authorize: Grant, or raises Unauthorized / Denied with challenge and reason.
authorize: Callable[[Caller, RepositoryName, Action], Awaitable[Grant]] = _deny
# (Authorization header, client's address, name, action): the Grant that `authorize` would give if nobody needs to be
# asked; None leaves it to `authorize`.
known_grant: Callable[[str, str, RepositoryName, Action], Grant | None] = _not_known
# may this caller's credential pull `name`? For mounts: None leads to a plain upload, never to a refusal.
find_pull_grant: Callable[[Caller, RepositoryName], Awaitable[Grant | None]] = _no_grant
# GET /v2/: the principal, or the challenge.
authenticate: Callable[[Caller], Awaitable[Principal]] = _deny_caller
# GET /v2/_catalog: the principal, or the challenge.
authorize_catalog: Callable[[Caller], Awaitable[Principal]] = _deny_caller
# a manifest or blob that is not here: True when it may have arrived meanwhile (proxy cache).
on_miss: Callable[[Grant, RepositoryName, str], Awaitable[bool]] = _nothing
# now and then, on the event loop's thread: what an upper package keeps in memory and nobody asked for since goes.
forget_unused: list[Callable[[], None]] = []
# before a manifest (lookups.Stored) is sent, where the grant names policies; raises to keep it back.
pull_checks: list[Callable[[Grant, RepositoryName, Any, Caller], Awaitable[None]]] = []
push_checks: list[PushCheck] = []
# before bytes are taken, and again once they are here; inside the transaction, which a Denied undoes.
upload_checks: list[UploadCheck] = []
# (namespace id, bytes) that a deletion took from what the namespace holds; inside its transaction, as its last word.
bytes_freed: list[Callable[[int, int], None]] = []


def check_push(push: Push) -> None:
    for check in push_checks:
        check.ask(push)


def concerns_pushes(most: str) -> str:
    """SQL: whether any push check could refuse so many bytes in the namespace `%(namespace)s`."""
    return " OR ".join(f"({check.concerns.format(most=most)})" for check in push_checks) or "false"


def check_upload(arrival: Arrival) -> None:
    for check in upload_checks:
        check.ask(arrival)


def concerns_uploads() -> str:
    """SQL: whether any upload check could refuse in the namespace `%(namespace)s`."""
    return " OR ".join(f"({check.concerns})" for check in upload_checks) or "false"


def free_bytes(namespace_id: int, count: int) -> None:
    if count:
        for consumer in bytes_freed:
            consumer(namespace_id, count)
