"""What can be set (contract 5): defaults, what fits, and what must fit together. Grouped by topic."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from registry_core import syslog

MAX_PREFIX = 64  # with a robot's name it must fit into the columns that say who did something


def _anything(_: Any) -> str:
    return ""


@dataclass(frozen=True, slots=True)
class Item:
    """`check` says what is wrong with a value of the default's type, or nothing. A secret is never shown and kept
    encrypted. What is ours only has no place in Harbor's API."""

    default: bool | int | str
    check: Callable[[Any], str] = _anything
    is_secret: bool = False
    is_ours: bool = False

    def tidy(self, value: Any) -> Any:
        """What is kept of a value that fits."""
        return value.strip() if self.check is _prefix else value


def _between(low: int, high: int) -> Callable[[Any], str]:
    return lambda v: "" if low <= v <= high else f"must be between {low} and {high}"


def _one_of(*words: str) -> Callable[[Any], str]:
    return lambda v: "" if v in words else f"must be one of {', '.join(words)}"


def _quota(value: int) -> str:
    fits = value == -1 or 1 <= value <= 1 << 50
    return "" if fits else "must be -1 (no limit) or a number of bytes up to 1024 TiB"


def _prefix(value: str) -> str:
    fits = value.strip() and len(value.strip()) <= MAX_PREFIX
    return "" if fits else f"must not be blank, nor longer than {MAX_PREFIX} characters"


def _not_empty(value: str) -> str:
    return "" if value else "must not be empty"


def _json_texts(value: str) -> str:
    try:
        parsed = json.loads(value)
    except (ValueError, RecursionError):
        parsed = 0
    fits = parsed is None or (isinstance(parsed, dict) and all(isinstance(v, str) for v in parsed.values()))
    return "" if fits else 'must be a JSON object of texts, such as {"prompt": "login"}'


def _reachable(value: str) -> str:
    """An endpoint that nobody listens on would swallow the log."""
    return syslog.find_fault(value) if value else ""


_POSITIVE = _between(1, 9_999_999_999)
_SCOPE = _between(0, 2)  # base, one level, subtree

_SYSTEM = {
    # Manifests whose parts are not here yet are accepted (design 3, Push).
    "allow_sparse": Item(default=False, is_ours=True),
    "banner_message": Item(""),
    "notification_enable": Item(default=True),
    "project_creation_restriction": Item("everyone", _one_of("everyone", "adminonly")),
    "quota_per_project_enable": Item(default=True),
    "read_only": Item(default=False),
    "robot_name_prefix": Item("robot$", _prefix),
    "robot_token_duration": Item(30, _POSITIVE),
    "scanner_skip_update_pulltime": Item(default=False),
    "session_timeout": Item(60, _POSITIVE),
    "storage_per_project": Item(-1, _quota),
    "token_expiration": Item(30, _POSITIVE),
}
_AUDIT = {
    "audit_log_forward_endpoint": Item("", _reachable),
    "disabled_audit_log_event_types": Item(""),
    "pull_audit_log_disable": Item(default=False, is_ours=True),
    "skip_audit_log_database": Item(default=False),
}
_SIGN_IN = {
    "auth_mode": Item("db_auth", _one_of("db_auth", "ldap_auth", "uaa_auth", "http_auth", "oidc_auth")),
    "primary_auth_mode": Item(default=False),
    "self_registration": Item(default=False),
}
_LDAP = {
    "ldap_base_dn": Item("", _not_empty),
    "ldap_ca_certificate": Item("", is_ours=True),
    "ldap_filter": Item(""),
    "ldap_group_admin_dn": Item(""),
    "ldap_group_attach_parallel": Item(default=False),
    "ldap_group_attribute_name": Item(""),
    "ldap_group_base_dn": Item(""),
    "ldap_group_membership_attribute": Item("memberof"),
    "ldap_group_search_filter": Item(""),
    "ldap_group_search_scope": Item(2, _SCOPE),
    "ldap_scope": Item(2, _SCOPE),
    "ldap_search_dn": Item(""),
    "ldap_search_password": Item("", is_secret=True),
    "ldap_start_tls": Item(default=False, is_ours=True),
    "ldap_timeout": Item(5),
    "ldap_uid": Item("cn", _not_empty),
    "ldap_url": Item("", _not_empty),
    "ldap_verify_cert": Item(default=True),
}
_OIDC = {
    "oidc_admin_group": Item(""),
    "oidc_auto_onboard": Item(default=False),
    "oidc_client_id": Item(""),
    "oidc_client_secret": Item("", is_secret=True),
    "oidc_endpoint": Item(""),
    "oidc_extra_redirect_parms": Item("{}", _json_texts),
    "oidc_group_filter": Item(""),
    "oidc_groups_claim": Item(""),
    "oidc_logout": Item(default=False),
    "oidc_name": Item(""),
    "oidc_scope": Item(""),
    "oidc_user_claim": Item(""),
    "oidc_verify_cert": Item(default=True),
}
# Kept and shown for clients that set them.
_OTHER_SOURCES = {
    "http_authproxy_admin_groups": Item(""),
    "http_authproxy_admin_usernames": Item(""),
    "http_authproxy_endpoint": Item(""),
    "http_authproxy_server_certificate": Item(""),
    "http_authproxy_skip_search": Item(default=False),
    "http_authproxy_tokenreview_endpoint": Item(""),
    "http_authproxy_verify_cert": Item(default=True),
    "uaa_client_id": Item(""),
    "uaa_client_secret": Item(""),  # readable, as the contract has it
    "uaa_endpoint": Item(""),
    "uaa_verify_cert": Item(default=False),
}
ITEMS: Mapping[str, Item] = _SYSTEM | _AUDIT | _SIGN_IN | _LDAP | _OIDC | _OTHER_SOURCES


def find_contradiction(values: Mapping[str, Any], changed: Mapping[str, Any]) -> str:
    """What is wrong with `values` as they will be once `changed` is, or nothing."""
    if changed.get("skip_audit_log_database") and not values["audit_log_forward_endpoint"]:
        return "audit log forward endpoint should be configured before enable skip audit log in database"
    is_of_groups = any(name.startswith("ldap_group_") for name in changed)
    if is_of_groups and values["ldap_group_search_filter"]:
        for name, what in (
            ("ldap_group_attribute_name", "name attribute"),
            ("ldap_group_membership_attribute", "membership attribute"),
        ):
            if not values[name]:
                return f"ldap group {what} can not be empty"
    return ""
