"""The settings of a project as Harbor's clients write them: a map of texts (contract 7). Pure rules."""

from __future__ import annotations

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


def _kept(sent: Mapping[str, str], *, is_proxy: bool) -> dict[str, str]:
    known = _KEYS - {"enable_content_trust"} | _PROXY_KEYS if is_proxy else _KEYS
    kept = {key: value for key, value in sent.items() if key in known and value}
    if "severity" in kept:
        severity = kept["severity"].lower()
        kept["severity"] = severity if severity in _SEVERITIES else "unknown"
    return kept
