"""Manifests and indexes as values: bytes in, what the registry needs to know out (OCI image-spec; docker schema 2).

Everything in a manifest is hostile text (design 2.6): sizes, depth and key grammar are checked before anything is used.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from registry_core import errors
from registry_core.digests import Digest, digest_of, parse_digest

MAX_BYTES = 4 << 20
MAX_DEPTH = 64
MAX_TEXT = 255
MAX_SIZE = 1 << 62  # bytes that an artifact may claim to have: sums of these still fit a bigint

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
MANIFESTS = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
INDEXES = frozenset({OCI_INDEX, DOCKER_LIST})
_SCHEMA_1 = "application/vnd.docker.distribution.manifest.v1+"
_NOT_DISTRIBUTED = (
    "application/vnd.oci.image.layer.nondistributable.",
    "application/vnd.docker.image.rootfs.foreign.",
)


@dataclass(frozen=True, slots=True)
class Descriptor:
    media_type: str
    digest: Digest
    size: int
    is_required: bool = True  # False: a layer with urls or of a nondistributable type
    raw: dict[str, Any] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True)
class Manifest:
    payload: bytes
    digest: Digest
    media_type: str
    artifact_type: str
    config: Descriptor | None
    layers: tuple[Descriptor, ...]
    children: tuple[Descriptor, ...]
    subject: Descriptor | None
    annotations: dict[str, str]

    @property
    def is_index(self) -> bool:
        return self.media_type in INDEXES

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """Config and layers, each digest once, in the order of the document."""
        kept: dict[str, Descriptor] = {}
        for d in (*((self.config,) if self.config else ()), *self.layers):
            known = kept.get(str(d.digest))
            if known is None or d.is_required:  # one that lies here as well as elsewhere is required
                kept[str(d.digest)] = d
        return tuple(kept.values())

    @property
    def size(self) -> int:
        """Bytes of the document and of what it names, as Harbor counts an artifact's size."""
        return len(self.payload) + sum(d.size for d in (*self.blobs, *self.children))

    @property
    def config_media_type(self) -> str:
        return self.config.media_type if self.config else ""


def parse_manifest(payload: bytes, content_type: str, algorithm: str = "sha256") -> Manifest:
    """ManifestTooLarge or ManifestInvalid with the reason in message and detail."""
    if len(payload) > MAX_BYTES:
        raise errors.ManifestTooLarge(
            f"a manifest may hold {MAX_BYTES} bytes", {"limit": MAX_BYTES, "size": len(payload)}
        )
    media_type = _media_type(content_type)
    document = _parse_document(payload)
    _check_shape(document, media_type)
    config = document.get("config")
    subject = document.get("subject")
    is_index = media_type in INDEXES
    manifest = Manifest(
        payload=payload,
        digest=digest_of(payload, algorithm),
        media_type=media_type,
        artifact_type=_text(document, "artifactType"),
        config=None if is_index or config is None else _descriptor(config, "config"),
        layers=() if is_index else _descriptors(document, "layers"),
        children=_descriptors(document, "manifests") if is_index else (),
        subject=None if subject is None else _descriptor(subject, "subject"),
        annotations=_annotations(document),
    )
    if manifest.size >= MAX_SIZE:
        raise _invalid("the sizes it names are together no number of bytes that can be kept", limit=MAX_SIZE)
    return manifest


def _invalid(reason: str, **detail: Any) -> errors.ManifestInvalid:
    return errors.ManifestInvalid(f"manifest invalid: {reason}", {"reason": reason, **detail})


def _media_type(content_type: str) -> str:
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type in MANIFESTS or media_type in INDEXES:
        return media_type
    if media_type.startswith(_SCHEMA_1):
        raise _invalid(
            "Docker schema 1 manifests are not accepted",
            fix="push with a client newer than Docker 1.10, or convert with skopeo copy --format v2s2",
        )
    raise _invalid(
        f"Content-Type {media_type[:100]!r} is not a manifest's" if media_type else "Content-Type is missing",
        accepted=sorted(MANIFESTS | INDEXES),
    )


def _no_double_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        seen: set[str] = set()
        double = next(k for k, _ in pairs if k in seen or seen.add(k))  # type: ignore[func-returns-value]
        raise _invalid(f"the key {double[:60]!r} occurs twice in one object")
    return document


def _no_constant(text: str) -> Any:
    raise _invalid(f"{text} is not JSON")


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise _invalid(f"the number {text[:60]} is too large")
    return number


def _parse_document(payload: bytes) -> dict[str, Any]:
    try:
        text = payload.decode("utf-8")
        document = json.loads(
            text, object_pairs_hook=_no_double_keys, parse_constant=_no_constant, parse_float=_finite
        )
    except RecursionError as e:
        raise _invalid(f"nested deeper than {MAX_DEPTH}", limit=MAX_DEPTH) from e
    except ValueError as e:  # includes wrong UTF-8, and integers of absurd length
        raise _invalid(f"not JSON: {e}"[:200]) from e
    if not isinstance(document, dict):
        raise _invalid("the document is not an object")
    if _is_deeper(document, MAX_DEPTH):
        raise _invalid(f"nested deeper than {MAX_DEPTH}", limit=MAX_DEPTH)
    return document


def _is_deeper(document: Any, limit: int) -> bool:
    level = [document]
    for _ in range(limit):
        level = [
            child
            for node in level
            for child in (node.values() if isinstance(node, dict) else node)
            if isinstance(child, dict | list)
        ]
        if not level:
            return False
    return True


def _check_shape(document: dict[str, Any], media_type: str) -> None:
    stated = document.get("mediaType")
    if stated is not None and stated != media_type:
        raise _invalid(
            "mediaType differs from the Content-Type", mediaType=str(stated)[:100], contentType=media_type
        )
    if document.get("schemaVersion") != 2:
        raise _invalid("schemaVersion must be 2")
    if "manifests" in document and ("layers" in document or "config" in document):
        raise _invalid("a document has either manifests or config and layers, never both")
    if "fsLayers" in document or ("history" in document and "signatures" in document):
        raise _invalid("Docker schema 1 manifests are not accepted")
    wanted = ("manifests",) if media_type in INDEXES else ("config", "layers")
    for key in wanted:
        if key not in document:
            raise _invalid(f"{key} is missing")


def _text(document: dict[str, Any], key: str) -> str:
    value = document.get(key)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > MAX_TEXT or not value.isascii() or not value.isprintable():
        raise _invalid(f"{key} must be printable text of at most {MAX_TEXT} characters")
    return value


def _annotations(document: dict[str, Any]) -> dict[str, str]:
    value = document.get("annotations")
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
        raise _invalid("annotations must map text to text")
    return value


def _descriptors(document: dict[str, Any], key: str) -> tuple[Descriptor, ...]:
    value = document[key]
    if value is None:  # Go clients write an empty list so
        return ()
    if not isinstance(value, list):
        raise _invalid(f"{key} must be a list")
    return tuple(_descriptor(item, f"{key}[{i}]") for i, item in enumerate(value))


def _descriptor(value: Any, where: str) -> Descriptor:
    if not isinstance(value, dict):
        raise _invalid(f"{where} is not a descriptor")
    media_type, size = _text(value, "mediaType"), value.get("size")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size < MAX_SIZE:
        raise _invalid(f"{where}.size must be a whole number of bytes")
    text = value.get("digest")
    if not isinstance(text, str):
        raise _invalid(f"{where}.digest is missing")
    try:
        digest = parse_digest(text)
    except errors.DigestInvalid as e:
        raise _invalid(f"{where}.digest is no valid digest", digest=text[:140]) from e
    elsewhere = bool(value.get("urls")) or media_type.startswith(_NOT_DISTRIBUTED)
    return Descriptor(media_type, digest, size, is_required=not elsewhere, raw=value)


# How cosign signed before there were subjects: a layer of this type, under the tag `sha256-<digest>.sig`.
SIMPLE_SIGNING = "application/vnd.dev.cosign.simplesigning.v1+json"
_SIGNATURE_TAG = re.compile(r"sha256-([0-9a-f]{64})\.sig")


def subject_of(manifest: Manifest, tags: Iterable[str]) -> str:
    """The digest that the manifest is attached to, by its subject or, a signature, by its tag (contract 3.4); or ""."""
    if manifest.subject:
        return str(manifest.subject.digest)
    if any(layer.media_type == SIMPLE_SIGNING for layer in manifest.layers):
        for tag in tags:
            match = _SIGNATURE_TAG.fullmatch(tag)
            if match and match[1] != manifest.digest.hex:
                return f"sha256:{match[1]}"
    return ""


# -- what lists show


_KINDS = {
    "application/vnd.oci.image.config.v1+json": "IMAGE",
    "application/vnd.docker.container.image.v1+json": "IMAGE",
    "application/vnd.cncf.helm.config.v1+json": "CHART",
    "application/vnd.cnab.config.v1+json": "CNAB",
    "application/vnd.wasm.config.v1+json": "WASM",
    "application/vnd.cncf.model.config.v1+json": "CNAI",
    "application/vnd.goharbor.harbor.sbom.v1": "SBOM",
}


_DERIVED = re.compile(r"application/vnd\.[^.]*\.(.+)\.config\.[^.]*\+json")


def kind_of(manifest: Manifest) -> str:
    """Harbor's artifact type (contract 3.5): by config media type, else a name derived from it."""
    if manifest.is_index:
        return "CNAB" if manifest.annotations.get("org.opencontainers.artifactType", "").startswith(
            "application/vnd.cnab."
        ) else "IMAGE"
    if (known := _KINDS.get(manifest.config_media_type)) is not None:
        return "UNKNOWN" if known == "CNAB" else known
    return derived_kind(manifest.config_media_type)


def derived_kind(media_type: str) -> str:
    """`application/vnd.<vendor>.<what>.config.<version>+json` → `<WHAT>`; UNKNOWN where no name can be read off."""
    match = _DERIVED.fullmatch(media_type)
    return match[1].upper()[:MAX_TEXT] if match else "UNKNOWN"


# What clients of Harbor find for what a config does not say.
_IMAGE_ATTRS: dict[str, Any] = {"architecture": "", "author": "", "config": {}, "created": None, "os": ""}


def extra_attrs_of(manifest: Manifest, config: bytes | None) -> dict[str, Any] | None:
    """An artifact's `extra_attrs` (contract 3.5); None for indexes, UNKNOWN and SBOM, or an unreadable config."""
    kind = kind_of(manifest)
    if kind == "WASM":
        return storable(_wasm_attrs(manifest))  # type: ignore[no-any-return]
    if manifest.is_index or kind in ("UNKNOWN", "SBOM") or config is None:
        return None
    try:
        document = json.loads(config)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict):
        return None
    if kind == "IMAGE":
        document = {k: document.get(k) or empty for k, empty in _IMAGE_ATTRS.items()}
    return storable(document) if not _is_deeper(document, MAX_DEPTH) else None


def _wasm_attrs(manifest: Manifest) -> dict[str, Any]:
    """Of a module there is nothing to read in its config."""
    layer = manifest.layers[0] if manifest.layers else None
    annotations = layer.raw.get("annotations") if layer else None
    title = annotations.get("org.opencontainers.image.title") if isinstance(annotations, dict) else None
    return {
        "manifest.config.mediaType": manifest.config_media_type,
        "manifest.layers.mediaType": layer.media_type if layer else "",
        "org.opencontainers.image.title": title[:MAX_TEXT] if isinstance(title, str) else "",
    }


def storable(value: Any) -> Any:
    """The same with what PostgreSQL cannot store replaced: NUL, lone surrogates, NaN. The payload stays as pushed."""
    if isinstance(value, str):
        return value.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {storable(k): storable(v) for k, v in value.items()}
    if isinstance(value, list):
        return [storable(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
