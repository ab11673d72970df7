"""What signs an artifact: one hot read, kept under the repository's version as lookups are (contract 3.4; design 8.6).

A signature is attached by its subject, or, as older cosign does it, by the tag `sha256-<digest>.sig`. One on an index
covers the whole index, hence its children, too. Whether it is *valid* is not asked here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from registry_core import errors, hot_reads, lookups, presence, versions

Signer = Literal["cosign", "notation"]

# What a signature's manifest declares: its artifactType, else its config's media type.
SIGNERS: dict[str, Signer] = {
    "application/vnd.dev.cosign.artifact.sig.v1+json": "cosign",
    "application/vnd.dev.sigstore.bundle.v0.3+json": "cosign",
    "application/vnd.cncf.notary.signature": "notation",
}
_SIMPLE_SIGNING = b'"application/vnd.dev.cosign.simplesigning.v1+json"'


@dataclass(frozen=True, slots=True)
class Signatures:
    """`kind` is the artifact's own; `signed_by` whose signatures it bears; `is_signature`: it is one itself."""

    kind: str
    signed_by: frozenset[Signer]
    is_signature: bool


_kept: lookups.Answers[Signatures] = lookups.Answers()

_DECLARED = "coalesce(nullif({0}.artifact_type, ''), {0}.config_media_type)"
_FIND = f"""
WITH RECURSIVE covering (id, digest) AS (
    SELECT a.id, a.digest FROM registry_core_artifact a WHERE a.id = $1
    UNION
    SELECT i.id, i.digest FROM covering JOIN registry_core_artifactchild c ON c.child_id = covering.id
    JOIN registry_core_artifact i ON i.id = c.artifact_id
)
SELECT a.kind, CASE WHEN a.subject_digest <> '' THEN {_DECLARED.format("a")} ELSE '' END AS declared,
    position($4::bytea IN a.payload) > 0 AND EXISTS (
        SELECT 1 FROM registry_core_tag t WHERE t.artifact_id = a.id AND t.name ~ '^sha256-[0-9a-f]{{64}}[.]sig$'
    ) AS signs_simply,
    ARRAY(SELECT DISTINCT {_DECLARED.format("s")} FROM covering JOIN registry_core_artifact s
          ON s.repository_id = $2 AND s.subject_digest = covering.digest AND s.subject_digest <> ''
          WHERE {_DECLARED.format("s")} = ANY($3)) AS signatures,
    EXISTS (SELECT 1 FROM covering JOIN registry_core_tag t
            ON t.repository_id = $2 AND t.name = replace(covering.digest, ':', '-') || '.sig'
            JOIN registry_core_artifact s ON s.id = t.artifact_id
            WHERE position($4::bytea IN s.payload) > 0) AS is_simply_signed
FROM registry_core_artifact a WHERE a.id = $1
"""


async def find_signatures(namespace_id: int, path: str, stored: lookups.Stored) -> Signatures:
    key = (str(namespace_id), path, stored.digest)
    version = versions.read(versions.slot(namespace_id, path))
    # A signature that is pushed on another host does not ring here.
    if presence.is_alone() and (known := _kept.find(key, version)) is not None and known[0] is not None:
        return known[0]
    row = await hot_reads.fetchrow(
        _FIND, stored.artifact_id, stored.repository_id, list(SIGNERS), _SIMPLE_SIGNING
    )
    if row is None:  # deleted since it was looked up
        raise errors.ManifestUnknown(detail={"digest": stored.digest})
    signed_by = {SIGNERS[text] for text in row["signatures"]}
    if row["is_simply_signed"]:
        signed_by.add("cosign")
    found = Signatures(row["kind"], frozenset(signed_by), row["declared"] in SIGNERS or row["signs_simply"])
    _kept.keep(key, version, found)
    return found
