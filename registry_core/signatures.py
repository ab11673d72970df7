"""What signs an artifact: one hot read, kept under the repository's version as lookups are (contract 3.4; design 8.6).

A signature is attached by its subject (manifests.subject_of). One on an index covers the whole index, hence its
children, too. Whether it is *valid* is not asked here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from registry_core import errors, hot_reads, lookups, presence, versions
from registry_core.manifests import SIMPLE_SIGNING

Signer = Literal["cosign", "notation"]

# What a signature's manifest declares: its artifactType, else its config's media type; or the type of its layer.
SIGNERS: dict[str, Signer] = {
    "application/vnd.dev.cosign.artifact.sig.v1+json": "cosign",
    "application/vnd.dev.sigstore.bundle.v0.3+json": "cosign",
    SIMPLE_SIGNING: "cosign",
    "application/vnd.cncf.notary.signature": "notation",
}


@dataclass(frozen=True, slots=True)
class Signatures:
    """`kind` is the artifact's own; `signed_by` whose signatures it bears; `is_signature`: it is one itself."""

    kind: str
    signed_by: frozenset[Signer]
    is_signature: bool


_kept: lookups.Answers[Signatures] = lookups.Answers()

# A referrer's signature is what it declares, or the layer of a plain image (3.4).
_DECLARED = """
CASE WHEN {0}.kind = 'IMAGE' AND {0}.artifact_type = '' AND position($3::bytea IN {0}.payload) > 0
    THEN convert_from($3, 'UTF8') ELSE coalesce(nullif({0}.artifact_type, ''), {0}.config_media_type) END
"""
_FIND = f"""
WITH RECURSIVE covering (id, digest) AS (
    SELECT a.id, a.digest FROM registry_core_artifact a WHERE a.id = $1
    UNION
    SELECT i.id, i.digest FROM covering JOIN registry_core_artifactchild c ON c.child_id = covering.id
    JOIN registry_core_artifact i ON i.id = c.artifact_id
)
SELECT a.kind, CASE WHEN a.subject_digest <> '' THEN {_DECLARED.format("a")} END AS own,
    ARRAY(SELECT DISTINCT {_DECLARED.format("s")} FROM covering JOIN registry_core_artifact s
          ON s.repository_id = $2 AND s.subject_digest = covering.digest AND s.subject_digest <> '') AS attached
FROM registry_core_artifact a WHERE a.id = $1
"""


async def find_signatures(namespace_id: int, path: str, stored: lookups.Stored) -> Signatures:
    key = (str(namespace_id), path, stored.digest)
    version = versions.read(versions.slot(namespace_id, path))
    # A signature that is pushed on another host does not ring here.
    if presence.is_alone() and (known := _kept.find(key, version)) is not None and known[0] is not None:
        return known[0]
    row = await hot_reads.fetchrow(_FIND, stored.artifact_id, stored.repository_id, SIMPLE_SIGNING.encode())
    if row is None:  # deleted since it was looked up
        raise errors.ManifestUnknown(detail={"digest": stored.digest})
    signed_by = frozenset(SIGNERS[declared] for declared in row["attached"] if declared in SIGNERS)
    found = Signatures(row["kind"], signed_by, is_signature=row["own"] in SIGNERS)
    _kept.keep(key, version, found)
    return found
