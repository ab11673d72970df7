"""Images made without a network: a static busybox, what Debian says of it, and bytes that are new."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import pathlib
import random
import subprocess
import tarfile
from dataclasses import dataclass

from tests.components.availability import require_program

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
ACCEPT = {"Accept": f"{MANIFEST}, {INDEX}, {DOCKER_MANIFEST}, {DOCKER_LIST}"}
OS_RELEASE = b'ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n'


@dataclass(frozen=True)
class Image:
    """An OCI image layout on disk, in which the tag `latest` names the manifest."""

    layout: pathlib.Path
    digest: str
    blobs: tuple[str, ...]  # digests of configuration and layers

    def read(self, digest: str) -> bytes:
        return (self.layout / "blobs" / digest.replace(":", "/")).read_bytes()

    @property
    def manifest(self) -> bytes:
        return self.read(self.digest)


def digest_of(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def root_files() -> dict[str, bytes]:
    busybox = require_program("busybox", package="busybox-static")
    status = subprocess.run(["dpkg", "--status", "busybox-static"], check=True, capture_output=True).stdout
    return {
        "bin/busybox": pathlib.Path(busybox).read_bytes(),
        "etc/os-release": OS_RELEASE,
        "var/lib/dpkg/status": status,
    }


def tar(files: dict[str, bytes], links: dict[str, str] | None = None) -> bytes:
    """The same files make the same bytes."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755 if name.startswith("bin/") else 0o644
            archive.addfile(entry, io.BytesIO(content))
        for name, target in (links or {}).items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            archive.addfile(entry)
    return out.getvalue()


def new_bytes(size: int) -> bytes:
    """Not to be compressed, and in no registry yet."""
    return random.SystemRandom().randbytes(size)


def write_image(layout: pathlib.Path, *, architecture: str = "amd64", extra: int = 300_000) -> Image:
    """Two layers: busybox, the same every time; `extra` bytes that nobody has pushed before."""
    archives = [tar(root_files(), {"bin/sh": "busybox"}), tar({"data/random": new_bytes(extra)})]
    layers = [gzip.compress(archive, compresslevel=1, mtime=0) for archive in archives]
    config = {
        "architecture": architecture,
        "os": "linux",
        "config": {"Cmd": ["/bin/busybox", "echo", "it runs"]},
        "rootfs": {"type": "layers", "diff_ids": [digest_of(archive) for archive in archives]},
    }
    config_bytes = json.dumps(config).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": CONFIG, "digest": digest_of(config_bytes), "size": len(config_bytes)},
        "layers": [{"mediaType": LAYER, "digest": digest_of(layer), "size": len(layer)} for layer in layers],
    }
    return _write_layout(layout, json.dumps(manifest).encode(), [config_bytes, *layers])


def _write_layout(layout: pathlib.Path, manifest: bytes, blobs: list[bytes]) -> Image:
    directory = layout / "blobs/sha256"
    directory.mkdir(parents=True)
    for content in (manifest, *blobs):
        (directory / digest_of(content).removeprefix("sha256:")).write_bytes(content)
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    entry = {
        "mediaType": MANIFEST,
        "digest": digest_of(manifest),
        "size": len(manifest),
        "annotations": {"org.opencontainers.image.ref.name": "latest"},
    }
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    return Image(layout, digest_of(manifest), tuple(digest_of(blob) for blob in blobs))
