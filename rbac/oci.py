"""Who may do what on `/v2`: fills the hooks of registry_core (contract 3.1, 3.3; design 3, Tokens).

What is known is answered without a round trip or a thread. A refusal may take its time to explain itself.
"""

from __future__ import annotations

from typing import Any

from rbac import rights, sessions
from rbac.catalogue import Permission
from rbac.permissions import NOBODY, Identity, held, is_from, network_refusal, refusal, shown
from rbac.sessions import ACTIONS, Session
from registry_core import configuration, epochs, errors, tokens
from registry_core.hooks import Action, Caller, Grant, Principal
from registry_core.references import RepositoryName

READ_ONLY = "The system is in read only mode. Any modification is prohibited."
_BASIC = 'Basic realm="harbor"'
_SCOPES: dict[Action, str] = {"pull": "pull", "push": "pull,push", "delete": "delete"}


async def authorize(caller: Caller, name: RepositoryName, action: Action) -> Grant:
    """The grant, or Unauthorized with a challenge, or Denied where signing in would not help."""
    if not epochs.is_fresh():
        await epochs.refresh()
    if not caller.authorization:
        raise await _challenge_for(caller, name, action)
    session = sessions.known(caller.authorization, caller.address)
    if session is None:
        session = await sessions.find(caller.authorization, caller.address)
    right = session.known_right(name)
    if right is None:
        right = await sessions.find_right(session, name)
    grant = right.grants.get(action) if right is not None else None
    if right is None or grant is None:
        raise await _refusal(caller, session, name, action)
    if right.read_only and action != "pull":
        raise _read_only(session.principal)
    if session.networks or right.networks:
        _check_networks(caller, session, right.networks, name)
    return grant


def known_grant(authorization: str, address: str, name: RepositoryName, action: Action) -> Grant | None:
    """What `authorize` would give, where this process knows it and no limit that is asked each time applies."""
    if not authorization or not epochs.is_fresh():
        return None
    session = sessions.known(authorization, address)
    if session is None or session.networks:
        return None
    right = session.known_right(name)
    if right is None or right.networks or (right.read_only and action != "pull"):
        return None
    return right.grants.get(action)


async def find_pull_grant(caller: Caller, name: RepositoryName) -> Grant | None:
    """May this credential, or anybody, pull there? Asked for the source of a mount, where a no is not a refusal."""
    if not epochs.is_fresh():
        await epochs.refresh()
    own = await sessions.find(caller.authorization, caller.address)
    for session in (own, sessions.nobody):
        right = await sessions.find_right(session, name)
        if (
            right is not None
            and (grant := right.grants.get("pull")) is not None
            and is_from(session.networks, caller.address)
            and is_from(right.networks, caller.address)
        ):
            return grant
    return None


async def authenticate(caller: Caller) -> Principal:
    """GET /v2/: who this is, or the challenge that a client starts from."""
    if not epochs.is_fresh():
        await epochs.refresh()
    session = await sessions.find(caller.authorization, caller.address)
    if session.is_anonymous:
        detail = {
            "rule": "/v2/ answers to known callers only",
            "principal": "anonymous",
            "fix": _sign_in(caller),
            "who": "the caller",
        }
        challenge = _BASIC if caller.authorization else _bearer(caller)
        raise errors.Unauthorized(_twice("unauthorized"), detail, challenge=challenge)
    _check_networks(caller, session, (), None)
    return session.principal


async def authorize_catalog(caller: Caller) -> Principal:
    """GET /v2/_catalog: a system administrator, or a robot that holds catalog:read; never a token (contract 3.1)."""
    if not epochs.is_fresh():
        await epochs.refresh()
    session = await sessions.find(caller.authorization, caller.address)
    if Permission.CATALOG_READ in await sessions.find_system_rights(session):
        _check_networks(caller, session, (), None)
        return session.principal
    detail = refusal(session.principal, Permission.CATALOG_READ, None)
    if session.names is not None:
        detail["fix"] = "send the name and secret themselves (Basic): no token opens the catalogue"
    raise errors.Unauthorized(_twice("unauthorized to list catalog"), detail, challenge=_BASIC)


# -- limits that are asked on every request


def _check_networks(
    caller: Caller, session: Session, networks: tuple[str, ...], name: RepositoryName | None
) -> None:
    if not is_from(session.networks, caller.address):
        whose = "the credential"
    elif name and not is_from(networks, caller.address):
        whose = f"project {name.project}"
    else:
        return
    detail = network_refusal(session.principal, caller.address, whose)
    raise errors.Denied(f"{whose} may not be used from {caller.address}", detail)


def _read_only(principal: Principal) -> errors.Denied:
    detail = {
        "rule": "read_only",
        "principal": shown(principal),
        "fix": "pull only, or wait until the mode is left",
        "who": "a system administrator",
    }
    return errors.Denied(READ_ONLY, detail)


# -- refusals


async def _challenge_for(caller: Caller, name: RepositoryName, action: Action) -> errors.RegistryError:
    """For a request without credentials: the same for public, private and absent projects."""
    if action != "pull" and await configuration.fetch("read_only"):
        return _read_only(NOBODY.principal)
    text = _no_right(name, action)
    if caller.method in ("GET", "HEAD"):
        text = "authorize header needed to send HEAD to repository"
    detail = refusal(NOBODY.principal, ACTIONS[action], name.project)
    return errors.Unauthorized(_twice(text), detail, challenge=_bearer(caller, name, action))


async def _refusal(
    caller: Caller, session: Session, name: RepositoryName, action: Action
) -> errors.RegistryError:
    """Why not, from the rows as they are now. A project that is not there and one that the caller may not see
    are told the same; only a system administrator, who sees them all, hears that it does not exist."""
    if action != "pull" and await configuration.fetch("read_only"):
        return _read_only(session.principal)
    now = await rights.read(session.principal.subject, name.project)
    identity = now.account.identity(caller.address) if now.account else NOBODY
    if now.standing is None and identity.principal.is_admin:
        text = _twice(f"project {name.project} not found")
        return errors.Unauthorized(text, _absent(identity, name), challenge="")
    allowed = held(identity, now.standing) if now.standing else frozenset()
    detail = refusal(session.principal, ACTIONS[action], name.project)
    if session.names is not None and ACTIONS[action] in allowed:
        detail["rule"] = (
            f"a token is good for the repositories and actions that it names: not for {action} on {name}"
        )
        detail["fix"] = "fetch a token for the scope in the challenge"
        challenge = f'{_bearer(caller, name, action)},error="insufficient_scope"'
        return errors.Unauthorized(_twice(_no_right(name, action)), detail, challenge=challenge)
    if session.is_anonymous:
        detail["fix"] = _sign_in(caller)
    text = _no_right(name, action)
    hidden = f"{text}: project {name.project} not found, or not yours"
    return errors.Unauthorized(_twice(text) if allowed else hidden, detail, challenge=_BASIC)


def _absent(identity: Identity, name: RepositoryName) -> dict[str, Any]:
    return {
        "rule": "projects are not created by pushing",
        "principal": shown(identity.principal),
        "fix": f"create project {name.project}, or mend the name",
        "who": "whoever may create projects",
    }


def _sign_in(caller: Caller) -> str:
    if not caller.authorization:
        return "sign in"
    return "sign in again: what was sent names nobody, or is wrong, expired or revoked"


def _no_right(name: RepositoryName, action: Action) -> str:
    return f"unauthorized to access repository: {name}, action: {action}"


def _bearer(caller: Caller, name: RepositoryName | None = None, action: Action = "pull") -> str:
    challenge = f'Bearer realm="{caller.base_url}/service/token",service="{tokens.AUDIENCE}"'
    if name is None:
        return challenge
    scopes = [f"repository:{name}:{_SCOPES[action]}"]
    if caller.mount_from:
        scopes.append(f"repository:{caller.mount_from}:pull")
    return f'{challenge},scope="{" ".join(scopes)}"'


def _twice(text: str) -> str:
    """Harbor wraps each of these in itself, and clients match on the whole (contract 3.1)."""
    return f"{text}: {text}"
