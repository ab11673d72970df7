"""The settings of a project as Harbor's clients write them: a map of texts (contract 7). Pure rules."""

from __future__ import annotations

import re
from collections.abc import Mapping

from registry_core import errors

_KEYS = frozenset(
    {
        "public",
        "enable_content_trust",
        "enable_content_trust_cosign",
        "prevent_vul",
        "severity",
        "auto_scan",
        "auto_sbom_generation",
        "reuse_sys_cve_allowlist",
        "proxy_cache_local_on_not_found",
        "proxy_referrer_api",
    }
)
_PROXY_KEYS = frozenset(
    {"proxy_speed_kb", "max_upstream_conn", "proxy_cache_filter_pattern", "proxy_cache_filter_kind"}
)
_BOOLEANS = dict.fromkeys(("1", "t", "T", "true", "TRUE", "True"), "true") | dict.fromkeys(
    ("0", "f", "F", "false", "FALSE", "False"), "false"
)
_SEVERITIES = frozenset({"none", "low", "medium", "high", "critical"})


def is_public(metadata: Mapping[str, str]) -> bool:
    return metadata.get("public") == "true"


def for_new_project(sent: Mapping[str, str], *, is_proxy: bool = False) -> dict[str, str]:
    """What a project starts with; BadRequest for a `public` that is neither, and for a retention policy."""
    public = sent.get("public") or "false"
    if public not in ("true", "false"):
        raise errors.BadRequest(f"metadata.public should only be 'true' or 'false', but got: '{public}'")
    if sent.get("retention_id"):
        raise errors.BadRequest(
            "bad request: the retention_id in the request's payload when creating a project should be "
            "omitted, alternatively passing an empty string"
        )
    return {**_kept(sent, is_proxy=is_proxy), "public": public}


def merged(current: Mapping[str, str], sent: Mapping[str, str], *, is_proxy: bool = False) -> dict[str, str]:
    """The map after an update: keys that are not sent stay."""
    if sent.get("retention_id") and sent["retention_id"] != current.get("retention_id"):
        raise errors.BadRequest(
            "the retention_id in the request's payload when updating a project should be omitted, "
            "alternatively passing the one that has already been associated to this project"
        )
    return {**current, **_kept(sent, is_proxy=is_proxy)}


def parse_one(sent: Mapping[str, str] | None) -> tuple[str, str]:
    """The one key and value of a request to the metadata endpoints, normalised; BadRequest says what does not fit.

    Stricter than a project's own create and update, as the contract has it (7).
    """
    if not sent or len(sent) != 1:
        raise errors.BadRequest("only allow one key/value pair")
    ((key, value),) = sent.items()
    return key, parse_value(key, value or "")


def parse_value(key: str, value: str) -> str:
    if key in ("proxy_cache_filter_pattern", "proxy_cache_filter_kind"):
        raise errors.BadRequest("can not update the normal project with proxy cache filter metadata")
    if key == "severity":
        parsed = "none" if value.lower() == "negligible" else value.lower()
        is_good = parsed in _SEVERITIES
    elif key in ("proxy_speed_kb", "max_upstream_conn"):
        is_good = re.fullmatch(r"-?[0-9]{1,9}", value) is not None
        parsed = str(int(value)) if is_good else ""
        if key == "max_upstream_conn" and is_good and not (parsed == "-1" or int(parsed) > 0):
            raise errors.BadRequest(f"invalid value for max_upstream_conn: {value}")
    elif key in _KEYS:
        is_good = value in _BOOLEANS
        parsed = _BOOLEANS.get(value, "")
    else:
        raise errors.BadRequest(f"invalid key: {key}")
    if not is_good:
        raise errors.BadRequest(f"invalid value: {value}")
    return parsed


def _kept(sent: Mapping[str, str], *, is_proxy: bool) -> dict[str, str]:
    known = _KEYS - {"enable_content_trust"} | _PROXY_KEYS if is_proxy else _KEYS
    kept = {key: value for key, value in sent.items() if key in known and value}
    if "severity" in kept:
        severity = kept["severity"].lower()
        kept["severity"] = severity if severity in _SEVERITIES else "unknown"
    return kept
