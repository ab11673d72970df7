"""Pushing and pulling manifests (distribution-spec "Pushing Manifests", "Pulling manifests"; design 3, Push)."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx
import pytest

from tests.content import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    HELM_CONFIG,
    INDEX,
    LAYER,
    MANIFEST,
    absent_digest,
    descriptor,
    digest_of,
    encode,
    image_document,
    index_document,
    new_bytes,
)
from tests.server import Repository, Server, assert_refused, new_image

MIB = 1 << 20


def assert_pulled(repository: Repository, reference: str, payload: bytes, media_type: str = MANIFEST) -> None:
    for method in ("GET", "HEAD"):
        answer = repository.request(method, f"manifests/{reference}")
        assert answer.status_code == 200, answer.text
        assert answer.content == (payload if method == "GET" else b"")
        assert answer.headers["Content-Type"] == media_type
        assert answer.headers["Content-Length"] == str(len(payload))
        assert answer.headers["Docker-Content-Digest"] == digest_of(payload)
        assert answer.headers["ETag"] == f'"{digest_of(payload)}"'
        assert answer.headers["Docker-Distribution-Api-Version"] == "registry/2.0"


def assert_nothing_there(repository: Repository) -> None:
    assert_refused(repository.get("tags/list"), 404, "NAME_UNKNOWN")


# -- pushing


@pytest.mark.parametrize("by", ["tag", "digest"])
def test_push_and_pull(server: Server, repository: Repository, by: str) -> None:
    image = new_image()
    for blob in image.blobs:
        repository.push_blob(blob)
    answer = repository.put_manifest(image.payload, "v1" if by == "tag" else "")
    assert (answer.status_code, answer.content) == (201, b"")
    assert answer.headers["Location"] == f"{server.url}/v2/{repository.name}/manifests/{image.digest}"
    assert answer.headers["Docker-Content-Digest"] == image.digest
    assert "OCI-Subject" not in answer.headers
    assert "OCI-Tag" not in answer.headers
    assert_pulled(repository, "v1" if by == "tag" else image.digest, image.payload)
    assert repository.get("tags/list").json()["tags"] == (["v1"] if by == "tag" else [])


def test_the_bytes_are_kept_as_they_were_pushed(repository: Repository) -> None:
    image = repository.push_image()
    payload = json.dumps(json.loads(image.payload), indent=3).replace("\n", "\r\n").encode() + b"\n \n"
    repository.push_manifest(payload, "odd")
    assert_pulled(repository, "odd", payload)


def test_pushing_again_changes_nothing(server: Server, repository: Repository) -> None:
    image = repository.push_image("v1")
    before = server.rows("SELECT count(*) FROM registry_core_eventoutbox")
    assert repository.put_manifest(image.payload, "v1").status_code == 201
    assert server.rows("SELECT count(*) FROM registry_core_eventoutbox") == before


def test_a_tag_moves_and_its_history_says_where(server: Server, repository: Repository) -> None:
    first, second = repository.push_image("v1"), repository.push_image("v1")
    assert_pulled(repository, "v1", second.payload)
    assert_pulled(repository, first.digest, first.payload)
    history = server.rows(
        "SELECT h.from_digest, h.to_digest FROM registry_core_taghistory h JOIN registry_core_repository r "
        "ON r.id = h.repository_id WHERE r.path = %s ORDER BY h.id",
        repository.name.partition("/")[2],
    )
    assert history == [("", first.digest), (first.digest, second.digest)]


def test_a_sha512_digest_names_it_too(repository: Repository) -> None:
    image = new_image()
    for blob in image.blobs:
        repository.push_blob(blob)
    digest = digest_of(image.payload, "sha512")
    answer = repository.put_manifest(image.payload, digest, params={"tag": "v1"})
    assert (answer.status_code, answer.headers["Docker-Content-Digest"]) == (201, digest)
    for reference in (digest, "v1"):
        answer = repository.get(f"manifests/{reference}")
        assert (answer.content, answer.headers["Docker-Content-Digest"]) == (image.payload, digest)


def test_docker_schema_2(repository: Repository) -> None:
    image = new_image(mediaType=DOCKER_MANIFEST)
    for blob in image.blobs:
        repository.push_blob(blob)
    repository.push_manifest(image.payload, "v1", DOCKER_MANIFEST)
    assert_pulled(repository, "v1", image.payload, DOCKER_MANIFEST)
    listed = encode(index_document([image.payload], mediaType=DOCKER_LIST))
    repository.push_manifest(listed, "list", DOCKER_LIST)
    assert_pulled(repository, "list", listed, DOCKER_LIST)


def test_what_helm_pushes(repository: Repository) -> None:
    config, chart = b'{"name":"nginx","version":"1.0.0"}', new_bytes()
    document = image_document(config, [chart], config_type=HELM_CONFIG)
    del document["mediaType"]
    for blob in (config, chart):
        repository.push_blob(blob)
    repository.push_manifest(encode(document), "1.0.0")
    assert_pulled(repository, "1.0.0", encode(document))


def test_an_index_and_its_children(repository: Repository) -> None:
    children = [repository.push_image().payload for _ in range(2)]
    payload = encode(index_document(children))
    repository.push_manifest(payload, "v1", INDEX)
    assert_pulled(repository, "v1", payload, INDEX)


def test_an_empty_index(repository: Repository) -> None:
    payload = encode(index_document([], annotations={"a": absent_digest()}))
    repository.push_manifest(payload, "v1", INDEX)
    assert_pulled(repository, "v1", payload, INDEX)


@pytest.mark.parametrize(
    "text", ["\0", "a\0b", "\ud800", "\u202e", "\U0001f433", "'; DROP TABLE x; --", "\x1b[31m"]
)
def test_any_text_may_be_an_annotation(server: Server, repository: Repository, text: str) -> None:
    """Also what PostgreSQL cannot store: the document is given back to the byte all the same."""
    image = new_image(annotations={text: text})
    repository.push_image("v1", image)
    assert_pulled(repository, "v1", image.payload)


@pytest.mark.parametrize(
    "config", [b"", b"not json", b"[]", b'{"config":NaN}', b'{"os":1e999}', b'{"os":"\\u0000"}', b"\xff"]
)
def test_any_bytes_may_be_a_config(repository: Repository, config: bytes) -> None:
    payload = encode(image_document(config, [], annotations={"unique": absent_digest()}))
    repository.push_blob(config)
    repository.push_manifest(payload, "v1")
    assert_pulled(repository, "v1", payload)


@pytest.mark.parametrize("form", ["nondistributable", "foreign", "urls"])
def test_a_layer_that_lies_elsewhere_need_not_be_here(repository: Repository, form: str) -> None:
    media_type = {
        "nondistributable": "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "foreign": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "urls": LAYER,
    }[form]
    elsewhere = descriptor(media_type, new_bytes())
    if form == "urls":
        elsewhere["urls"] = ["https://example.test/layer"]
    config, layer = new_bytes(), new_bytes()
    for blob in (config, layer):
        repository.push_blob(blob)
    payload = encode(image_document(config, [], layers=[elsewhere, descriptor(LAYER, layer)]))
    repository.push_manifest(payload, "v1")
    assert_pulled(repository, "v1", payload)
    assert_refused(repository.get(f"blobs/{elsewhere['digest']}"), 404, "BLOB_UNKNOWN")


# -- tag parameters (distribution-spec "Pushing a manifest by digest with tags"; design 3: up to 16, one OCI-Tag each)


def test_a_push_by_digest_sets_up_to_16_tags(repository: Repository) -> None:
    image = repository.push_image("old")
    tags = [f"t{i:02}" for i in range(16)]
    answer = repository.put_manifest(image.payload, image.digest, params={"tag": tags})
    assert answer.status_code == 201
    assert sorted(answer.headers.get_list("OCI-Tag")) == tags
    assert repository.get("tags/list").json()["tags"] == sorted(["old", *tags])
    assert_pulled(repository, "t07", image.payload)


def test_a_tag_that_is_named_twice_is_set_once(repository: Repository) -> None:
    image = repository.push_image()
    answer = repository.put_manifest(image.payload, image.digest, params={"tag": ["a", "b", "a"]})
    assert sorted(answer.headers.get_list("OCI-Tag")) == ["a", "b"]


def test_17_tags_are_too_many(repository: Repository) -> None:
    image = repository.push_image()
    tags = [f"t{i}" for i in range(17)]
    answer = repository.put_manifest(image.payload, image.digest, params={"tag": tags})
    assert answer.status_code in (400, 414)
    assert answer.json()["errors"][0]["detail"] == {"limit": 16, "given": 17}
    assert repository.get("tags/list").json()["tags"] == []


def test_one_bad_tag_sets_none(repository: Repository) -> None:
    image = repository.push_image()
    answer = repository.put_manifest(image.payload, image.digest, params={"tag": ["good", ".bad"]})
    assert_refused(answer, 400, "BAD_REQUEST", tag=".bad")
    assert repository.get("tags/list").json()["tags"] == []


def test_tag_parameters_do_not_count_beside_a_tag(repository: Repository) -> None:
    image = repository.push_image()
    answer = repository.put_manifest(image.payload, "v1", params={"tag": "other"})
    assert (answer.status_code, answer.headers.get("OCI-Tag")) == (201, None)
    assert repository.get("tags/list").json()["tags"] == ["v1"]


# -- refusals


def test_each_missing_blob_is_an_error_of_its_own(repository: Repository) -> None:
    image = new_image(layers=3)
    repository.push_blob(image.layers[1])
    answer = repository.put_manifest(image.payload, "v1")
    missing = [digest_of(blob) for blob in (image.config, image.layers[0], image.layers[2])]
    assert answer.status_code == 400
    assert answer.json()["errors"] == [
        {"code": "MANIFEST_BLOB_UNKNOWN", "message": "blob unknown to registry", "detail": digest}
        for digest in missing
    ]
    assert_nothing_there(repository)


def test_a_missing_child_is_missing_too(repository: Repository) -> None:
    here, absent = repository.push_image().payload, encode(image_document(new_bytes(), []))
    answer = repository.put_manifest(encode(index_document([here, absent])), "v1", INDEX)
    assert_refused(answer, 400, "MANIFEST_BLOB_UNKNOWN", digest_of(absent))
    assert_refused(repository.get("manifests/v1"), 404, "MANIFEST_UNKNOWN")


def test_a_blob_of_another_repository_is_missing_here(repository: Repository, client: httpx.Client) -> None:
    image = repository.push_image("v1")
    other = Repository(client, f"{repository.name}-2")
    answer = other.put_manifest(image.payload, "v1")
    assert [error["detail"] for error in answer.json()["errors"]] == [digest_of(b) for b in image.blobs]


def test_a_child_of_another_repository_is_missing_here(repository: Repository, client: httpx.Client) -> None:
    child = repository.push_image("v1").payload
    other = Repository(client, f"{repository.name}-2")
    answer = other.put_manifest(encode(index_document([child])), "v1", INDEX)
    assert_refused(answer, 400, "MANIFEST_BLOB_UNKNOWN", digest_of(child))


@pytest.mark.parametrize("given", ["", "application/json", "text/html", INDEX])
def test_the_content_type_must_fit(repository: Repository, given: str) -> None:
    image = new_image()
    headers = {"Content-Type": given} if given else {}
    answer = repository.request("PUT", "manifests/v1", content=image.payload, headers=headers)
    assert assert_refused(answer, 400, "MANIFEST_INVALID")["message"].startswith("manifest invalid: ")
    assert_nothing_there(repository)


@pytest.mark.parametrize("suffix", ["json", "prettyjws"])
def test_schema_1_is_refused_with_a_sentence(repository: Repository, suffix: str) -> None:
    payload = b'{"schemaVersion":1,"name":"a","tag":"b","fsLayers":[],"history":[],"signatures":[]}'
    answer = repository.put_manifest(
        payload, "v1", f"application/vnd.docker.distribution.manifest.v1+{suffix}"
    )
    error = assert_refused(answer, 400, "MANIFEST_INVALID")
    assert error["message"] == "manifest invalid: Docker schema 1 manifests are not accepted"
    assert "skopeo" in error["detail"]["fix"]


HOSTILE = {
    "double key": b'{"schemaVersion":2,"schemaVersion":2,"config":{},"layers":[]}',
    "double key inside": b'{"schemaVersion":2,"config":{"size":1,"size":2},"layers":[]}',
    "both": encode(image_document(b"{}", [], manifests=[])),
    "depth bomb": b'{"schemaVersion":2,"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "depth bomb of objects": b'{"x":' * 100_000 + b"1" + b"}" * 100_000,
    "NaN": b'{"schemaVersion":2,"config":NaN,"layers":[]}',
    "Infinity": b'{"schemaVersion":2,"config":{"size":Infinity},"layers":[]}',
    "1e999": b'{"schemaVersion":2,"config":{"size":1e999},"layers":[]}',
    "invalid UTF-8": b'{"schemaVersion":2,"a":"\xff"}',
    "UTF-16": '{"schemaVersion":2}'.encode("utf-16"),
    "byte order mark": b"\xef\xbb\xbf{}",
    "NUL": b'{"schemaVersion":2,"a":"\x00"}',
    "no JSON": b"<html>",
    "nothing": b"",
    "a list": b"[]",
    "a long number": b'{"schemaVersion":2,"a":' + b"9" * 100_000 + b"}",
    "header in a media type": encode(image_document(b"{}", [], config={"mediaType": "a\r\nX-Evil: 1"})),
    "negative size": encode(image_document(b"{}", [], layers=[descriptor(LAYER, b"x") | {"size": -1}])),
    "sizes beyond all disks": encode(
        image_document(b"{}", [], layers=[descriptor(LAYER, i) | {"size": (1 << 62) - 1} for i in (b"a", b"b", b"c")])
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_document_is_refused(repository: Repository, what: str) -> None:
    answer = repository.put_manifest(HOSTILE[what], "v1")
    error = assert_refused(answer, 400, "MANIFEST_INVALID")
    assert error["detail"]["reason"]
    assert_nothing_there(repository)


def of_size(repository: Repository, size: int) -> bytes:
    config = new_bytes()
    repository.push_blob(config)
    document = image_document(config, [], annotations={"fill": ""})
    document["annotations"]["fill"] = "x" * (size - len(encode(document)))
    return encode(document)


def test_4_mib_are_accepted(repository: Repository) -> None:
    payload = of_size(repository, 4 * MIB)
    assert len(payload) == 4194304
    repository.push_manifest(payload, "v1")
    assert_pulled(repository, "v1", payload)


@pytest.mark.parametrize("chunked", [False, True])
def test_one_byte_more_is_refused(repository: Repository, chunked: bool) -> None:
    payload = of_size(repository, 4 * MIB + 1)

    def pieces() -> Iterator[bytes]:
        yield payload

    answer = repository.request(
        "PUT", "manifests/v1", content=pieces() if chunked else payload, headers={"Content-Type": MANIFEST}
    )
    assert_refused(answer, 413, "REQUEST_ENTITY_TOO_LARGE", limit=4194304)
    assert_nothing_there(repository)


def test_the_digest_must_be_the_contents(repository: Repository) -> None:
    image = repository.push_image()
    other = absent_digest()
    answer = repository.put_manifest(image.payload, other)
    assert_refused(answer, 400, "DIGEST_INVALID", given=other, computed=image.digest)


@pytest.mark.parametrize("reference", ["absent", absent_digest()], ids=["tag", "digest"])
def test_an_absent_manifest(repository: Repository, reference: str) -> None:
    repository.push_image("v1")
    error = assert_refused(repository.get(f"manifests/{reference}"), 404, "MANIFEST_UNKNOWN")
    sign = "@" if ":" in reference else ":"
    assert error["message"] == f"artifact {repository.name}{sign}{reference} not found"


def test_an_absent_manifest_of_an_absent_repository_sounds_the_same(repository: Repository) -> None:
    assert_refused(repository.get("manifests/v1"), 404, "MANIFEST_UNKNOWN")


# -- sparse manifests (the setting allow_sparse; off unless switched on)


@pytest.fixture
def sparse(server: Server, repository: Repository) -> Iterator[Repository]:
    """A repository into which incomplete manifests may be pushed; they are gone afterwards."""
    server.configure("allow_sparse", value=True)
    yield repository
    server.configure("allow_sparse", value=False)
    project, _, path = repository.name.partition("/")
    assert server.rest.delete(f"/projects/{project}/repositories/{path}").status_code == 200


def test_a_sparse_image_is_taken_and_its_missing_part_is_absent(sparse: Repository) -> None:
    image = new_image()
    sparse.push_blob(image.config)
    sparse.push_manifest(image.payload, "v1")
    assert_pulled(sparse, "v1", image.payload)
    assert_refused(sparse.get(f"blobs/{digest_of(image.layers[0])}"), 404, "BLOB_UNKNOWN")


def test_a_sparse_index_finds_its_child_when_it_comes(server: Server, sparse: Repository) -> None:
    image = new_image()
    payload = encode(index_document([image.payload]))
    sparse.push_manifest(payload, "v1", INDEX)
    assert_refused(sparse.get(f"manifests/{image.digest}"), 404, "MANIFEST_UNKNOWN")
    sparse.push_image("", image)
    assert_pulled(sparse, image.digest, image.payload)
    # Held by the index from now on.
    answer = sparse.delete(f"manifests/{image.digest}")
    assert_refused(answer, 412, "VIOLATE_FOREIGN_KEY_CONSTRAINT", indexes=[digest_of(payload)])


def test_a_sparse_image_holds_its_layer_when_it_comes(server: Server, sparse: Repository) -> None:
    """A layer that arrives later is part of the image from then on, and outlives the lease of its push."""
    image = new_image()
    sparse.push_blob(image.config)
    sparse.push_manifest(image.payload, "v1")
    for layer in image.layers:
        sparse.push_blob(layer)
    server.rows("UPDATE registry_core_repositoryblob SET leased_until = now() - interval '1 minute'")
    server.rows("UPDATE registry_core_collectorcandidate SET due_at = now()")
    server.collect()
    sparse.assert_holds(image, "v1")
