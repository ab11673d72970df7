"""What this process knows about credentials of `/v2`: who they are and what they may do where (design 3, Tokens).

A Session stands for one Authorization header, a Right in it for one name. Each holds until an epoch says that its
principal, or its project, changed after the change that it was read at. Networks are kept as lists, never as a
decision.
"""

from __future__ import annotations

import hmac
import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rbac import rights
from rbac.authn import basic, lockout, robot
from rbac.catalogue import Permission
from rbac.permissions import NOBODY, held, held_in_system
from registry_core import configuration, epochs, keys, tokens
from registry_core.hooks import ANONYMOUS, Action, Grant, Principal
from registry_core.references import RepositoryName

MAX_SESSIONS = 8192
MAX_RIGHTS = 1024  # of one session
BASIC_SECONDS = 60.0
ACTIONS: Mapping[Action, Permission] = {
    "pull": Permission.REPOSITORY_PULL,
    "push": Permission.REPOSITORY_PUSH,
    "delete": Permission.REPOSITORY_DELETE,
}


@dataclass(frozen=True, slots=True)
class Named:
    """What a token says of a repository; the namespace is what its name meant when the token was issued, the policies
    are those that were on."""

    namespace_id: int
    actions: frozenset[str]
    policies: frozenset[str] = frozenset()


@dataclass(slots=True)
class Right:
    """A ready answer for one name, true as of the change `seq`."""

    grants: Mapping[str, Grant]
    place: str
    networks: tuple[str, ...]
    read_only: bool
    seq: int

    def is_current(self) -> bool:
        latest = epochs.latest()
        if latest > self.seq:
            if epochs.last_change(self.place) > self.seq:
                return False
            self.seq = latest
        return True


@dataclass(slots=True)
class Session:
    """`names` is None when the credential is good for whatever its principal may do (Basic, and nobody's).

    `issued` is the change that the token's own words are true as of. They are not enough when it says that a
    network limit applies: it does not say which. `guessable` is the name under which a chosen secret signed in:
    failures of others from the same network refuse it as well (design 5).
    """

    principal: Principal = ANONYMOUS
    networks: tuple[str, ...] = ()
    ends: float = math.inf
    seq: int = 0
    names: Mapping[str, Named] | None = None
    issued: int = 0
    is_limited: bool = False
    guessable: str = ""
    system: frozenset[Permission] | None = None  # what it may do in the system, once that was asked
    rights: dict[str, Right] = field(default_factory=dict)
    is_used: bool = True  # since forget_unused looked

    @property
    def is_anonymous(self) -> bool:
        return not self.principal.subject

    def is_current(self) -> bool:
        if time.time() >= self.ends:
            return False
        latest = epochs.latest()
        if latest > self.seq:
            if self.principal.subject and epochs.last_change(self.principal.subject) > self.seq:
                return False
            self.seq = latest
        return True

    def key(self, name: RepositoryName) -> str:
        """A token speaks of repositories, everything else of projects."""
        return name.project if self.names is None else f"{name.project}/{name.path}"

    def known_right(self, name: RepositoryName) -> Right | None:
        right = self.rights.get(self.key(name))
        return right if right is not None and right.is_current() else None


_sessions: dict[bytes | str, Session] = {}
nobody = Session()
_process_key = os.urandom(32)


def _index(authorization: str) -> bytes | str:
    """Secrets that outlive a token are not kept in memory."""
    if authorization.startswith("Bearer "):
        return authorization
    return hmac.digest(_process_key, authorization.encode(), "sha256")


def known(authorization: str, address: str) -> Session | None:
    """The session behind a header if it is known and still true; no input or output."""
    if not authorization:
        return nobody
    session = _sessions.get(authorization) or _sessions.get(_index(authorization))
    if session is None or not session.is_current():
        return None
    session.is_used = True
    return None if session.guessable and lockout.is_locked(session.guessable, address) else session


def forget_unused() -> None:
    """What nobody signed in with since the last call goes: a token is verified again, a password read again."""
    for index in [index for index, session in _sessions.items() if not session.is_used]:
        del _sessions[index]
    for session in _sessions.values():
        session.is_used = False
    nobody.rights.clear()


async def find(authorization: str, address: str) -> Session:
    """The session behind a header; nobody's when it is absent or bad (contract 1.4)."""
    session = known(authorization, address)
    if session is not None:
        return session
    index = _index(authorization)
    _sessions.pop(index, None)
    scheme, _, token = authorization.partition(" ")
    opened = await (_open_token(token) if scheme.lower() == "bearer" else _open_basic(authorization, address))
    if opened is None:
        return nobody
    while len(_sessions) >= MAX_SESSIONS:
        del _sessions[next(iter(_sessions))]
    _sessions[index] = opened
    return opened


async def _open_basic(authorization: str, address: str) -> Session | None:
    pair = basic.parse(authorization)
    if pair is None:
        return None
    seq = epochs.latest()
    account = await basic.sign_in_hot(*pair, address)
    if account is None:
        return None
    return Session(
        account.principal,
        account.networks,
        min(time.time() + BASIC_SECONDS, account.expires_at),
        seq,
        guessable="" if robot.is_generated_hash(account.hashes[0]) else pair[0],
    )


async def _open_token(token: str) -> Session | None:
    try:
        claims = await keys.verify(token)
        own = claims["bw"]
        subject, issued = str(own["s"]), int(own["q"])
        names = _names(claims.get("access") or (), own["n"], own.get("p") or {})
    except (tokens.TokenRefused, KeyError, TypeError, ValueError):
        return None
    ends = claims["exp"] + tokens.LEEWAY
    limited = bool(own.get("w"))
    if not subject:
        return Session(ends=ends, names=names, issued=issued, is_limited=limited)
    if not limited and epochs.last_change(subject) <= issued:
        principal = Principal(
            claims["sub"], "robot" if subject.startswith("r:") else "user", subject, bool(own.get("a"))
        )
        return Session(principal, (), ends, issued, names, issued)
    seq = max(epochs.latest(), issued)
    account = (await rights.read(subject, "")).account
    if account is None or not account.is_usable(time.time()) or not account.knows(str(own.get("c"))):
        return None
    return Session(
        account.principal, account.networks, min(ends, account.expires_at), seq, names, issued, limited
    )


def _names(access: Any, ids: Mapping[str, int], policies: Mapping[str, Any]) -> dict[str, Named]:
    """The repositories that a token grants something in; the same name twice says the same twice."""
    return {
        entry["name"]: Named(
            ids[entry["name"]], frozenset(entry["actions"]), frozenset(policies.get(entry["name"], ()))
        )
        for entry in access
        if entry["type"] == "repository" and entry["actions"]
    }


async def find_system_rights(session: Session) -> frozenset[Permission]:
    """What the principal itself may do in the system: nothing by a token, which speaks of repositories."""
    if session.names is not None or session.is_anonymous:
        return frozenset()
    if session.system is None:
        account = (await rights.read(session.principal.subject, "")).account
        session.system = held_in_system(account.identity("")) if account else frozenset()
    return session.system


async def find_right(session: Session, name: RepositoryName) -> Right | None:
    """What the credential may do under this name now, or None when that is nothing."""
    right = session.known_right(name)
    if right is not None:
        return right
    key = session.key(name)
    session.rights.pop(key, None)
    named = session.names.get(key) if session.names is not None else None
    if session.names is not None and named is None:
        return None
    right = await (
        _from_token(session, named) if named and _is_true(session, named) else _read(session, name, named)
    )
    if right is not None:
        if len(session.rights) >= MAX_RIGHTS:
            session.rights.clear()
        session.rights[key] = right
    return right


def _is_true(session: Session, named: Named) -> bool:
    """Has nothing changed since the token was issued?"""
    changed = max(
        epochs.last_change(f"n:{named.namespace_id}"), epochs.last_change(session.principal.subject)
    )
    return not session.is_limited and changed <= session.issued


async def _from_token(session: Session, named: Named) -> Right:
    seq = max(epochs.latest(), session.issued)
    grant = Grant(session.principal, named.namespace_id, named.actions, named.policies)
    return await _right(grant, (), seq)


async def _read(session: Session, name: RepositoryName, named: Named | None) -> Right | None:
    seq = max(epochs.latest(), session.issued)
    now = await rights.read(session.principal.subject, name.project)
    if now.standing is None or (named and named.namespace_id != now.standing.namespace_id):
        return None
    if session.is_anonymous:
        identity = NOBODY
    elif now.account and now.account.is_usable(time.time()):
        identity = now.account.identity("")
    else:
        return None
    allowed = held(identity, now.standing)
    actions = frozenset(action for action, permission in ACTIONS.items() if permission in allowed)
    if named:
        actions &= named.actions
    if not actions:
        return None
    grant = Grant(identity.principal, now.standing.namespace_id, actions, now.standing.policies)
    return await _right(grant, now.standing.networks, seq)


async def _right(grant: Grant, networks: tuple[str, ...], seq: int) -> Right:
    grants = dict.fromkeys(grant.actions, grant)
    return Right(grants, f"n:{grant.namespace_id}", networks, await configuration.fetch("read_only"), seq)
