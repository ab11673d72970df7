"""What clients look at: a project with an image, a signature of it, and a repository with a slash in its name."""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import dataclass
from typing import Any

from tests.components.breakwater import Breakwater

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"


@dataclass(frozen=True)
class Content:
    server: Breakwater
    project: str
    project_id: int
    digest: str  # of <project>/app:v1

    def push(self, repository: str, tag: str = "v1", **more: Any) -> str:
        return push_image(self.server, repository, tag, **more)


def push_content(server: Breakwater) -> Content:
    project = server.create_project()
    with server.rest() as rest:
        number = rest.get(f"/projects/{project}").raise_for_status().json()["project_id"]
    digest = push_image(server, f"{project}/app", "v1")
    push_image(server, f"{project}/team/app", "v1")
    with server.v2() as v2:
        head = v2.head(f"/{project}/app/manifests/{digest}").raise_for_status()
    size = int(head.headers["Content-Length"])
    subject = {"mediaType": MANIFEST, "digest": digest, "size": size}
    signature = "application/vnd.dev.cosign.artifact.sig.v1+json"
    push_image(server, f"{project}/app", "", subject=subject, artifactType=signature)
    return Content(server, project, number, digest)


def push_image(server: Breakwater, repository: str, tag: str, **more: Any) -> str:
    """Its digest; without a tag it is pushed by that alone."""
    config = {
        "architecture": "amd64", "os": "linux", "created": "2024-01-02T03:04:05Z", "author": "tests",
        "config": {"Env": ["PATH=/bin"], "Labels": {"unique": secrets.token_hex(8)}},
        "rootfs": {"type": "layers", "diff_ids": []},
        "history": [{"created": "2024-01-02T03:04:05Z", "created_by": "COPY 0"}],
    }  # fmt: skip
    document = {
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": {"mediaType": CONFIG, **_push_blob(server, repository, json.dumps(config).encode())},
        "layers": [
            {"mediaType": "application/vnd.oci.image.layer.v1.tar", **_push_blob(server, repository, b"layer")}
        ],
        **more,
    }  # fmt: skip
    payload = json.dumps(document).encode()
    digest = "sha256:" + hashlib.sha256(payload).hexdigest()
    with server.v2() as v2:
        path = f"/{repository}/manifests/{tag or digest}"
        v2.put(path, content=payload, headers={"Content-Type": MANIFEST}).raise_for_status()
    return digest


def _push_blob(server: Breakwater, repository: str, data: bytes) -> dict[str, Any]:
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    with server.v2() as v2:
        v2.post(f"/{repository}/blobs/uploads/", params={"digest": digest}, content=data).raise_for_status()
    return {"digest": digest, "size": len(data)}
