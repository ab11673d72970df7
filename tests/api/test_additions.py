"""Additions of artifacts (contract 3.5). Golden: artifact_kinds."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from projects.models import Project
from registry_core import additions
from registry_core.models import Artifact, Blob
from registry_core.store import driver
from tests.api.conftest import CONFIG, MANIFEST, Api, push, push_blob, push_image, push_index
from tests.builders import Person, make_project
from tests.registry_core.test_archives import tar

pytestmark = pytest.mark.django_db

As = Callable[[Person], Api]
HELM = "application/vnd.cncf.helm.config.v1+json"
CHART = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
MODEL = "application/vnd.cncf.model.config.v1+json"
DOC = "application/vnd.cncf.model.doc.v1"

Layer = tuple[str, bytes, Mapping[str, Any]]


def push_kind(project: Project, config_type: str, config: bytes, *layers: Layer) -> Artifact:
    from registry_core import actions

    repository = actions.ensure_repository(project.namespace_id, "app")
    document = {
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": {"mediaType": config_type, **push_blob(repository.pk, config)},
        "layers": [
            {"mediaType": kind, **push_blob(repository.pk, data), **more} for kind, data, more in layers
        ],
    }  # fmt: skip
    return push(project, "app", document, "v1")


def push_chart(project: Project, packed: bytes, config: Any = None) -> Artifact:
    return push_kind(project, HELM, json.dumps(config or {"name": "web"}).encode(), (CHART, packed, {}))


def addition(api: Api, name: str, reference: str = "v1") -> Any:
    return api.get(f"/projects/library/repositories/app/artifacts/{reference}/additions/{name}")


# -- images


@pytest.mark.parametrize(
    ("config", "shown"),
    [
        ({"history": [{"created": "2024-01-02T03:04:05Z", "created_by": "COPY 0 a"}]},
         [{"created": "2024-01-02T03:04:05Z", "created_by": "COPY 0 a"}]),
        ({"history": [{"author": "a", "comment": "<script>", "empty_layer": True, "colour": "red"}]},
         [{"author": "a", "comment": "<script>", "empty_layer": True}]),
        ({"history": [{"created": 7, "created_by": None, "empty_layer": False}, "text", None]}, [{}]),
        ({"history": []}, []),
        ({"history": {"a": 1}}, None),
        ({}, None),
    ],
)  # fmt: skip
def test_build_history(admin: Api, library: Project, config: dict[str, Any], shown: Any) -> None:
    push_kind(library, CONFIG, json.dumps(config).encode())
    reply = addition(admin, "build_history")
    assert (reply.status, reply.headers["Content-Type"]) == (200, "application/json; charset=utf-8")
    assert reply.body == shown
    assert reply.headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in reply.headers["Content-Security-Policy"]


@pytest.mark.parametrize("config", [b"no json", b"[" * 100_000, b"[]", b'"\xff"'])
def test_a_config_that_is_none(admin: Api, library: Project, config: bytes) -> None:
    push_kind(library, CONFIG, config)
    assert (addition(admin, "build_history").status, addition(admin, "build_history").code) == (400, "BAD_REQUEST")


def test_a_config_that_is_too_large(admin: Api, library: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    push_kind(library, CONFIG, json.dumps({"history": [], "more": "x" * 500}).encode())
    monkeypatch.setattr(additions, "MAX_CONFIG", 500)
    reply = addition(admin, "build_history")
    assert reply.status == 400
    assert "500 are read" in reply.message


# -- charts


def test_a_chart(admin: Api, library: Project) -> None:
    files = (
        ("web/Chart.yaml", b"name: web"), ("web/values.yaml", b"replicas: 1\n"),
        ("web/charts/db/values.yaml", b"no"), ("web/README.md", b"# Chart\n"),
    )  # fmt: skip
    config = {
        "name": "web",
        "dependencies": [{"name": "db", "version": "1.x", "repository": "https://example.org", "tags": ["x"]}, 7],
    }
    push_chart(library, gzip.compress(tar(*files)), config)
    values, readme = addition(admin, "values.yaml"), addition(admin, "readme.md")
    assert (values.content, values.headers["Content-Type"]) == (b"replicas: 1\n", "text/plain; charset=utf-8")
    assert (readme.content, readme.headers["Content-Type"]) == (b"# Chart\n", "text/markdown; charset=utf-8")
    dependencies = addition(admin, "dependencies")
    assert dependencies.headers["Content-Type"] == "application/json; charset=utf-8"
    assert dependencies.body == [{"name": "db", "repository": "https://example.org", "version": "1.x"}]


def test_a_chart_without(admin: Api, library: Project) -> None:
    push_chart(library, gzip.compress(tar(("web/Chart.yaml", b"name: web"))))
    assert [addition(admin, name).content for name in ("values.yaml", "readme.md")] == [b"", b""]
    assert addition(admin, "dependencies").body is None


def test_a_chart_that_is_a_bomb(admin: Api, library: Project) -> None:
    push_chart(library, gzip.compress(tar(("a", bytes(30 << 20)))))
    reply = addition(admin, "values.yaml")
    assert (reply.status, reply.code) == (400, "BAD_REQUEST")
    assert "100 times its size" in reply.message


# -- models and SBOMs


def test_a_model(admin: Api, library: Project) -> None:
    def at(path: str) -> Mapping[str, Any]:
        return {"annotations": {"org.cncf.model.filepath": path}}

    push_kind(
        library, MODEL, b"{}",
        (f"{DOC}.raw", b"# Model\n", at("README.md")),
        (f"{DOC}.tar", tar(("LICENSE", b"MIT")), at("LICENSE")),
        ("application/vnd.cncf.model.weight.v1.raw", b"12345", at("weights/a/b.bin")),
        ("application/vnd.cncf.model.weight.v1.raw", b"1234", at("weights/c.bin")),
        ("application/vnd.cncf.model.weight.v1.raw", b"123", {"annotations": None}),
        ("application/vnd.cncf.model.weight.v1.raw", b"12", at("//")),
    )  # fmt: skip
    readme = addition(admin, "readme.md")
    assert (readme.content, readme.headers["Content-Type"]) == (b"# Model\n", "text/markdown; charset=utf-8")
    assert addition(admin, "license").content == b"MIT"
    assert addition(admin, "files").body == [
        {"name": "README.md", "type": "file", "size": 8},
        {"name": "LICENSE", "type": "file", "size": len(tar(("LICENSE", b"MIT")))},
        {"name": "weights", "type": "directory", "children": [
            {"name": "a", "type": "directory", "children": [{"name": "b.bin", "type": "file", "size": 5}]},
            {"name": "c.bin", "type": "file", "size": 4},
        ]},
    ]  # fmt: skip


def test_a_model_without_licence(admin: Api, library: Project) -> None:
    push_kind(library, MODEL, b"{}")
    reply = addition(admin, "license")
    assert (reply.status, reply.message) == (404, "resource not found: license layer not found")
    assert addition(admin, "files").body == []


def test_a_model_of_very_deep_folders(admin: Api, library: Project) -> None:
    deep = {"annotations": {"org.cncf.model.filepath": "a/" * 50_000 + "f"}}
    push_kind(library, MODEL, b"{}", ("application/vnd.cncf.model.weight.v1.raw", b"1", deep))
    assert addition(admin, "files").status == 200


def test_an_sbom(admin: Api, library: Project) -> None:
    kind = "application/vnd.goharbor.harbor.sbom.v1"
    push_kind(library, kind, b"{}", ("application/octet-stream", b'{"spdxVersion":"SPDX-2.3"}', {}))
    reply = addition(admin, "sbom")
    assert (reply.body, reply.headers["Content-Type"]) == ({"spdxVersion": "SPDX-2.3"}, kind)
    assert "sbom" not in (admin.get("/projects/library/repositories/app/artifacts/v1").body.get("addition_links") or {})


# -- refusals


def test_what_a_kind_does_not_have(admin: Api, library: Project) -> None:
    image = push_image(library, "app", "v1")
    push_index(library, "app", "multi", image)
    for reference, name, status, message in (
        ("v1", "values.yaml", 400, "addition VALUES.YAML isn't supported for IMAGE"),
        ("multi", "build_history", 400, "addition BUILD_HISTORY isn't supported"),
        ("v1", "BUILD_HISTORY", 422, None),
        ("v1", "nonsense", 422, None),
        ("absent", "build_history", 404, "artifact library/app:absent not found"),
    ):
        reply = addition(admin, name, reference)
        assert reply.status == status
        assert message in (None, reply.message)
    push_kind(library, "application/vnd.example.widget.config.v1+json", b"{}")
    assert addition(admin, "readme.md").message == (
        "the processor for artifact WIDGET not found, cannot get the addition"
    )


def test_who_may(anonymous: Api, charlie: Person, bob: Person, as_: As) -> None:
    hidden = make_project("hidden")
    push_image(hidden, "app", "v1")
    path = "/projects/hidden/repositories/app/artifacts/v1/additions/build_history"
    absent = path.replace("hidden", "absent")
    for caller, status in ((anonymous, 401), (as_(charlie), 403), (as_(bob), 403)):
        assert [caller.get(path).status, caller.get(absent).status] == [status, status]


def test_bytes_that_are_lost_are_no_404(admin: Api, library: Project) -> None:
    artifact = push_kind(library, CONFIG, b'{"history":[]}')
    key = Blob.objects.get(artifacts__artifact=artifact).key
    driver().delete([key])
    assert addition(admin, "build_history").status == 500
