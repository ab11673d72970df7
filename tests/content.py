"""Content to push: blobs that nobody pushed before, and the documents that name them, with their digests.

Media types and digests are written and computed here on their own; nothing is taken from the code under test.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from typing import Any

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
EMPTY = "application/vnd.oci.empty.v1+json"
HELM_CONFIG = "application/vnd.cncf.helm.config.v1+json"


def digest_of(data: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


def new_bytes(size: int = 64) -> bytes:
    """In no registry yet."""
    return secrets.token_bytes(size)


def absent_digest() -> str:
    return digest_of(new_bytes())


def descriptor(media_type: str, data: bytes, **more: Any) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest_of(data), "size": len(data), **more}


def image_document(
    config: bytes, layers: list[bytes], /, *, config_type: str = CONFIG, **changes: Any
) -> dict[str, Any]:
    return {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor(config_type, config),
        "layers": [descriptor(LAYER, layer) for layer in layers],
        **changes,
    }


def index_document(children: list[bytes], /, **changes: Any) -> dict[str, Any]:
    return {
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": [descriptor(MANIFEST, child) for child in children],
        **changes,
    }


def encode(document: dict[str, Any]) -> bytes:
    return json.dumps(document).encode()
