"""What an artifact tells of itself beyond its manifest: an image's history, a chart's values (contract 3.5).

Read from config and layers when somebody asks. All of it is a stranger's text: sizes, types and depth are checked, and
nothing of it is interpreted.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from registry_core import archives, errors
from registry_core.manifests import Descriptor, Manifest, parse_manifest
from registry_core.models import Artifact, ArtifactBlob
from registry_core.storage.driver import KeyMissing, StorageError
from registry_core.store import as_registry_error, driver

MAX_CONFIG = 4 << 20
MAX_DOCUMENT = 32 << 20
MAX_PATH = 32  # folders of a file's name

JSON = "application/json; charset=utf-8"
TEXT = "text/plain; charset=utf-8"
MARKDOWN = "text/markdown; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Addition:
    content: bytes
    media_type: str


def get_addition(artifact: Artifact, name: str) -> Addition:
    """BadRequest for one that an artifact of this kind does not have."""
    manifest = parse_manifest(bytes(artifact.payload), artifact.media_type)
    if manifest.is_index:
        raise errors.BadRequest(f"addition {name.upper()} isn't supported")
    readers = READERS.get(artifact.kind)
    if readers is None:
        raise errors.BadRequest(
            f"the processor for artifact {artifact.kind} not found, cannot get the addition"
        )
    if (reader := readers.get(name)) is None:
        raise errors.BadRequest(f"addition {name.upper()} isn't supported for {artifact.kind}")
    return reader(_Parts(artifact, manifest))


class _Parts:
    """The bytes of an artifact's config and layers."""

    def __init__(self, artifact: Artifact, manifest: Manifest) -> None:
        self.artifact, self.manifest = artifact, manifest

    @property
    def config(self) -> dict[str, Any]:
        if self.manifest.config is None:
            raise errors.NotFound("resource not found: the artifact has no config")
        try:
            document = json.loads(self.read(self.manifest.config, MAX_CONFIG))
        except (ValueError, RecursionError) as e:
            raise errors.BadRequest("the artifact's config is no JSON") from e
        if not isinstance(document, dict):
            raise errors.BadRequest("the artifact's config is no JSON object")
        return document

    def read(self, part: Descriptor, limit: int) -> bytes:
        with self.pieces(part, limit) as pieces:
            return b"".join(pieces)

    @contextlib.contextmanager
    def pieces(self, part: Descriptor, limit: int) -> Iterator[Iterator[bytes]]:
        """Of a part that is here and not above the limit."""
        edges = ArtifactBlob.objects.filter(artifact=self.artifact, digest=str(part.digest), blob__isnull=False)
        found = edges.values_list("blob__key", "blob__size").first()
        if found is None:
            raise errors.NotFound(f"resource not found: {part.digest} is not in this repository")
        key, size = found
        if size > limit:
            text = f"{part.digest} has {size} bytes; of a part like this {limit} are read"
            raise errors.BadRequest(text, {"limit": limit, "size": size})
        try:
            with contextlib.closing(driver().read(key)) as pieces:
                yield pieces
        except KeyMissing as e:
            if not Artifact.objects.filter(pk=self.artifact.pk).exists():  # collected meanwhile
                raise errors.NotFound("the artifact was deleted") from e
            raise errors.Damaged from e
        except StorageError as e:
            raise as_registry_error(e) from e


def _as_json(value: Any) -> Addition:
    return Addition(json.dumps(value, separators=(",", ":")).encode(), JSON)


# -- images


def _history(parts: _Parts) -> Addition:
    history = parts.config.get("history")
    if not isinstance(history, list):
        return _as_json(None)
    return _as_json([_texts(step, _STEP) for step in history if isinstance(step, dict)])


_STEP: Mapping[str, type] = {
    "created": str, "created_by": str, "author": str, "comment": str, "empty_layer": bool,
}  # fmt: skip


def _texts(document: Mapping[str, Any], kinds: Mapping[str, type]) -> dict[str, Any]:
    """What is set of these keys, and of their types."""
    return {
        key: document[key] for key, kind in kinds.items() if document.get(key) and isinstance(document[key], kind)
    }


# -- Helm charts


def _chart_file(name: str, media_type: str) -> Callable[[_Parts], Addition]:
    """Of the chart itself, not of those in its folder `charts`; empty where it has none of this name."""

    def wanted(path: str) -> str:
        folder, _, rest = path.removeprefix("./").partition("/")
        return name if folder and rest.lower() == name else ""

    def read(parts: _Parts) -> Addition:
        for layer in parts.manifest.layers:
            if layer.media_type.endswith("tar+gzip"):
                with parts.pieces(layer, archives.MAX_PACKED) as pieces:
                    return Addition(archives.find_files(pieces, wanted, 1).get(name, b""), media_type)
        raise errors.NotFound("resource not found: chart layer not found")

    return read


def _dependencies(parts: _Parts) -> Addition:
    """As Helm wrote them into the config, which holds all that Chart.yaml says."""
    found = parts.config.get("dependencies")
    if not isinstance(found, list):
        return _as_json(None)
    return _as_json(
        [
            {"name": "", "repository": "", **_texts(one, _DEPENDENCY)}
            for one in found
            if isinstance(one, dict)
        ]
    )


_DEPENDENCY: Mapping[str, type] = {
    "name": str, "version": str, "repository": str, "condition": str, "enabled": bool, "alias": str,
}  # fmt: skip


# -- models


def _model_path(layer: Descriptor) -> str:
    annotations = layer.raw.get("annotations")
    if not isinstance(annotations, dict):
        return ""
    path = annotations.get("org.cncf.model.filepath") or annotations.get("org.cnai.model.filepath")
    return path if isinstance(path, str) else ""


def _model_document(
    what: str, names: tuple[str, ...], media_type: str
) -> Callable[[_Parts], Addition]:
    def read(parts: _Parts) -> Addition:
        for layer in parts.manifest.layers:
            path = _model_path(layer)
            if ".doc." not in layer.media_type or path.lower() not in names:
                continue
            if not layer.media_type.endswith(".tar"):
                return Addition(parts.read(layer, archives.MAX_FILE), media_type)
            with parts.pieces(layer, archives.MAX_PACKED) as pieces:
                found = archives.find_files(
                    pieces, lambda name: what if name.lower() in names else "", 1, is_packed=False
                )
            return Addition(found.get(what, b""), media_type)
        raise errors.NotFound(f"resource not found: {what} layer not found")

    return read


def _model_files(parts: _Parts) -> Addition:
    """The layers' files as a tree."""
    root: list[dict[str, Any]] = []
    folders: dict[tuple[str, ...], list[dict[str, Any]]] = {(): root}
    for layer in parts.manifest.layers:
        *above, name = [part for part in _model_path(layer).split("/") if part][-MAX_PATH:] or [""]
        if not name:
            continue
        for depth in range(1, len(above) + 1):
            here = tuple(above[:depth])
            if here not in folders:
                folders[here] = []
                entry = {"name": here[-1], "type": "directory", "children": folders[here]}
                folders[here[:-1]].append(entry)
        folders[tuple(above)].append({"name": name, "type": "file", "size": layer.size})
    return _as_json(root)


# -- SBOMs


def _sbom(parts: _Parts) -> Addition:
    if not parts.manifest.layers:
        raise errors.NotFound("resource not found: SBOM layer not found")
    content = parts.read(parts.manifest.layers[0], MAX_DOCUMENT)
    return Addition(content, parts.manifest.config_media_type)


# By kind and name, as the contract spells them.
READERS: Mapping[str, Mapping[str, Callable[[_Parts], Addition]]] = {
    "IMAGE": {"build_history": _history},
    "WASM": {"build_history": _history},
    "CHART": {
        "values.yaml": _chart_file("values.yaml", TEXT),
        "readme.md": _chart_file("readme.md", MARKDOWN),
        "dependencies": _dependencies,
    },
    "CNAI": {
        "readme.md": _model_document("readme", ("readme.md", "readme"), MARKDOWN),
        "license": _model_document("license", ("license", "license.txt"), TEXT),
        "files": _model_files,
    },
    "SBOM": {"sbom": _sbom},
}
