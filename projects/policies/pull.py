"""Which artifacts a project lets go: signed ones, scanned ones (contract 3.3; design 6).

Whether a signature is valid is not verified yet, only that there is one, as in Harbor. There is no scanner yet: a
project that wants its images scanned serves none of them, and says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from registry_core import errors, signatures
from registry_core.hooks import Caller, Grant
from registry_core.lookups import Stored
from registry_core.references import RepositoryName
from registry_core.signatures import Signer

# Keys of a project's metadata, and the order in which they are asked.
_SIGNED: dict[str, Signer] = {"enable_content_trust_cosign": "cosign", "enable_content_trust": "notation"}
_SCANNED = "prevent_vul"
_TRUE = frozenset({"true", "1"})


def in_force(metadata: Mapping[str, str]) -> frozenset[str]:
    """The pull policies that a project's metadata turn on: their keys, `prevent_vul` with its threshold."""
    policies = {key for key in _SIGNED if metadata.get(key, "").lower() in _TRUE}
    if metadata.get(_SCANNED, "").lower() in _TRUE:
        policies.add(f"{_SCANNED}:{metadata.get('severity', 'unknown')}")
    return frozenset(policies)


async def check(grant: Grant, name: RepositoryName, stored: Stored, caller: Caller) -> None:
    """PolicyViolation where a policy of the project keeps the artifact back. Nothing is read where none is on."""
    if not grant.policies or _signs(grant, caller):
        return
    found = await signatures.find_signatures(grant.namespace_id, name.path, stored)
    if found.is_signature:
        return
    for key, signer in _SIGNED.items():
        if key in grant.policies and signer not in found.signed_by:
            raise _unsigned(key, signer, name, stored)
    if found.kind == "IMAGE":  # nothing else can be scanned
        for policy in grant.policies:
            if policy.startswith(_SCANNED):
                raise _not_scanned(policy.partition(":")[2], name, stored)


def _signs(grant: Grant, caller: Caller) -> bool:
    """A signer reads the manifest before it pushes the signature: its token may push, and it says who it is."""
    return (
        "push" in grant.actions
        and caller.authorization[:7].lower() == "bearer "
        and any(signer in caller.user_agent for signer in _SIGNED.values())
    )


def _unsigned(key: str, signer: Signer, name: RepositoryName, stored: Stored) -> errors.PolicyViolation:
    return _violation(
        f"The image is not signed by {signer}.",
        f"project {name.project} serves only what is signed by {signer} ({key})",
        f"sign it: {signer} sign <registry>/{name}@{stored.digest}",
        f"whoever may push to {name}; an administrator of project {name.project} can turn the policy off",
        name, stored,
    )  # fmt: skip


def _not_scanned(severity: str, name: RepositoryName, stored: Stored) -> errors.PolicyViolation:
    threshold = severity.capitalize()
    return _violation(
        "current image without vulnerability scanning cannot be pulled due to configured policy in 'Prevent images "
        f"with vulnerability severity of \"{threshold}\" or higher from running.' To continue with pull, please "
        "contact your project administrator for help.",
        f"project {name.project} serves images only once they are scanned and nothing of severity {threshold} or "
        f"higher was found ({_SCANNED}); this registry has no scanner yet, so no image is scanned",
        f"turn {_SCANNED} off in the configuration of project {name.project}",
        f"an administrator of project {name.project}",
        name, stored,
    )  # fmt: skip


def _violation(
    message: str, rule: str, fix: str, who: str, name: RepositoryName, stored: Stored
) -> errors.PolicyViolation:
    detail: dict[str, Any] = {
        "rule": rule,
        "project": name.project,
        "repository": str(name),
        "digest": stored.digest,
        "fix": fix,
        "who": who,
    }
    return errors.PolicyViolation(message, detail)
