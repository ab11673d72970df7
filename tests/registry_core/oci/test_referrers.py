"""What refers to a digest (distribution-spec "Listing Referrers", "Referrers Tag Schema"; contract 3.4)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.content import (
    CONFIG,
    INDEX,
    MANIFEST,
    absent_digest,
    descriptor,
    digest_of,
    encode,
    image_document,
    index_document,
    new_bytes,
)
from tests.server import Pair, Repository, Server, assert_refused, new_image

SIGNATURE, SBOM = "application/vnd.acme.signature", "application/vnd.acme.sbom"


def refer(repository: Repository, subject: bytes | str, artifact_type: str = "", **changes: Any) -> bytes:
    """Push a referrer of these bytes or of this digest; its payload."""
    about = descriptor(MANIFEST, b"" if isinstance(subject, str) else subject)
    if isinstance(subject, str):
        about["digest"] = subject
    if artifact_type:
        changes["artifactType"] = artifact_type
    image = new_image(1, subject=about, **changes)
    for blob in image.blobs:
        repository.push_blob(blob)
    answer = repository.put_manifest(image.payload)
    assert answer.status_code == 201, answer.text
    assert answer.headers["OCI-Subject"] == about["digest"]
    return image.payload


def entry(payload: bytes, artifact_type: str, media_type: str = MANIFEST, **more: Any) -> dict[str, Any]:
    return {
        "mediaType": media_type,
        "digest": digest_of(payload),
        "size": len(payload),
        "artifactType": artifact_type,
        **more,
    }


def test_nobody_refers_to_what_nobody_knows(repository: Repository) -> None:
    answer = repository.get(f"referrers/{absent_digest()}")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == INDEX
    assert answer.headers["X-Total-Count"] == "0"
    assert answer.json() == {"schemaVersion": 2, "mediaType": INDEX, "manifests": []}
    head = repository.head(f"referrers/{absent_digest()}")
    assert (head.status_code, head.content) == (200, b"")


def test_each_referrer_is_described(repository: Repository) -> None:
    image = repository.push_image("v1")
    signature = refer(repository, image.payload, SIGNATURE, annotations={"a": "1", "ü": "\u202e"})
    plain = refer(repository, image.payload)
    document = index_document([image.payload], subject=descriptor(MANIFEST, image.payload), artifactType=SBOM)
    repository.push_manifest(encode(document), "", INDEX)
    refer(repository, repository.push_image().payload, SIGNATURE)
    answer = repository.get(f"referrers/{image.digest}")
    assert answer.headers["X-Total-Count"] == "3"
    assert "OCI-Filters-Applied" not in answer.headers
    assert answer.json()["manifests"] == [
        entry(signature, SIGNATURE, annotations={"a": "1", "ü": "\u202e"}),
        entry(plain, CONFIG),  # without a type of its own it carries its config's
        entry(encode(document), SBOM, INDEX),
    ]


def test_a_filter_by_type(repository: Repository) -> None:
    image = repository.push_image("v1")
    signature = refer(repository, image.payload, SIGNATURE)
    refer(repository, image.payload, SBOM)
    plain = refer(repository, image.payload)
    for wanted, payloads in ((SIGNATURE, [signature]), (CONFIG, [plain]), ("none/such", [])):
        answer = repository.get(f"referrers/{image.digest}", params={"artifactType": wanted})
        assert answer.headers["OCI-Filters-Applied"] == "artifactType"
        assert answer.headers["X-Total-Count"] == "3"
        assert answer.json()["manifests"] == [entry(p, wanted) for p in payloads]


@pytest.mark.parametrize("wanted", ["\0", "'; --", "x" * 5000, "\ud83d"])
def test_any_text_may_be_asked_for(repository: Repository, wanted: str) -> None:
    query = wanted.encode("utf-8", "surrogatepass").hex("%")
    answer = repository.get(f"referrers/{absent_digest()}?artifactType=%{query}")
    assert (answer.status_code, answer.json()["manifests"]) == (200, [])


def test_an_empty_filter_is_none(repository: Repository) -> None:
    image = repository.push_image("v1")
    refer(repository, image.payload, SIGNATURE)
    answer = repository.get(f"referrers/{image.digest}", params={"artifactType": ""})
    assert len(answer.json()["manifests"]) == 1
    assert "OCI-Filters-Applied" not in answer.headers


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_a_referrer_may_come_before_its_subject(repository: Repository, algorithm: str) -> None:
    image = new_image()
    digest = digest_of(image.payload, algorithm)
    referrer = refer(repository, digest, SIGNATURE)
    assert repository.get(f"referrers/{digest}").json()["manifests"] == [entry(referrer, SIGNATURE)]
    assert_refused(repository.get(f"manifests/{digest}"), 404, "MANIFEST_UNKNOWN")
    for blob in image.blobs:
        repository.push_blob(blob)
    assert repository.put_manifest(image.payload, digest).status_code == 201
    assert repository.get(f"referrers/{digest}").json()["manifests"] == [entry(referrer, SIGNATURE)]
    # Held together from now on.
    assert repository.delete(f"manifests/{digest}").status_code == 202
    assert_refused(repository.get(f"manifests/{digest_of(referrer)}"), 404, "MANIFEST_UNKNOWN")


def test_referrers_are_those_of_the_repository(repository: Repository, server: Server, robot: Pair) -> None:
    image = repository.push_image("v1")
    refer(repository, image.payload, SIGNATURE)
    other = server.repository(f"{repository.name}-2", robot)
    other.push_image("v1", image)
    assert other.get(f"referrers/{image.digest}").json()["manifests"] == []


# -- what clients wrote where a registry had no such list: an index under the tag <algorithm>-<hex>


def test_referrers_of_the_tag_schema_are_listed_too(repository: Repository) -> None:
    image = repository.push_image("v1")
    signature = refer(repository, image.payload, SIGNATURE)
    old = repository.push_image("", new_image(1, artifactType=SBOM))
    listed = encode(index_document([signature, old.payload]))
    repository.push_manifest(listed, image.digest.replace(":", "-"), INDEX)
    answer = repository.get(f"referrers/{image.digest}")
    assert answer.json()["manifests"] == [entry(signature, SIGNATURE), entry(old.payload, SBOM)]
    assert answer.headers["X-Total-Count"] == "2"
    answer = repository.get(f"referrers/{image.digest}", params={"artifactType": SBOM})
    assert answer.json()["manifests"] == [entry(old.payload, SBOM)]
    assert answer.headers["X-Total-Count"] == "2"


def test_the_tag_schema_of_a_sha512_digest_is_cut_short(repository: Repository) -> None:
    """distribution-spec "Referrers Tag Schema": 32 characters of the algorithm, 64 of the hex."""
    digest = digest_of(new_bytes(), "sha512")
    old = repository.push_image("", new_image(1, artifactType=SBOM))
    tag = f"sha512-{digest.partition(':')[2][:64]}"
    repository.push_manifest(encode(index_document([old.payload])), tag, INDEX)
    assert repository.get(f"referrers/{digest}").json()["manifests"] == [entry(old.payload, SBOM)]


# -- pages


def walk(repository: Repository, path: str) -> list[list[dict[str, Any]]]:
    pages = []
    while path:
        answer = repository.client.get(path.removeprefix("/v2"))
        assert answer.status_code == 200, answer.text
        assert len(answer.content) <= 4 << 20
        pages.append(answer.json()["manifests"])
        path = answer.links["next"]["url"] if "next" in answer.links else ""
    return pages


def test_a_page_is_no_larger_than_a_manifest_may_be(repository: Repository) -> None:
    """Ten of 500,000 bytes each do not fit into 4 MiB."""
    subject, config = absent_digest(), new_bytes()
    repository.push_blob(config)
    expected = []
    for i in range(10):
        document = image_document(
            config, [], subject={"mediaType": MANIFEST, "digest": subject, "size": 1},
            artifactType=SIGNATURE if i % 2 else SBOM, annotations={"number": str(i), "fill": "x" * 500_000},
        )  # fmt: skip
        repository.push_manifest(encode(document))
        expected.append(digest_of(encode(document)))
    pages = walk(repository, f"/v2/{repository.name}/referrers/{subject}")
    assert [len(page) for page in pages] == [8, 2]
    assert [entry["digest"] for page in pages for entry in page] == expected
    filtered = walk(repository, f"/v2/{repository.name}/referrers/{subject}?artifactType={SBOM}")
    assert [entry["digest"] for page in filtered for entry in page] == expected[::2]


def test_thousands_of_referrers_come_in_pages(server: Server, repository: Repository) -> None:
    image = repository.push_image("v1")
    refer(repository, image.payload, SIGNATURE)
    server.rows(
        "INSERT INTO registry_core_artifact (repository_id, digest, media_type, artifact_type, kind, "
        "config_media_type, size, subject_digest, subject_id, annotations, payload) "
        "SELECT repository_id, 'sha256:' || encode(sha256(d), 'hex'), media_type, artifact_type, kind, "
        "config_media_type, 2, subject_digest, subject_id, '{}', d FROM "
        "(SELECT a.*, convert_to(format('{\"n\":%%s}', n), 'UTF8') AS d FROM registry_core_artifact a, "
        "generate_series(1, 4100) AS n WHERE a.subject_digest = %s) AS copies",
        image.digest,
    )
    pages = walk(repository, f"/v2/{repository.name}/referrers/{image.digest}")
    assert [len(page) for page in pages] == [2000, 2000, 101]
    assert len({entry["digest"] for page in pages for entry in page}) == 4101
    answer = repository.get(f"referrers/{image.digest}")
    assert answer.headers["X-Total-Count"] == "4101"
    assert repository.delete(f"manifests/{image.digest}").status_code == 202


@pytest.mark.parametrize("last", ["x", "-1", "1.5", "9" * 30, "1 OR 1=1"])
def test_a_page_begins_where_this_registry_said(repository: Repository, last: str) -> None:
    answer = repository.get(f"referrers/{absent_digest()}", params={"last": last})
    assert_refused(answer, 400, "BAD_REQUEST", last=last)


@pytest.mark.parametrize("digest", ["latest", "sha256:0", "md5:" + "0" * 32])
def test_only_digests_have_referrers(repository: Repository, digest: str) -> None:
    assert_refused(repository.get(f"referrers/{digest}"), 400, "DIGEST_INVALID")


def test_an_index_is_json_to_the_byte(repository: Repository) -> None:
    image = repository.push_image("v1")
    refer(repository, image.payload, SIGNATURE)
    answer = repository.get(f"referrers/{image.digest}")
    assert answer.headers["Content-Length"] == str(len(answer.content))
    assert json.loads(answer.content)["schemaVersion"] == 2
