"""Pull policies of projects over HTTP (contract 3.3, 3.4, 7; golden: v2_signature_policy, v2_vulnerability_policy)."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from projects.policies.pull import in_force
from tests.content import EMPTY, HELM_CONFIG, INDEX, MANIFEST, descriptor, digest_of, encode, index_document
from tests.server import ADMIN, Image, Repository, Server, assert_refused, new_image

COSIGN, NOTATION = "enable_content_trust_cosign", "enable_content_trust"
UNSIGNED = {
    COSIGN: "The image is not signed by cosign.",
    NOTATION: "The image is not signed by notation.",
}
NOT_SCANNED = (
    "current image without vulnerability scanning cannot be pulled due to configured policy in 'Prevent images with "
    'vulnerability severity of "{}" or higher from running.\' To continue with pull, please contact your project '
    "administrator for help."
)
# What signs by its subject, as it declares itself: artifactType, config media type (contract 3.4).
SIGNATURES = {
    "cosign": (COSIGN, "application/vnd.dev.cosign.artifact.sig.v1+json", EMPTY),
    "cosign, by its config": (COSIGN, "", "application/vnd.dev.cosign.artifact.sig.v1+json"),
    "sigstore bundle": (COSIGN, "application/vnd.dev.sigstore.bundle.v0.3+json", EMPTY),
    "notation": (NOTATION, "application/vnd.cncf.notary.signature", EMPTY),
}
SIMPLE_SIGNING = "application/vnd.dev.cosign.simplesigning.v1+json"


@dataclass(frozen=True)
class Place:
    server: Server
    name: str

    def set(self, **metadata: str) -> None:
        answer = self.server.rest.put(f"/projects/{self.name}", json={"metadata": metadata})
        assert answer.status_code == 200, answer.text

    def repository(self, path: str = "app") -> Repository:
        return self.server.repository(f"{self.name}/{path}", ADMIN)

    def bearer(self, *actions: str, path: str = "app") -> Repository:
        name = f"{self.name}/{path}"
        return self.server.repository(
            name, token=self.server.token(ADMIN, f"repository:{name}:{','.join(actions)}")
        )


@pytest.fixture
def place(server: Server) -> Place:
    return Place(server, server.create_project(f"pol{secrets.token_hex(4)}"))


@pytest.fixture
def image(place: Place) -> Image:
    return place.repository().push_image("v1")


def sign(repository: Repository, subject: bytes, how: str, media_type: str = MANIFEST) -> str:
    """The digest of the signature."""
    _, artifact_type, config_type = SIGNATURES[how]
    layer = secrets.token_bytes(20)
    document: dict[str, Any] = {
        "schemaVersion": 2, "mediaType": MANIFEST, "config": descriptor(config_type, b"{}"),
        "layers": [descriptor("application/octet-stream", layer)], "subject": descriptor(media_type, subject),
    }  # fmt: skip
    if artifact_type:
        document["artifactType"] = artifact_type
    repository.push_blob(b"{}")
    repository.push_blob(layer)
    return repository.push_manifest(encode(document))


def sign_simply(repository: Repository, digest: str, layer_type: str = SIMPLE_SIGNING) -> str:
    """As cosign did before there were subjects; the tag."""
    signature = new_image(1)
    document = encode(
        {
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": descriptor("application/vnd.oci.image.config.v1+json", signature.config),
            "layers": [descriptor(layer_type, signature.layers[0])],
        }
    )  # fmt: skip
    for blob in signature.blobs:
        repository.push_blob(blob)
    tag = digest.replace(":", "-") + ".sig"
    repository.push_manifest(document, tag)
    return tag


def assert_kept_back(answer: httpx.Response, message: str, **fields: Any) -> dict[str, Any]:
    error = assert_refused(answer, 412, "PROJECTPOLICYVIOLATION", **fields)
    assert error["message"] == message
    return error


# -- which policies are on


@pytest.mark.parametrize(
    ("metadata", "policies"),
    [
        ({}, set()),
        ({"public": "true", "auto_scan": "true", "auto_sbom_generation": "true", "severity": "low"}, set()),
        ({COSIGN: "true"}, {COSIGN}),
        ({COSIGN: "1", NOTATION: "TRUE"}, {COSIGN, NOTATION}),
        ({COSIGN: "false", NOTATION: "0", "prevent_vul": "no"}, set()),
        ({"prevent_vul": "true", "severity": "high"}, {"prevent_vul:high"}),
        ({"prevent_vul": "true"}, {"prevent_vul:unknown"}),
    ],
)
def test_policies_in_force(metadata: dict[str, str], policies: set[str]) -> None:
    """The texts that Harbor takes for true; create and PUT keep whatever was sent (contract 7)."""
    assert in_force(metadata) == policies


# -- signatures


@pytest.mark.parametrize("policy", [COSIGN, NOTATION])
@pytest.mark.parametrize("by", ["tag", "digest"])
def test_unsigned(place: Place, image: Image, policy: str, by: str) -> None:
    place.set(**{policy: "true"})
    path = "manifests/v1" if by == "tag" else f"manifests/{image.digest}"
    error = assert_kept_back(
        place.repository().get(path), UNSIGNED[policy],
        project=place.name, repository=f"{place.name}/app", digest=image.digest,
    )  # fmt: skip
    assert policy in error["detail"]["rule"]
    assert f"{place.name}/app@{image.digest}" in error["detail"]["fix"]
    assert place.name in error["detail"]["who"]
    head = place.repository().head(path)
    assert (head.status_code, head.content) == (412, b"")
    again = place.repository().get(path, headers={"If-None-Match": f'"{image.digest}"'})
    assert again.status_code == 412


@pytest.mark.parametrize("how", SIGNATURES)
def test_signed_by_a_referrer(place: Place, image: Image, how: str) -> None:
    place.set(**{SIGNATURES[how][0]: "true"})
    assert place.repository().get("manifests/v1").status_code == 412
    sign(place.repository(), image.payload, how)
    for reference in ("v1", image.digest):
        for _ in range(8):  # whichever process answers
            assert place.repository().get(f"manifests/{reference}").content == image.payload


def test_signed_by_a_tag(place: Place, image: Image) -> None:
    place.set(**{COSIGN: "true"})
    assert place.repository().get("manifests/v1").status_code == 412
    tag = sign_simply(place.repository(), image.digest)
    assert place.repository().get("manifests/v1").content == image.payload
    assert place.repository().get(f"manifests/{image.digest}").content == image.payload
    assert place.repository().get(f"manifests/{tag}").status_code == 200


def test_a_signature_may_come_first_or_get_its_tag_later(place: Place) -> None:
    place.set(**{COSIGN: "true"})
    repository, image = place.repository(), new_image()
    tag = sign_simply(repository, image.digest)
    repository.push_image("v1", image)
    assert repository.get("manifests/v1").status_code == 200
    other = repository.push_image("v2")
    signature = repository.get(f"manifests/{sign_simply(repository, digest_of(b'something else'))}").content
    assert_kept_back(repository.get("manifests/v2"), UNSIGNED[COSIGN])
    loose = encode({**json.loads(signature), "annotations": {"n": secrets.token_hex(4)}})
    repository.push_manifest(loose)
    assert_kept_back(repository.get(f"manifests/{digest_of(loose)}"), UNSIGNED[COSIGN])
    repository.push_manifest(loose, other.digest.replace(":", "-") + ".sig")
    assert repository.get("manifests/v2").status_code == 200
    assert repository.get(f"manifests/{digest_of(loose)}").status_code == 200
    # What it is does not hang on its tag any more.
    assert repository.delete(f"manifests/{tag}").status_code == 202
    assert repository.get("manifests/v1").status_code == 200


def test_nothing_signs_itself(place: Place) -> None:
    place.set(**{COSIGN: "true"})
    repository = place.repository()
    signature = repository.get(f"manifests/{sign_simply(repository, digest_of(b'something else'))}").content
    document = encode({**json.loads(signature), "annotations": {"n": secrets.token_hex(4)}})
    tag = digest_of(document).replace(":", "-") + ".sig"
    repository.push_manifest(document, tag)
    assert_kept_back(repository.get(f"manifests/{tag}"), UNSIGNED[COSIGN])


def test_a_tag_alone_is_no_signature(place: Place, image: Image) -> None:
    place.set(**{COSIGN: "true"})
    tag = sign_simply(place.repository(), image.digest, layer_type="application/vnd.example.layer")
    assert_kept_back(place.repository().get("manifests/v1"), UNSIGNED[COSIGN])
    assert_kept_back(place.repository().get(f"manifests/{tag}"), UNSIGNED[COSIGN])


@pytest.mark.parametrize("how", SIGNATURES)
def test_signatures_themselves_are_served(place: Place, image: Image, how: str) -> None:
    place.set(**{COSIGN: "true", NOTATION: "true", "prevent_vul": "true", "severity": "low"})
    digest = sign(place.repository(), image.payload, how)
    assert place.repository().get(f"manifests/{digest}").status_code == 200
    tag = sign_simply(place.repository(), image.digest)
    assert place.repository().get(f"manifests/{tag}").status_code == 200


def test_both_policies_want_both_signatures(place: Place, image: Image) -> None:
    place.set(**{COSIGN: "true", NOTATION: "true"})
    assert_kept_back(place.repository().get("manifests/v1"), UNSIGNED[COSIGN])
    sign(place.repository(), image.payload, "cosign")
    assert_kept_back(place.repository().get("manifests/v1"), UNSIGNED[NOTATION])
    sign(place.repository(), image.payload, "notation")
    assert place.repository().get("manifests/v1").status_code == 200


def test_what_is_no_signature(place: Place, image: Image) -> None:
    """Other referrers, a signature of something else, one in another repository, and one without a subject."""
    place.set(**{NOTATION: "true"})
    repository = place.repository()
    other = repository.push_image("v2")
    sign(repository, other.payload, "notation")
    sign(repository, image.payload, "cosign")
    place.repository("copy").push_image("v1", image)
    sign(place.repository("copy"), image.payload, "notation")
    assert_kept_back(repository.get("manifests/v1"), UNSIGNED[NOTATION])
    config = b"{}"
    loner = encode({
        "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "application/vnd.cncf.notary.signature",
        "config": descriptor(EMPTY, config), "layers": [],
    })  # fmt: skip
    repository.push_blob(config)
    assert_kept_back(repository.get(f"manifests/{repository.push_manifest(loner)}"), UNSIGNED[NOTATION])


def test_a_signature_that_is_deleted_signs_no_more(place: Place, image: Image) -> None:
    place.set(**{NOTATION: "true"})
    digest = sign(place.repository(), image.payload, "notation")
    assert place.repository().get("manifests/v1").status_code == 200
    assert place.repository().delete(f"manifests/{digest}").status_code == 202
    for _ in range(8):
        assert_kept_back(place.repository().get("manifests/v1"), UNSIGNED[NOTATION])


@pytest.mark.parametrize("how", ["cosign", "notation", "tag"])
def test_a_signature_on_an_index_covers_its_children(place: Place, image: Image, how: str) -> None:
    """Clients sign the index that they pushed, and pull its children by digest."""
    repository = place.repository()
    index = encode(index_document([image.payload]))
    repository.push_manifest(index, "all", INDEX)
    place.set(**{NOTATION if how == "notation" else COSIGN: "true"})
    assert repository.get(f"manifests/{image.digest}").status_code == 412
    if how == "tag":
        sign_simply(repository, digest_of(index))
    else:
        sign(repository, index, how, INDEX)
    assert repository.get("manifests/all").status_code == 200
    assert repository.get(f"manifests/{image.digest}").status_code == 200


def test_a_signature_on_a_child_does_not_cover_the_index(place: Place, image: Image) -> None:
    repository = place.repository()
    repository.push_manifest(encode(index_document([image.payload])), "all", INDEX)
    sign(repository, image.payload, "cosign")
    place.set(**{COSIGN: "true"})
    assert repository.get(f"manifests/{image.digest}").status_code == 200
    assert_kept_back(repository.get("manifests/all"), UNSIGNED[COSIGN])


# -- who passes


AGENTS = ["cosign/v2.0.0", "notation/1.0"]


@pytest.mark.parametrize("agent", AGENTS)
def test_a_signer_that_may_push_reads_what_it_signs(place: Place, image: Image, agent: str) -> None:
    """By token only; Basic and tokens that only pull are refused (golden: v2_signature_policy)."""
    place.set(**{COSIGN: "true", "prevent_vul": "true"})
    agent_header = {"User-Agent": agent}
    guest = place.server.create_robot(place.name, ["pull"])
    name = f"{place.name}/app"
    pull_only = place.server.repository(name, token=place.server.token(guest, f"repository:{name}:pull"))
    assert place.bearer("pull", "push").get("manifests/v1", headers=agent_header).content == image.payload
    assert_kept_back(place.bearer("pull", "push").get("manifests/v1"), UNSIGNED[COSIGN])
    assert_kept_back(place.repository().get("manifests/v1", headers=agent_header), UNSIGNED[COSIGN])
    assert_kept_back(pull_only.get("manifests/v1", headers=agent_header), UNSIGNED[COSIGN])


def test_a_signature_under_a_tag_is_an_accessory(place: Place, image: Image) -> None:
    """It is listed with its subject, not beside it, and goes with it (contract 3.4)."""
    tag = sign_simply(place.repository(), image.digest)
    artifacts = f"/projects/{place.name}/repositories/app/artifacts"
    (accessory,) = place.server.rest.get(f"{artifacts}/v1/accessories").json()
    signature = place.repository().head(f"manifests/{tag}").headers["Docker-Content-Digest"]
    assert (accessory["type"], accessory["digest"]) == ("signature.cosign", signature)
    assert accessory["subject_artifact_digest"] == image.digest
    assert [a["digest"] for a in place.server.rest.get(artifacts).json()] == [image.digest]
    assert place.server.rest.delete(f"{artifacts}/v1").status_code == 200
    assert place.repository().get(f"manifests/{tag}").status_code == 404


def test_blobs_and_absent_manifests_are_no_business_of_policies(place: Place, image: Image) -> None:
    place.set(**{COSIGN: "true", "prevent_vul": "true"})
    assert place.repository().get(f"blobs/{digest_of(image.layers[0])}").content == image.layers[0]
    assert_refused(place.repository().get("manifests/absent"), 404, "MANIFEST_UNKNOWN")
    assert place.repository().get("tags/list").json()["tags"] == ["v1"]


def test_anonymous_pulls_of_a_public_project_are_refused_too(server: Server) -> None:
    place = Place(server, server.create_project(public=True))
    place.repository().push_image("v1")
    name = f"{place.name}/app"
    before = server.repository(name, token=server.token(None, f"repository:{name}:pull"))
    assert before.get("manifests/v1").status_code == 200
    place.set(**{COSIGN: "true"})
    after = server.repository(name, token=server.token(None, f"repository:{name}:pull"))
    for repository in (before, after):
        assert_kept_back(repository.get("manifests/v1"), UNSIGNED[COSIGN])


@pytest.mark.parametrize("how", ["token", "basic"])
def test_a_change_reaches_credentials_in_use(place: Place, image: Image, how: str) -> None:
    repository = place.bearer("pull") if how == "token" else place.repository()
    for value, status in (("false", 200), ("true", 412), ("false", 200)):
        place.set(**{COSIGN: value})
        assert {repository.get("manifests/v1").status_code for _ in range(8)} == {status}
    place.server.rest.put(f"/projects/{place.name}/metadatas/{COSIGN}", json={COSIGN: "true"})
    assert repository.get("manifests/v1").status_code == 412
    place.server.rest.delete(f"/projects/{place.name}/metadatas/{COSIGN}")
    assert repository.get("manifests/v1").status_code == 200


def test_another_project_is_left_alone(place: Place, image: Image, server: Server) -> None:
    other = Place(server, server.create_project())
    other.repository().push_image("v1", image)
    place.set(**{COSIGN: "true"})
    assert other.repository().get("manifests/v1").status_code == 200
    names = [f"{p.name}/app" for p in (place, other)]
    token = server.token(ADMIN, *(f"repository:{name}:pull" for name in names))
    statuses = [server.repository(name, token=token).get("manifests/v1").status_code for name in names]
    assert statuses == [412, 200]


# -- vulnerabilities


@pytest.mark.parametrize(
    ("severity", "shown"), [("none", "None"), ("low", "Low"), ("HIGH", "High"), ("critical", "Critical")]
)
def test_not_scanned(place: Place, image: Image, severity: str, shown: str) -> None:
    """There is no scanner yet: nothing is scanned, and nothing that should be is served."""
    place.set(prevent_vul="true", severity=severity)
    for reference in ("v1", image.digest):
        error = assert_kept_back(
            place.repository().get(f"manifests/{reference}"), NOT_SCANNED.format(shown), project=place.name
        )
        assert "no scanner" in error["detail"]["rule"]
        assert "prevent_vul" in error["detail"]["fix"]
        assert place.repository().head(f"manifests/{reference}").status_code == 412


def test_an_index_of_images_is_not_scanned_either(place: Place, image: Image) -> None:
    place.repository().push_manifest(encode(index_document([image.payload])), "all", INDEX)
    place.set(prevent_vul="true", severity="high")
    assert_kept_back(place.repository().get("manifests/all"), NOT_SCANNED.format("High"))


@pytest.mark.parametrize("config_type", [HELM_CONFIG, "application/vnd.example.c.v1+json"])
def test_what_cannot_be_scanned_is_served(place: Place, config_type: str) -> None:
    place.repository().push_image("v1", new_image(config_type=config_type))
    place.set(prevent_vul="true", severity="low")
    assert place.repository().get("manifests/v1").status_code == 200


def test_signatures_are_asked_first(place: Place, image: Image) -> None:
    place.set(**{COSIGN: "true", "prevent_vul": "true", "severity": "high"})
    assert_kept_back(place.repository().get("manifests/v1"), UNSIGNED[COSIGN])
    sign(place.repository(), image.payload, "cosign")
    assert_kept_back(place.repository().get("manifests/v1"), NOT_SCANNED.format("High"))
