"""Accessories: artifacts that are attached to another one by their subject (contract 3.4)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db.models import BooleanField, Case, CharField, Func, QuerySet, Value, When
from django.db.models.functions import Coalesce, NullIf

from api import addressing, icons, query
from api.dispatch import Answer, Call, listed, search
from rbac.catalogue import Permission
from registry_core.manifests import SIMPLE_SIGNING
from registry_core.models import Artifact
from registry_core.signatures import SIGNERS


class _Names(Func):
    """The manifest holds this text."""

    template = "position('%(text)s'::bytea IN %(expressions)s) > 0"
    output_field = BooleanField()


_DECLARED = Coalesce(NullIf("artifact_type", Value("")), "config_media_type")
_TYPE = Case(
    When(kind="IMAGE", artifact_type="", is_simple=True, then=Value("signature.cosign")),
    *(When(declared=declared, then=Value(f"signature.{signer}")) for declared, signer in SIGNERS.items()),
    When(declared="application/vnd.goharbor.harbor.sbom.v1", then=Value("sbom.harbor")),
    When(kind="IMAGE", artifact_type="", is_nydus=True, then=Value("accelerator.nydus")),
    default=Value("subject.accessory"),
    output_field=CharField(),
)

FIELDS = query.FieldMap(
    [
        query.Field("id", "id", "integer"),
        query.Field("artifact_id", "id", "integer"),
        query.Field("subject_artifact_id", "subject_id", "integer"),
        query.Field("subject_artifact_digest", "subject_digest"),
        query.Field("digest"),
        query.Field("size", kind="integer"),
        query.Field("type", "accessory_type"),
        query.Field("creation_time", "pushed_at", "time"),
    ],
    default=("id",),
)


def accessories() -> QuerySet[Artifact]:
    return (
        Artifact.objects.defer("payload")
        .exclude(subject_digest="")
        .annotate(
            declared=_DECLARED,
            is_nydus=_Names("payload", text="containerd.io/snapshot/nydus-bootstrap"),
            is_simple=_Names("payload", text=SIMPLE_SIGNING),
        )
        .annotate(accessory_type=_TYPE)
    )


def present_accessories(rows: Iterable[Artifact], repository_name: str) -> list[dict[str, Any]]:
    return [
        {
            "id": row.pk,
            "artifact_id": row.pk,
            "subject_artifact_id": row.subject_id,
            "subject_artifact_digest": row.subject_digest,
            "subject_artifact_repo": repository_name,
            "size": row.size,
            "digest": row.digest,
            "type": row.accessory_type,  # type: ignore[attr-defined]
            "icon": icons.OF_ACCESSORY.get(row.accessory_type, ""),  # type: ignore[attr-defined]
            "creation_time": row.pushed_at,
        }
        for row in rows
    ]


def list_accessories(call: Call) -> Answer:
    subject = addressing.artifact(call, Permission.ACCESSORY_LIST)
    rows = accessories().filter(repository=subject.repository, subject_digest=subject.digest)
    name = subject.repository.name
    return listed(call, search(call, rows, FIELDS), lambda page: present_accessories(page, name))
