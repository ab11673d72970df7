"""GET …/accessories (contract 3.4; golden: artifact_accessories)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from projects.models import Project
from registry_core import actions
from registry_core.models import Artifact
from tests.api.conftest import MANIFEST, Api, descriptor, push, push_blob, push_image
from tests.builders import Person, make_project

pytestmark = pytest.mark.django_db

PATH = "/projects/team/repositories/app/artifacts"
EMPTY = "application/vnd.oci.empty.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"


def attach(subject: Artifact, artifact_type: str, config: str = EMPTY, **layer: Any) -> Artifact:
    project = Project.objects.get(namespace__name="team")
    repository = actions.ensure_repository(project.namespace_id, "app")
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "subject": descriptor(subject),
        "config": {"mediaType": config, **push_blob(repository.pk, b"{}")},
        "layers": [
            {
                "mediaType": "application/octet-stream",
                **push_blob(repository.pk, artifact_type.encode()),
                **layer,
            }
        ],
    }
    return push(project, "app", document | ({"artifactType": artifact_type} if artifact_type else {}))


@pytest.fixture
def subject(db: None) -> Artifact:
    return push_image(make_project("team"), "app", "v1")


@pytest.mark.parametrize(
    ("artifact_type", "config", "shown"),
    [
        ("application/vnd.dev.cosign.artifact.sig.v1+json", EMPTY, "signature.cosign"),
        ("application/vnd.dev.sigstore.bundle.v0.3+json", EMPTY, "signature.cosign"),
        ("application/vnd.cncf.notary.signature", EMPTY, "signature.notation"),
        ("", "application/vnd.cncf.notary.signature", "signature.notation"),
        ("", "application/vnd.goharbor.harbor.sbom.v1", "sbom.harbor"),
        ("application/vnd.example.acc", EMPTY, "subject.accessory"),
        ("", CONFIG, "subject.accessory"),
    ],
)
def test_types(admin: Api, subject: Artifact, artifact_type: str, config: str, shown: str) -> None:
    accessory = attach(subject, artifact_type, config)
    reply = admin.get(f"{PATH}/v1/accessories")
    (entry,) = reply.body
    assert reply.headers["X-Total-Count"] == "1"
    assert entry.pop("creation_time") > "2020"
    icon = entry.pop("icon")
    assert (icon == "") is (shown == "subject.accessory")
    assert entry == {
        "id": accessory.pk, "artifact_id": accessory.pk, "subject_artifact_id": subject.pk,
        "subject_artifact_digest": subject.digest, "subject_artifact_repo": "team/app", "size": accessory.size,
        "digest": accessory.digest, "type": shown,
    }  # fmt: skip


def test_nydus(admin: Api, subject: Artifact) -> None:
    attach(subject, "", CONFIG, annotations={"containerd.io/snapshot/nydus-bootstrap": "true"})
    (entry,) = admin.get(f"{PATH}/v1/accessories").body
    assert entry["type"] == "accelerator.nydus"


def test_find_and_sort(admin: Api, subject: Artifact) -> None:
    made = [
        attach(subject, "application/vnd.cncf.notary.signature"),
        attach(subject, "application/vnd.example.acc"),
        attach(subject, "", "application/vnd.goharbor.harbor.sbom.v1"),
    ]

    def found(query: str) -> list[int]:
        digests = [artifact.digest for artifact in made]
        return [digests.index(entry["digest"]) for entry in admin.get(f"{PATH}/v1/accessories?{query}").body]

    assert found("") == [0, 1, 2]
    assert found("sort=-id") == [2, 1, 0]
    assert found("q=type=signature.notation") == [0]
    assert found("q=type={signature.notation%20sbom.harbor}") == [0, 2]
    assert found("q=type=~sbom") == [2]
    assert found(f"q=digest={made[1].digest}") == [1]
    assert found("page=2&page_size=2") == [2]


def test_accessories_are_in_no_list_of_artifacts(admin: Api, subject: Artifact) -> None:
    attach(subject, "application/vnd.example.acc")
    (shown,) = admin.get(f"{PATH}?with_accessory=true").body
    assert [entry["type"] for entry in shown["accessories"]] == ["subject.accessory"]
    assert admin.delete(f"{PATH}/v1").status == 200  # and they go with their subject
    assert not Artifact.objects.filter(repository=subject.repository).exists()


def test_who_may(
    admin: Api, subject: Artifact, charlie: Person, anonymous: Api, as_: Callable[[Person], Api]
) -> None:
    assert as_(charlie).get(f"{PATH}/v1/accessories").status == 403
    assert anonymous.get(f"{PATH}/v1/accessories").status == 401
    Project.objects.filter(namespace__name="team").update(public=True)
    for caller in (as_(charlie), anonymous):
        assert caller.get(f"{PATH}/v1/accessories").body == []
    assert admin.get(f"{PATH}/absent/accessories").status == 404
