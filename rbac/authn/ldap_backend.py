"""django-auth-ldap, told what the settings of this moment say. Imported on first use: it is not on every machine."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Mapping
from typing import Any

import ldap
from django_auth_ldap.backend import LDAPBackend, ldap_error
from django_auth_ldap.config import LDAPSearch, LDAPSettings

from rbac.models import User

_ALL_OURS = "AUTH_LDAP_OF_NOBODY_"  # it would look in Django's settings under this


class Backend(LDAPBackend):  # type: ignore[misc]  # it ships no types
    """Says who somebody is, and leaves it to others to make them a user."""

    def __init__(self, values: Mapping[str, Any], wanted: str, attributes: list[str], options: dict[int, Any]) -> None:
        """`wanted` is the filter of one person, with `%(user)s` for the name."""
        self.nobody = f"{values['ldap_uid']}=%s,{values['ldap_base_dn']}"
        search = LDAPSearch(values["ldap_base_dn"], values["ldap_scope"], wanted, attributes)
        self.settings = LDAPSettings(
            _ALL_OURS,
            {
                "SERVER_URI": values["ldap_url"],
                "START_TLS": values["ldap_start_tls"] and values["ldap_url"].startswith("ldap://"),
                "CONNECTION_OPTIONS": options,
                "BIND_DN": values["ldap_search_dn"],
                "BIND_PASSWORD": values["ldap_search_password"],
                "USER_SEARCH": search,
                "ALWAYS_UPDATE_USER": False,
            },
        )

    def authenticate_ldap_user(self, ldap_user: Any, password: str) -> Any:
        if ldap_user.dn is not None:
            return ldap_user.authenticate(password)
        # Who is not there costs what a wrong password does.
        with contextlib.suppress(ldap.LDAPError):
            ldap_user._bind_as(self.nobody % secrets.token_hex(8), password)  # noqa: SLF001  there is no other way
        return None

    def get_or_build_user(self, username: str, ldap_user: Any) -> tuple[User, bool]:
        return User(username=username), False


def _raise(exception: Exception, **_: Any) -> None:
    """An outage is no wrong password."""
    raise exception


ldap_error.connect(_raise, sender=Backend)
