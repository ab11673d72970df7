"""Manifests as values: what is read of them, and everything hostile that must not get further (design 2.6, 11)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry_core.errors import ManifestInvalid, ManifestTooLarge
from registry_core.manifests import derived_kind, extra_attrs_of, kind_of, parse_manifest, storable
from tests.content import (
    CONFIG,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    HELM_CONFIG,
    INDEX,
    LAYER,
    MANIFEST,
    descriptor,
    digest_of,
    image_document,
    index_document,
)

MIB = 1 << 20


def parse(document: Any, content_type: str = MANIFEST) -> Any:
    payload = document if isinstance(document, bytes) else json.dumps(document).encode()
    return parse_manifest(payload, content_type)


def refusal_of(document: Any, content_type: str = MANIFEST) -> ManifestInvalid:
    with pytest.raises(ManifestInvalid) as refusal:
        parse(document, content_type)
    assert (refusal.value.code, refusal.value.status) == ("MANIFEST_INVALID", 400)
    assert refusal.value.detail["reason"]
    return refusal.value


def image(**changes: Any) -> dict[str, Any]:
    return image_document(b"{}", [b"layer one", b"layer two"], **changes)


# -- what is read


def test_it_reads_an_image() -> None:
    document = image(annotations={"org.opencontainers.image.title": "t"}, artifactType="application/x")
    payload = json.dumps(document).encode()
    manifest = parse(payload)
    assert manifest.payload == payload
    assert str(manifest.digest) == digest_of(payload)
    assert (manifest.media_type, manifest.artifact_type, manifest.is_index) == (
        MANIFEST,
        "application/x",
        False,
    )
    assert str(manifest.config.digest) == digest_of(b"{}")
    assert [str(d.digest) for d in manifest.layers] == [digest_of(b"layer one"), digest_of(b"layer two")]
    assert manifest.children == ()
    assert manifest.subject is None
    assert manifest.annotations == {"org.opencontainers.image.title": "t"}
    assert manifest.size == len(payload) + 2 + 9 + 9


def test_it_reads_an_index() -> None:
    child = json.dumps(image()).encode()
    manifest = parse(index_document([child], subject=descriptor(MANIFEST, b"elsewhere")), INDEX)
    assert manifest.is_index
    assert [str(d.digest) for d in manifest.children] == [digest_of(child)]
    assert manifest.blobs == ()
    assert str(manifest.subject.digest) == digest_of(b"elsewhere")


def test_it_computes_a_sha512_digest_when_asked() -> None:
    payload = json.dumps(image()).encode()
    assert str(parse_manifest(payload, MANIFEST, "sha512").digest) == digest_of(payload, "sha512")


def test_a_layer_that_occurs_twice_is_one_blob_in_its_first_place() -> None:
    document = image_document(b"{}", [b"same", b"other", b"same"])
    assert [str(d.digest) for d in parse(document).blobs] == [
        digest_of(x) for x in (b"{}", b"same", b"other")
    ]


@pytest.mark.parametrize("content_type", [MANIFEST, f"{MANIFEST}; charset=utf-8", f" {MANIFEST.upper()} "])
def test_it_reads_the_content_type_as_http_writes_it(content_type: str) -> None:
    assert parse(image(), content_type).media_type == MANIFEST


def test_a_layer_that_lies_here_as_well_as_elsewhere_is_required() -> None:
    here = descriptor(LAYER, b"x")
    elsewhere = here | {"urls": ["https://example.test/x"]}
    for layers in ([here, elsewhere], [elsewhere, here]):
        assert [d.is_required for d in parse(image(layers=layers)).blobs] == [True, True]


def test_it_takes_docker_schema_2() -> None:
    document = image(mediaType=DOCKER_MANIFEST)
    assert parse(document, DOCKER_MANIFEST).media_type == DOCKER_MANIFEST
    listed = index_document([b"child"], mediaType=DOCKER_LIST)
    assert parse(listed, DOCKER_LIST).is_index


def test_it_takes_what_helm_writes_without_media_type() -> None:
    document = image_document(b"{}", [b"chart"], config_type=HELM_CONFIG)
    del document["mediaType"]
    manifest = parse(document)
    assert (manifest.media_type, manifest.config_media_type) == (MANIFEST, HELM_CONFIG)


def test_a_list_that_a_go_client_writes_as_null_is_empty() -> None:
    assert parse(image(layers=None)).layers == ()
    assert parse(index_document([], manifests=None), INDEX).children == ()


@pytest.mark.parametrize(
    ("media_type", "urls"),
    [
        ("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", None),
        ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", None),
        (LAYER, ["https://example.test/layer"]),
    ],
)
def test_a_layer_that_lies_elsewhere_is_not_required(media_type: str, urls: list[str] | None) -> None:
    layer = descriptor(media_type, b"foreign") | ({"urls": urls} if urls else {})
    manifest = parse(image(layers=[layer, descriptor(LAYER, b"ours")]))
    assert [d.is_required for d in manifest.layers] == [False, True]


# -- what is refused


@pytest.mark.parametrize("content_type", ["", "application/json", "text/plain", f"{MANIFEST}x", "*/*", "\0"])
def test_another_content_type_is_no_manifest(content_type: str) -> None:
    refusal = refusal_of(image(), content_type)
    assert refusal.detail["accepted"] == sorted([MANIFEST, INDEX, DOCKER_MANIFEST, DOCKER_LIST])


def test_a_missing_content_type_is_named() -> None:
    assert refusal_of(image(), "").message == "manifest invalid: Content-Type is missing"


@pytest.mark.parametrize("suffix", ["json", "prettyjws"])
def test_schema_1_is_refused_with_a_sentence(suffix: str) -> None:
    refusal = refusal_of({"schemaVersion": 1}, f"application/vnd.docker.distribution.manifest.v1+{suffix}")
    assert refusal.message == "manifest invalid: Docker schema 1 manifests are not accepted"
    assert "skopeo copy --format v2s2" in refusal.detail["fix"]


@pytest.mark.parametrize("extra", [{"fsLayers": []}, {"history": [], "signatures": []}])
def test_schema_1_in_disguise_is_refused(extra: dict[str, Any]) -> None:
    assert "schema 1" in refusal_of(image(**extra)).message


def test_the_media_type_must_be_the_content_type() -> None:
    refusal = refusal_of(image(mediaType=INDEX))
    assert refusal.detail["mediaType"] == INDEX
    assert refusal.detail["contentType"] == MANIFEST


@pytest.mark.parametrize(
    ("document", "content_type"),
    [
        (image(manifests=[]), MANIFEST),
        (index_document([], layers=[]), INDEX),
        (index_document([], config=descriptor(CONFIG, b"{}")), INDEX),
    ],
)
def test_a_document_is_an_image_or_an_index(document: dict[str, Any], content_type: str) -> None:
    assert "never both" in refusal_of(document, content_type).message


@pytest.mark.parametrize("version", [1, 3, "2", None, [2]])
def test_the_schema_version_is_2(version: Any) -> None:
    assert refusal_of(image(schemaVersion=version)).detail["reason"] == "schemaVersion must be 2"


@pytest.mark.parametrize("key", ["config", "layers"])
def test_an_image_has_config_and_layers(key: str) -> None:
    document = image()
    del document[key]
    assert refusal_of(document).detail["reason"] == f"{key} is missing"


def test_an_index_has_manifests() -> None:
    refusal = refusal_of({"schemaVersion": 2, "mediaType": INDEX}, INDEX)
    assert refusal.detail["reason"] == "manifests is missing"


@pytest.mark.parametrize(
    "payload",
    [
        b'{"schemaVersion":2,"schemaVersion":2}',
        b'{"schemaVersion":2,"config":{"digest":"a","digest":"b"},"layers":[]}',
        b'{"schemaVersion":2,"annotations":{"a":"1","\\u0061":"2"}}',
    ],
)
def test_a_key_occurs_once_in_an_object(payload: bytes) -> None:
    assert "occurs twice" in refusal_of(payload).message


@pytest.mark.parametrize(
    "payload",
    [
        b"", b"{", b"not json", b"{}x", b'{"a":NaN}', b'{"a":Infinity}', b'{"a":-Infinity}', b"\xff\xfe{}",
        b'{"a":"\xff"}',
        b"\xef\xbb\xbf{}", '{"schemaVersion":2}'.encode("utf-16"), b'{"a":"\x00"}', b"{'a':1}", b'{"a":1,}',
        b'{"a":' + b"9" * 5000 + b"}",
    ],
)  # fmt: skip
def test_what_is_not_json_is_refused(payload: bytes) -> None:
    refusal_of(payload)


@pytest.mark.parametrize("payload", [b"[]", b"null", b"1", b'"text"', b"true"])
def test_the_document_is_an_object(payload: bytes) -> None:
    assert refusal_of(payload).detail["reason"] == "the document is not an object"


@pytest.mark.parametrize("number", ["1e999", "-1e999"])
def test_a_number_that_json_allows_and_nobody_can_store_is_refused(number: str) -> None:
    entry = json.dumps(descriptor(MANIFEST, b"child"))[:-1] + f', "x": {number}}}'
    refusal_of(f'{{"schemaVersion":2,"manifests":[{entry}]}}'.encode(), INDEX)


def test_64_levels_are_deep_enough() -> None:
    def nested(levels: int) -> dict[str, Any]:
        inner: Any = []
        for _ in range(levels - 2):
            inner = [inner]
        return image(deep=inner)

    parse(nested(64))
    refusal = refusal_of(nested(65))
    assert refusal.detail == {"reason": "nested deeper than 64", "limit": 64}


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_a_depth_bomb_is_refused(opening: bytes) -> None:
    refusal_of(b'{"schemaVersion":2,"deep":' + opening * 700_000)
    closing = b"]" if opening == b"[" else b"}"
    refusal = refusal_of(b'{"schemaVersion":2,"deep":' + opening * 5000 + b"1" + closing * 5000 + b"}")
    assert refusal.detail["limit"] == 64


def test_4_mib_are_accepted_and_one_byte_more_is_not() -> None:
    document = image(annotations={"fill": ""})
    room = 4 * MIB - len(json.dumps(document))
    document["annotations"]["fill"] = "x" * room
    assert len(parse(document).payload) == 4 * MIB
    document["annotations"]["fill"] += "x"
    with pytest.raises(ManifestTooLarge) as refusal:
        parse(document)
    assert (refusal.value.code, refusal.value.status) == ("REQUEST_ENTITY_TOO_LARGE", 413)
    assert refusal.value.detail == {"limit": 4194304, "size": 4194305}


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"size": -1}, "size"),
        ({"size": 1.5}, "size"),
        ({"size": "1"}, "size"),
        ({"size": True}, "size"),
        ({"size": None}, "size"),
        ({"size": 1 << 63}, "size"),
        ({"digest": "latest"}, "digest"),
        ({"digest": "sha256:0"}, "digest"),
        ({"digest": 7}, "digest"),
        ({"digest": None}, "digest"),
        ({"mediaType": "x" * 256}, "mediaType"),
        ({"mediaType": "a\r\nX-Evil: 1"}, "mediaType"),
        ({"mediaType": "naïve"}, "mediaType"),
        ({"mediaType": 1}, "mediaType"),
    ],
)
@pytest.mark.parametrize("place", ["config", "layers", "manifests", "subject"])
def test_a_descriptor_is_checked_wherever_it_stands(changes: dict[str, Any], where: str, place: str) -> None:
    wrong = descriptor(LAYER, b"x") | changes
    if place == "manifests":
        refusal = refusal_of(index_document([], manifests=[wrong]), INDEX)
    else:
        refusal = refusal_of(image(**{place: [wrong] if place == "layers" else wrong}))
    assert where in refusal.detail["reason"]


@pytest.mark.parametrize("value", [7, "x", [], ["x"], [None], True])
@pytest.mark.parametrize("place", ["config", "layers", "subject"])
def test_a_descriptor_is_an_object(value: Any, place: str) -> None:
    if place == "layers" and value == []:
        return
    refusal_of(image(**{place: value}))


def test_sizes_that_do_not_fit_together_are_refused() -> None:
    """Each alone could be; their sum is no number of bytes that a database can hold."""
    huge = [descriptor(LAYER, name) | {"size": (1 << 62) - 1} for name in (b"a", b"b", b"c")]
    assert "size" in refusal_of(image(layers=huge)).message


@pytest.mark.parametrize("value", [[], "x", {"a": 1}, {"a": None}, {"a": {}}])
def test_annotations_map_text_to_text(value: Any) -> None:
    assert refusal_of(image(annotations=value)).detail["reason"] == "annotations must map text to text"


@pytest.mark.parametrize("value", ["x" * 256, "a\r\nb", "é", 1, {}])
def test_the_artifact_type_goes_into_headers_and_columns(value: Any) -> None:
    refusal_of(image(artifactType=value))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
KEYS = [
    "schemaVersion",
    "mediaType",
    "config",
    "layers",
    "manifests",
    "subject",
    "annotations",
    "artifactType",
]


@given(
    st.dictionaries(st.sampled_from(KEYS), JSON),
    st.sampled_from([MANIFEST, INDEX, DOCKER_MANIFEST, DOCKER_LIST]),
)
def test_any_document_is_read_or_refused(changes: dict[str, Any], content_type: str) -> None:
    base = index_document([b"c"]) if content_type in (INDEX, DOCKER_LIST) else image()
    try:
        manifest = parse(base | {"mediaType": content_type} | changes, content_type)
    except ManifestInvalid:
        return
    assert manifest.size < 1 << 63
    for d in (*manifest.blobs, *manifest.children):
        json.dumps(storable(d.raw), allow_nan=False)


@given(st.binary(max_size=64))
def test_any_bytes_are_refused(payload: bytes) -> None:
    with pytest.raises(ManifestInvalid):
        parse_manifest(payload, MANIFEST)


# -- what lists show of them (contract 3.5)


@pytest.mark.parametrize(
    ("config_type", "kind"),
    [
        ("application/vnd.oci.image.config.v1+json", "IMAGE"),
        ("application/vnd.docker.container.image.v1+json", "IMAGE"),
        ("application/vnd.cncf.helm.config.v1+json", "CHART"),
        ("application/vnd.cnab.config.v1+json", "UNKNOWN"),
        ("application/vnd.wasm.config.v1+json", "WASM"),
        ("application/vnd.cncf.model.config.v1+json", "CNAI"),
        ("application/vnd.goharbor.harbor.sbom.v1", "SBOM"),
        ("application/vnd.oci.empty.v1+json", "UNKNOWN"),
        ("application/vnd.acme.rocket.config.v1+json", "ROCKET"),
        ("application/vnd.acme.config.v1+json", "UNKNOWN"),
        ("", "UNKNOWN"),
    ],
)
def test_the_config_names_the_kind(config_type: str, kind: str) -> None:
    assert kind_of(parse(image_document(b"{}", [], config_type=config_type))) == kind


def test_an_index_is_an_image_unless_it_says_cnab() -> None:
    assert kind_of(parse(index_document([]), INDEX)) == "IMAGE"
    cnab = {"org.opencontainers.artifactType": "application/vnd.cnab.manifest.v1"}
    assert kind_of(parse(index_document([], annotations=cnab), INDEX)) == "CNAB"


@given(st.text(alphabet=st.characters(codec="ascii"), max_size=300))
def test_a_kind_fits_its_column(text: str) -> None:
    assert 0 < len(derived_kind(f"application/vnd.{text}.config.v1+json")) <= 255


def test_an_image_always_shows_the_same_five_attributes() -> None:
    config = json.dumps(
        {"architecture": "arm64", "os": "linux", "rootfs": {}, "config": {"Cmd": ["sh"]}}
    ).encode()
    assert extra_attrs_of(parse(image()), config) == {
        "architecture": "arm64", "author": "", "config": {"Cmd": ["sh"]}, "created": None, "os": "linux",
    }  # fmt: skip


def test_a_chart_shows_its_whole_config() -> None:
    chart = parse(image_document(b"{}", [], config_type=HELM_CONFIG))
    assert extra_attrs_of(chart, b'{"name":"nginx","version":"1.0.0"}') == {
        "name": "nginx",
        "version": "1.0.0",
    }


@pytest.mark.parametrize(
    "config",
    [b"", b"not json", b"[]", b"\xff", b"[" * 100_000, b'{"config":' + b"[" * 65 + b"]" * 65 + b"}"],
)
def test_a_config_that_cannot_be_shown_shows_nothing(config: bytes) -> None:
    assert extra_attrs_of(parse(image()), config) is None


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity", b"1e999"])
def test_no_number_of_a_config_stops_a_push(number: bytes) -> None:
    """PostgreSQL's JSON has none of these; a config is any bytes, and its image must be accepted."""
    attributes = extra_attrs_of(parse(image()), b'{"config":{"x":' + number + b"}}")
    json.dumps(attributes, allow_nan=False)


@given(JSON)
def test_what_is_stored_of_it_postgresql_can_store(value: Any) -> None:
    text = json.dumps(storable(value), allow_nan=False)
    assert "\\u0000" not in text
    text.encode("utf-8")


def test_only_what_cannot_be_stored_is_replaced() -> None:
    assert storable({"a\0": ["b", "\ud800", {"c": 1}]}) == {"a\ufffd": ["b", "?", {"c": 1}]}


WASM_CONFIG = "application/vnd.wasm.config.v1+json"


@pytest.mark.parametrize(
    ("annotations", "title"),
    [({"org.opencontainers.image.title": "m.wasm"}, "m.wasm"), ({"org.opencontainers.image.title": 7}, ""), ([], "")],
)
def test_a_wasm_module_shows_its_types_and_no_config(annotations: Any, title: str) -> None:
    """Golden: artifact_kinds."""
    layer = descriptor("application/vnd.wasm.content.layer.v1+wasm", b"m", annotations=annotations)
    module = parse(image_document(b"{}", [], config_type=WASM_CONFIG, layers=[layer]))
    assert extra_attrs_of(module, b'{"architecture":"wasm"}') == {
        "manifest.config.mediaType": WASM_CONFIG,
        "manifest.layers.mediaType": "application/vnd.wasm.content.layer.v1+wasm",
        "org.opencontainers.image.title": title,
    }
    empty = parse(image_document(b"{}", [], config_type=WASM_CONFIG))
    assert extra_attrs_of(empty, None) == {
        "manifest.config.mediaType": WASM_CONFIG,
        "manifest.layers.mediaType": "",
        "org.opencontainers.image.title": "",
    }
