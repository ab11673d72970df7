"""Tag Ldap: try, search and import from the directory of the settings (contract 7)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

from api.dispatch import Answer, Call
from rbac.authn import sources
from rbac.authn.directory import BadCredentials, Directory
from rbac.catalogue import Permission
from registry_core import configuration, errors

T = TypeVar("T")
_TIMEOUT, _FAILED, _CREDENTIAL, _EMPTY = (
    "error: ldap server network timeout",
    "error: fail to ping LDAP server",
    "error: invalid credential",
    "error: empty password",
)


def ping_ldap(call: Call) -> Answer:
    """Binds and no more, with what was sent; the password may be the one of the settings (contract 7)."""
    call.require(Permission.CONFIGURATION_READ)
    if call.body is None:
        raise errors.BadRequest("the configuration to try is missing")
    fault = _try(_sent(call.body))
    return Answer({"success": True} if not fault else {"message": fault})


def _sent(body: dict[str, Any]) -> Directory:
    configured = Directory.configured()
    names = ("ldap_url", "ldap_search_dn", "ldap_base_dn", "ldap_filter", "ldap_uid", "ldap_scope")
    values = {**configured.values, **{name: body[name] for name in names if name in body}}
    values["ldap_url"] = body.get("ldap_url", "")
    values["ldap_timeout"] = body.get("ldap_connection_timeout") or values["ldap_timeout"]
    values["ldap_verify_cert"] = body.get("ldap_verify_cert", False)
    # The stored password goes to the stored server only: who may read settings must not read it elsewhere.
    if "ldap_search_password" in body or values["ldap_url"] != configured.values["ldap_url"]:
        values["ldap_search_password"] = body.get("ldap_search_password", "")
    return dataclasses.replace(configured, values=values)


def _try(directory: Directory) -> str:
    if directory.values["ldap_search_dn"] and not directory.values["ldap_search_password"]:
        return _EMPTY
    try:
        with directory.connected():
            return ""
    except BadCredentials:
        return _CREDENTIAL
    except errors.Unavailable:
        return _TIMEOUT
    except (errors.BadRequest, errors.NotFound):
        return _FAILED if directory.values["ldap_url"] else _TIMEOUT


def search_ldap_user(call: Call) -> Answer:
    """Whole names only, in any case; without one everybody."""
    call.require(Permission.LDAP_USER_LIST)
    found = _asked(lambda: Directory.configured().search(call.query.get("username") or ""))
    return Answer([{"username": e.username, "realname": e.realname, "email": e.email} for e in found])


def search_ldap_group(call: Call) -> Answer:
    """By name, or else by DN; nothing found is 404 (contract 7)."""
    call.require(Permission.LDAP_USER_LIST)
    name, dn = call.query.get("groupname") or "", call.query.get("groupdn") or ""
    source = Directory.configured()
    if name:
        groups = _asked(lambda: source.search_groups(name))
    else:
        one = _asked(lambda: source.find_group(dn)) if dn else None
        groups = [one] if one else []
    if not groups:
        raise errors.NotFound(f"resource not found: group name:{name}, group DN:{dn}")
    return Answer([{"group_name": group.name, "ldap_group_dn": group.dn} for group in groups])


def import_ldap_user(call: Call) -> Answer:
    """Those that failed, with a word for why, as 404; nothing when all went well (contract 7)."""
    call.require(Permission.LDAP_USER_CREATE)
    answers = {uid or "": _import(uid or "") for uid in call.body.get("ldap_uid_list") or ()}
    failed = [{"error": fault} | ({"uid": uid} if uid else {}) for uid, fault in answers.items() if fault]
    return Answer(failed, 404) if failed else Answer()


def _import(uid: str) -> str:
    if not uid:
        return "empty_uid"
    source = Directory.configured()
    entry = _asked(lambda: source.find(uid))
    if entry is None:
        return "unknown_user"
    in_use = configuration.get("auth_mode") == "ldap_auth"
    if not in_use or sources.onboard(sources.person_of(source, entry)) is None:
        return f"failed to import user: {uid}"
    return ""


def _asked(question: Callable[[], T]) -> T:
    """What the directory answers; what keeps it from answering is told to whoever administers it."""
    try:
        return question()
    except BadCredentials:
        raise errors.Precondition("the directory refuses ldap_search_dn with its password") from None
    except errors.Unavailable as e:
        raise errors.Precondition(e.message, {"component": "ldap"}) from e
