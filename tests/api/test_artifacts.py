"""Tag artifact (contract 1.2, 3.5).

Golden: artifact_list, artifact_read, artifact_delete, artifact_kinds, project_artifacts."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from projects.models import Project
from registry_core import actions
from registry_core.models import Artifact
from tests.api.conftest import MANIFEST, Api, descriptor, push, push_blob, push_image, push_index, tag_names
from tests.builders import Person, make_project

pytestmark = pytest.mark.django_db

As = Callable[[Person], Api]
PATH = "/projects/team/repositories/app/artifacts"
IMAGE_CONFIG = "application/vnd.oci.image.config.v1+json"
ABSENT = "sha256:" + "0" * 64


def push_thing(project: Project, path: str, *tags: str, config: str, **more: Any) -> Artifact:
    """An artifact whose config is of the given media type."""
    repository = actions.ensure_repository(project.namespace_id, path)
    blob = push_blob(repository.pk, json.dumps({"name": "thing", "nested": {"a": 1}}).encode())
    layer = push_blob(repository.pk, b"payload")
    document = {
        "schemaVersion": 2, "mediaType": MANIFEST, "config": {"mediaType": config, **blob},
        "layers": [{"mediaType": "application/octet-stream", **layer}], **more,
    }  # fmt: skip
    return push(project, path, document, *tags)


@pytest.fixture
def team(db: None) -> Project:
    return make_project("team")


@pytest.fixture
def shelf(team: Project) -> dict[str, Artifact]:
    """As the scene artifact_list: two tagged images in an index, one image only in an index, one untagged, a thing."""
    made: dict[str, Artifact] = {}
    made["one"] = push_image(team, "app", "one", "1.0", seed="1")
    made["two"] = push_image(team, "app", "two", seed="2")
    made["multi"] = push_index(team, "app", "multi", made["one"], made["two"])
    made["child"] = push_image(team, "app", seed="3")
    made["onlychild"] = push_index(team, "app", "onlychild", made["child"])
    made["un"] = push_image(team, "app", seed="un")
    made["art"] = push_thing(
        team,
        "app",
        "art",
        config="application/vnd.oci.empty.v1+json",
        artifactType="application/vnd.example.thing",
    )
    push_thing(
        team,
        "app",
        config="application/vnd.oci.empty.v1+json",
        artifactType="application/vnd.example.acc",
        subject=descriptor(made["one"]),
    )
    for n, artifact in enumerate(made.values()):
        Artifact.objects.filter(pk=artifact.pk).update(pushed_at=f"2024-01-0{n + 1}T00:00:00Z")
    return made


NEWEST = "art un onlychild multi two one"


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", NEWEST),
        ("q=tags=*", "art onlychild multi two one"),
        ("q=tags=nil", "un"),
        ("q=tags=one", "one"),
        ("q=tags%3Done", "one"),
        ("q=tags=~on", "onlychild one"),
        ("q=tags=none", ""),
        ("q=labels=(5)", ""),
        ("q=type=IMAGE", "un onlychild multi two one"),
        ("q=type=image", ""),
        ("q=type={IMAGE%20CHART}", "un onlychild multi two one"),
        (
            "q=media_type=application/vnd.oci.image.config.v1%2Bjson",
            "",
        ),  # `+` is a blank after the second decoding
        ("q=media_type=application/vnd.oci.image.config.v1%252Bjson", "un two one"),
        ("q=manifest_media_type=application/vnd.oci.image.index.v1%252Bjson", "onlychild multi"),
        ("q=artifact_type=application/vnd.example.thing", "art"),
        ("q=digest=~sha256", NEWEST),
        ("q=base=*", "art un onlychild child multi two one"),
        ("q=push_time=[2024-01-06T00:00:00~]", "art un"),
        ("q=push_time=[~2020-01-01T00:00:00]", ""),
        ("q=pull_time=[2020-01-01T00:00:00~]", ""),
        ("q=tags=*,type=IMAGE", "onlychild multi two one"),
        ("q=nonsense=x", NEWEST),
        ("q=project_id=1", ""),
        ("q=repository_name=team/app", NEWEST),
        ("q=icon=x", ""),
        ("q=size=[0~]", NEWEST),
        ("sort=push_time", "one two multi onlychild un art"),
        ("sort=-id", NEWEST),
        ("sort=nonsense", NEWEST),
        ("page=1&page_size=2", "art un"),
        ("page=2&page_size=2&q=tags=*&sort=push_time", "multi onlychild"),
    ],
)
def test_find_and_sort(admin: Api, shelf: dict[str, Artifact], query: str, names: str) -> None:
    by_digest = {artifact.digest: name for name, artifact in shelf.items()}
    reply = admin.get(f"{PATH}?{query}")
    assert " ".join(by_digest[artifact["digest"]] for artifact in reply.body) == names
    if "page_size" not in query:
        assert reply.headers["X-Total-Count"] == str(len(names.split()))


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("tags={one%20two}", 'the value of "tags" query can only be fuzzy match value or exact match value'),
        ("tags=(one%201.0)", 'the value of "tags" query can only be fuzzy match value or exact match value'),
        ("tags=[a~b]", 'the value of "tags" query can only be fuzzy match value or exact match value'),
        *[
            (
                f"labels={text}",
                'the value of "labels" query can only be integer list with intersetion relationship',
            )
            for text in ("{1%202}", "1", "(x)")
        ],
        ("base=x", 'the value of "base" query can only be exact match value with "*"'),
        ("tags", 'the query string must contain "=" and the key/value cannot be empty'),
        ("push_time=[x~", "invalid query string value: [x~"),
    ],
)
def test_find_refuses(admin: Api, team: Project, query: str, message: str) -> None:
    reply = admin.get(f"{PATH}?q={query}")
    assert (reply.status, reply.code, reply.message) == (400, "BAD_REQUEST", message)


def test_get_an_image(admin: Api, shelf: dict[str, Artifact], team: Project) -> None:
    artifact = shelf["one"]
    shown = admin.get(f"{PATH}/one").body
    assert admin.get(f"{PATH}/{artifact.digest}").body == shown
    base = "/api/v2.0/projects/team/repositories/app/artifacts"
    assert {k: v for k, v in shown.items() if k not in ("tags", "extra_attrs")} == {
        "id": artifact.pk, "type": "IMAGE", "media_type": IMAGE_CONFIG, "manifest_media_type": MANIFEST,
        "artifact_type": IMAGE_CONFIG, "project_id": team.pk, "repository_id": artifact.repository_id,
        "repository_name": "team/app", "digest": artifact.digest, "size": artifact.size,
        "icon": "sha256:0048162a053eef4d4ce3fe7518615bef084403614f8bca43b40ae2e762e11e06",
        "push_time": "2024-01-01T00:00:00.000Z", "pull_time": "0001-01-01T00:00:00.000Z",
        "references": None, "labels": None, "accessories": None,
        "addition_links": {
            "build_history": {"absolute": False, "href": f"{base}/{artifact.digest}/additions/build_history"},
            "vulnerabilities": {"absolute": False, "href": f"{base}/{artifact.digest}/additions/vulnerabilities"},
            "sboms": {"absolute": False, "href": f"{base}//additions/sbom"},
        },
    }  # fmt: skip
    assert set(shown["extra_attrs"]) == {"architecture", "author", "config", "created", "os"}
    assert {tag["name"] for tag in shown["tags"]} == {"one", "1.0"}
    assert all(tag["artifact_id"] == artifact.pk and tag["immutable"] is False for tag in shown["tags"])


def test_get_an_index(admin: Api, shelf: dict[str, Artifact]) -> None:
    shown = admin.get(f"{PATH}/multi").body
    assert "artifact_type" not in shown
    assert "extra_attrs" not in shown
    assert set(shown["addition_links"]) == {"vulnerabilities", "sboms"}
    assert shown["references"] == [
        {
            "parent_id": shelf["multi"].pk, "child_id": shelf[name].pk, "child_digest": shelf[name].digest,
            "platform": {"OsFeatures": None, "architecture": "amd64", "os": "linux"}, "urls": None,
        }
        for name in ("one", "two")
    ]  # fmt: skip


def test_an_index_weighs_what_its_parts_weigh(admin: Api, shelf: dict[str, Artifact]) -> None:
    index = shelf["multi"]
    assert (
        admin.get(f"{PATH}/multi").body["size"] == len(index.payload) + shelf["one"].size + shelf["two"].size
    )


@pytest.mark.parametrize(
    ("query", "tags", "accessories"),
    [
        ("", True, False),
        ("with_tag=false", False, False),
        ("with_tag=nonsense", False, False),
        ("with_accessory=true", True, True),
        ("with_accessory=1&with_tag=0", False, True),
    ],
)
def test_what_is_shown_on_demand(
    admin: Api, shelf: dict[str, Artifact], query: str, tags: bool, accessories: bool
) -> None:
    shown = admin.get(f"{PATH}/one?{query}").body
    assert (shown["tags"] is not None, shown["accessories"] is not None) == (tags, accessories)
    (listed,) = admin.get(f"{PATH}?q=tags=one&{query}").body
    assert listed == shown


@pytest.mark.parametrize(
    ("config", "kind", "links"),
    [
        ("application/vnd.cncf.helm.config.v1+json", "CHART", {"values.yaml", "readme.md", "dependencies"}),
        ("application/vnd.wasm.config.v1+json", "WASM", {"build_history"}),
        ("application/vnd.cncf.model.config.v1+json", "CNAI", {"readme.md", "license", "files"}),
        ("application/vnd.goharbor.harbor.sbom.v1", "SBOM", None),
        ("application/vnd.example.widget.config.v1+json", "WIDGET", None),
        ("application/vnd.cnab.config.v1+json", "UNKNOWN", None),
        ("application/octet-stream", "UNKNOWN", None),
    ],
)
def test_kinds(admin: Api, team: Project, config: str, kind: str, links: set[str] | None) -> None:
    push_thing(team, "app", "v1", config=config)
    shown = admin.get(f"{PATH}/v1").body
    assert (shown["type"], shown["media_type"], shown["artifact_type"]) == (kind, config, config)
    assert (set(shown["addition_links"]) if links else "addition_links" not in shown) == (links or True)


def test_annotations(admin: Api, team: Project) -> None:
    push_image(team, "app", "v1", annotations={"module.wasm.image/variant": "compat"})
    shown = admin.get(f"{PATH}/v1").body
    assert shown["annotations"] == {"module.wasm.image/variant": "compat"}
    assert (shown["type"], shown["media_type"]) == ("IMAGE", "application/vnd.wasm.config.v1+json")


@pytest.mark.parametrize(
    ("reference", "shown"),
    [("absent", ":absent"), (ABSENT, f"@{ABSENT}"), ("sha256:12", ":sha256:12"), ("-bad", ":-bad")],
)
def test_what_is_absent(admin: Api, shelf: dict[str, Artifact], reference: str, shown: str) -> None:
    for call in (Api.get, Api.delete):
        reply = call(admin, f"{PATH}/{reference}")
        assert (reply.status, reply.code, reply.message) == (
            404,
            "NOT_FOUND",
            f"artifact team/app{shown} not found",
        )


def test_absent_homes(admin: Api, team: Project) -> None:
    for project in ("team", "absent"):
        path = f"/projects/{project}/repositories/absent/artifacts"
        assert admin.get(f"{path}/v1").message == f"repository {project}/absent not found"
        assert admin.delete(f"{path}/v1").message == f"repository {project}/absent not found"
        assert admin.get(path).body == []


def test_a_tag_of_another_repository_is_none_here(admin: Api, team: Project) -> None:
    push_image(team, "app", "mine")
    other = push_image(team, "other", "theirs")
    assert admin.get(f"{PATH}/theirs").status == 404
    assert admin.get(f"{PATH}/{other.digest}").status == 404


# -- delete


def test_delete(admin: Api, shelf: dict[str, Artifact]) -> None:
    for reference in ("one", shelf["one"].digest):
        reply = admin.delete(f"{PATH}/{reference}")
        assert (reply.status, reply.code) == (412, "VIOLATE_FOREIGN_KEY_CONSTRAINT")
        assert reply.message == "the deleting artifact is referenced by others"
    assert admin.delete(f"{PATH}/multi").status == 200
    assert admin.get(f"{PATH}/one").status == 200  # it has tags of its own
    assert admin.delete(f"{PATH}/1.0").status == 200
    assert admin.get(f"{PATH}/one").status == 404  # by whatever name it was called
    assert admin.get(f"{PATH}/{shelf['one'].digest}").status == 404
    assert admin.delete(f"{PATH}/onlychild").status == 200
    assert admin.get(f"{PATH}/{shelf['child'].digest}").status == 404  # nothing else held it


def test_a_repository_without_artifacts_stays(admin: Api, team: Project) -> None:
    push_image(team, "app", "v1")
    assert admin.delete(f"{PATH}/v1").status == 200
    assert admin.get("/projects/team/repositories/app").body["artifact_count"] == 0
    assert admin.get(PATH).body == []


def test_who_may(
    alice: Person, bob: Person, charlie: Person, anonymous: Api, library: Project, as_: As
) -> None:
    artifact = push_image(library, "app", "v1")
    path = "/projects/library/repositories/app/artifacts"
    calls: list[Callable[[Api], Any]] = [
        lambda api: api.get(path),
        lambda api: api.get(f"{path}/v1"),
        lambda api: api.get("/projects/library/artifacts"),
        lambda api: api.delete(f"{path}/v1"),
    ]
    assert [call(anonymous).status for call in calls] == [200, 200, 401, 401]
    assert [call(as_(charlie)).status for call in calls] == [200, 200, 200, 403]
    assert [call(as_(bob)).status for call in calls] == [200, 200, 200, 403]
    assert tag_names(artifact) == {"v1"}
    assert [call(as_(alice)).status for call in calls] == [200] * 4


def test_a_private_project_is_hidden(
    charlie: Person, anonymous: Api, shelf: dict[str, Artifact], as_: As
) -> None:
    for path in (
        PATH,
        f"{PATH}/one",
        f"{PATH}/absent",
        "/projects/absent/repositories/app/artifacts/v1",
        "/projects/team/artifacts",
    ):
        for call in (Api.get, Api.delete) if path.endswith(("one", "absent", "v1")) else (Api.get,):
            assert (call(as_(charlie), path).status, call(as_(charlie), path).message) == (403, "forbidden")
            assert call(anonymous, path).status == 401


# -- of a whole project


def test_artifacts_of_a_project(admin: Api, team: Project) -> None:
    push_image(team, "app", "v1")
    push_image(team, "other", "v2")
    names = [(a["repository_name"], a["tags"][0]["name"]) for a in admin.get("/projects/team/artifacts").body]
    assert names == [("team/other", "v2"), ("team/app", "v1")]


def test_the_latest_in_each_repository(admin: Api, team: Project) -> None:
    for tag in ("old", "new"):
        for path in ("app", "other"):
            push_image(team, path, tag)
    kind = "media_type=application/vnd.oci.image.config.v1%252Bjson"
    shown = admin.get(f"/projects/team/artifacts?latest_in_repository=true&q={kind}").body
    assert sorted((a["repository_name"], a["tags"][0]["name"]) for a in shown) == [
        ("team/app", "new"),
        ("team/other", "new"),
    ]
    for query in ("", f"&q={kind},artifact_type=x"):
        reply = admin.get(f"/projects/team/artifacts?latest_in_repository=true{query}")
        assert reply.status == 400
        assert reply.message.startswith(
            "bad request: either 'media_type' or 'artifact_type' must be specified"
        )
