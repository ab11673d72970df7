"""Copying artifacts (contract 7). Golden: artifact_copy, quota. Races are in tests/registry_core/test_copies.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from projects.models import ArtifactLabel, Project, Quota
from projects.policies import quota
from registry_core.models import (
    Artifact,
    ArtifactBlob,
    AuditLog,
    Blob,
    EventOutbox,
    NamespaceBlob,
    Repository,
    Tag,
    TagHistory,
)
from tests.api.conftest import (
    MANIFEST,
    Api,
    Reply,
    descriptor,
    push,
    push_blob,
    push_image,
    push_index,
    tag_names,
)
from tests.builders import Person, make_project, make_robot

pytestmark = pytest.mark.django_db

As = Callable[[Person], Api]
SIMPLE_SIGNING = "application/vnd.dev.cosign.simplesigning.v1+json"


@pytest.fixture
def target(alice: Person) -> Project:
    return make_project("target", by=alice.identity)


def copy(api: Api, source: str, path: str = "app", project: str = "target") -> Reply:
    return api.post(f"/projects/{project}/repositories/{path}/artifacts?from={source}")


def attach(subject: Artifact, text: bytes, **more: Any) -> Artifact:
    project = Project.objects.select_related("namespace").get(namespace=subject.repository.namespace)
    document = {
        "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "application/vnd.example.thing",
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", **push_blob(subject.repository_id, b"{}")},
        "layers": [{"mediaType": "application/octet-stream", **push_blob(subject.repository_id, text)}],
        "subject": descriptor(subject), **more,
    }  # fmt: skip
    return push(project, subject.repository.path, document)


def digests(path: str, project: str = "target") -> set[str]:
    rows = Artifact.objects.filter(repository__namespace__name=project, repository__path=path)
    return set(rows.values_list("digest", flat=True))


# -- what is copied


def test_by_tag(admin: Api, library: Project, target: Project) -> None:
    image = push_image(library, "dir/app", "v1", "v2")
    events, stored = EventOutbox.objects.count(), Blob.objects.count()
    reply = copy(admin, "library/dir/app:v1", "nested%252Fcopy")
    assert (reply.status, reply.content) == (201, b"")
    assert reply.headers["Location"] == "/api/v2.0/projects/target/repositories/nested%2Fcopy/artifacts/v1"
    made = Artifact.objects.get(repository__path="nested/copy")
    same = ("digest", "media_type", "kind", "config_media_type", "size", "annotations", "extra_attrs", "payload")
    assert {f: getattr(made, f) for f in same} == {f: getattr(image, f) for f in same}
    assert made.pk != image.pk
    assert Repository.objects.get(path="nested/copy").is_listed
    assert tag_names(made) == {"v1", "v2"}
    edges = [set(ArtifactBlob.objects.filter(artifact=a).values_list("digest", "blob_id")) for a in (image, made)]
    assert edges[0] == edges[1]
    assert Blob.objects.count() == stored
    shown = admin.get("/projects/target/repositories/nested%252Fcopy/artifacts/v1").body
    assert (shown["digest"], shown["repository_name"]) == (image.digest, "target/nested/copy")
    event = EventOutbox.objects.order_by("id")[events:].get()
    assert (event.type, event.operator) == ("artifact.pushed", "admin")
    assert event.payload == {
        "repository": "target/nested/copy", "digest": image.digest, "tags": ["v1", "v2"],
        "namespace_id": target.namespace_id,
    }  # fmt: skip
    row = AuditLog.objects.get(namespace_id=target.namespace_id, resource_type="artifact")
    assert (row.username, row.operation, row.resource) == ("admin", "create", "target/nested/copy:v1")
    move = TagHistory.objects.get(repository=made.repository_id, name="v2")
    assert (move.from_digest, move.to_digest, move.moved_by) == ("", image.digest, "admin")


def test_by_digest(admin: Api, library: Project, target: Project) -> None:
    image = push_image(library, "app", "v1")
    reply = copy(admin, f"library/app@{image.digest}")
    assert reply.headers["Location"] == f"/api/v2.0/projects/target/repositories/app/artifacts/{image.digest}"
    assert digests("app") == {image.digest}
    assert tag_names(Artifact.objects.get(repository__namespace=target.namespace)) == {"v1"}
    row = AuditLog.objects.get(namespace_id=target.namespace_id, resource_type="artifact")
    assert row.resource == f"target/app@{image.digest}"


def test_an_index_comes_with_its_children_and_all_that_is_attached(
    admin: Api, library: Project, target: Project
) -> None:
    one, two, beside = (push_image(library, "app", *tags) for tags in ((), ("two",), ("beside",)))
    index = push_index(library, "app", "multi", one, two)
    referrer = attach(one, b"of one")
    deep = attach(referrer, b"of the referrer")
    signature = attach(index, b"of the index")
    attach(beside, b"of another")
    assert copy(admin, "library/app:multi").status == 201
    wanted = {a.digest for a in (one, two, index, referrer, deep, signature)}
    assert digests("app") == wanted
    rows = {a.digest: a for a in Artifact.objects.filter(repository__namespace=target.namespace)}
    assert [c.child_id for c in rows[index.digest].children.order_by("position")] == [
        rows[one.digest].pk, rows[two.digest].pk,
    ]  # fmt: skip
    assert rows[referrer.digest].subject_id == rows[one.digest].pk
    assert rows[deep.digest].subject_id == rows[referrer.digest].pk
    assert rows[signature.digest].subject_id == rows[index.digest].pk
    shown = admin.get("/projects/target/repositories/app/artifacts?with_accessory=true").body
    assert {a["digest"]: [t["name"] for t in a["tags"]] for a in shown} == {
        index.digest: ["multi"], two.digest: ["two"],
    }  # fmt: skip
    accessories = {a["digest"]: a["accessories"] for a in shown}
    assert [a["digest"] for a in accessories[index.digest]] == [signature.digest]
    assert {e.payload["digest"] for e in EventOutbox.objects.filter(payload__repository="target/app")} == wanted


def test_a_signature_by_tag_brings_its_tag(admin: Api, library: Project, target: Project) -> None:
    image = push_image(library, "app", "v1")
    layer = {"mediaType": SIMPLE_SIGNING, **push_blob(image.repository_id, b"{}")}
    name = f"sha256-{image.digest[7:]}.sig"
    signature = push_image(library, "app", name, layers=[layer])
    assert copy(admin, "library/app:v1").status == 201
    tags = Tag.objects.filter(repository__namespace=target.namespace)
    assert dict(tags.values_list("name", "artifact__digest")) == {"v1": image.digest, name: signature.digest}


def test_what_came_early_finds_it(admin: Api, library: Project, target: Project) -> None:
    """A referrer is in the target already; its subject is copied there."""
    image = push_image(library, "app", "v1")
    from registry_core import actions

    repository = actions.ensure_repository(target.namespace_id, "app")
    config, layer = (push_blob(repository.pk, data) for data in (b"{}", b"early"))
    early = push(
        target, "app",
        {
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": {"mediaType": "application/vnd.oci.empty.v1+json", **config},
            "layers": [{"mediaType": "application/octet-stream", **layer}], "subject": descriptor(image),
        },
    )  # fmt: skip
    assert early.subject_id is None
    assert copy(admin, "library/app:v1").status == 201
    early.refresh_from_db()
    assert early.subject_id == Artifact.objects.get(repository=repository, digest=image.digest).pk


def test_again_changes_nothing_and_is_no_push(admin: Api, library: Project, target: Project) -> None:
    push_image(library, "app", "v1")
    copy(admin, "library/app:v1")

    def counts() -> list[int]:
        return [m.objects.count() for m in (Artifact, Tag, TagHistory, EventOutbox, AuditLog, NamespaceBlob)]

    before = counts()
    assert copy(admin, "library/app:v1").status == 201
    assert copy(admin, "target/app:v1").status == 201  # within the repository
    assert counts() == before


def test_a_tag_that_is_there_moves(admin: Api, library: Project, target: Project) -> None:
    old = push_image(target, "app", "v1")
    new = push_image(library, "app", "v1")
    assert copy(admin, "library/app:v1").status == 201
    tag = Tag.objects.get(repository__namespace=target.namespace)
    assert tag.artifact.digest == new.digest
    move = TagHistory.objects.filter(repository=old.repository_id).latest("id")
    assert (move.from_digest, move.to_digest) == (old.digest, new.digest)


def test_labels_and_pull_times_stay_behind(admin: Api, library: Project, target: Project) -> None:
    image = push_image(library, "app", "v1")
    number = admin.post("/labels", {"name": "hot", "scope": "g"}).id
    admin.post("/projects/library/repositories/app/artifacts/v1/labels", {"id": number})
    Artifact.objects.filter(pk=image.pk).update(pulled_at="2024-01-01T00:00:00Z")
    assert copy(admin, "library/app:v1").status == 201
    made = Artifact.objects.get(repository__namespace=target.namespace)
    assert made.pulled_at is None
    assert not ArtifactLabel.objects.filter(artifact=made).exists()


# -- quota


def used(project: Project) -> int:
    return Quota.objects.get(project=project).used


def test_the_target_pays_every_digest_once(admin: Api, library: Project, target: Project) -> None:
    one, two = push_image(library, "app"), push_image(library, "app")
    push_index(library, "app", "multi", one, two)
    assert copy(admin, "library/app:multi").status == 201
    assert used(target) == used(library) > 0
    assert copy(admin, "library/app:multi", "other").status == 201
    assert used(target) == used(library)
    assert quota.prove(target.namespace_id).is_none
    assert admin.delete("/projects/target/repositories/app").status == 200
    assert used(target) == used(library)
    assert admin.delete("/projects/target/repositories/other").status == 200
    assert used(target) == 0


@pytest.mark.django_db(transaction=True)
def test_what_does_not_fit_is_not_copied(admin: Api, library: Project, target: Project) -> None:
    push_image(library, "app", "v1")
    Quota.objects.filter(project=target).update(hard=100)
    reply = copy(admin, "library/app:v1")
    assert (reply.status, reply.code) == (403, "DENIED")
    assert "of storage resource, which when updated to current usage of 0 B will exceed" in reply.message
    assert not Repository.objects.filter(namespace=target.namespace).exists()
    assert (used(target), NamespaceBlob.objects.filter(namespace=target.namespace).count()) == (0, 0)


# -- refusals


@pytest.mark.parametrize(
    "source",
    [
        "library/app:absent", f"library/app@sha256:{'0' * 64}", "library/none:v1", "absent/app:v1", "library/app",
        "nonsense", "library/app@v1", ":", "@", "library/app:", "%2F:v1",
    ],
)  # fmt: skip
def test_a_source_that_is_not_there(admin: Api, library: Project, target: Project, source: str) -> None:
    push_image(library, "app")
    reply = copy(admin, source)
    assert (reply.status, reply.code) == (400, "BAD_REQUEST")
    assert reply.message == f"artifact {source.replace('%2F', '/')} not found"
    assert not Repository.objects.filter(namespace=target.namespace).exists()


def test_other_refusals(admin: Api, library: Project, target: Project) -> None:
    image = push_image(library, "app", "v1")
    accessory = attach(image, b"x")
    alone = copy(admin, f"library/app@{accessory.digest}")
    assert (alone.status, alone.code) == (403, "DENIED")
    assert alone.message == "the operation isn't supported for an artifact accessory"
    assert copy(admin, "").status == 422
    assert admin.post("/projects/target/repositories/app/artifacts").status == 422
    assert copy(admin, "library/app:v1", project="absent").status == 404
    for bad in ("Bad", "a%252F%252Fb", "-a", "a" * 250):
        assert copy(admin, "library/app:v1", bad).status == 404
    assert not Repository.objects.filter(namespace=target.namespace).exists()


def test_who_may(
    admin: Api, alice: Person, bob: Person, charlie: Person, anonymous: Api, target: Project, as_: As
) -> None:
    """Whoever may create artifacts in the target and read them in the source; a source that is hidden is absent."""
    push_image(make_project("pub", public=True), "app", "v1")
    push_image(make_project("hidden"), "app", "v1")
    push_image(target, "app", "v1")
    sources = ("pub/app:v1", "hidden/app:v1", "absent/app:v1", "target/app:v1")

    def statuses(api: Api) -> list[int]:
        return [copy(api, source, "copied").status for source in sources]

    assert statuses(anonymous) == [401, 401, 401, 401]
    assert statuses(as_(charlie)) == statuses(as_(bob)) == [403, 403, 403, 403]
    assert not Repository.objects.filter(path="copied").exists()
    assert statuses(as_(alice)) == [201, 403, 403, 201]
    hidden, absent = (copy(as_(alice), f"{name}/app:v1").content for name in ("hidden", "absent"))
    assert hidden.replace(b"hidden", b"absent") == absent
    pusher = make_robot(("target", ["repository:push", "repository:pull"]))
    assert statuses(Api(pusher.basic)) == [403, 403, 403, 403]
    maker = make_robot(("target", ["artifact:create", "artifact:read", "repository:pull"]))
    assert statuses(Api(maker.basic)) == [201, 403, 403, 201]


def test_what_may_be_read_and_not_pulled_is_not_had_by_copying(admin: Api, library: Project, target: Project) -> None:
    """Harbor: 201."""
    hidden = make_project("hidden")
    push_image(hidden, "app", "v1")
    own = ("target", ["artifact:create", "repository:pull"])
    reader = Api(make_robot(("hidden", ["artifact:read"]), own, level="system").basic)
    assert reader.get("/projects/hidden/repositories/app/artifacts/v1").status == 200
    assert copy(reader, "hidden/app:v1").status == 403
    assert not Repository.objects.filter(namespace=target.namespace).exists()
    puller = Api(make_robot(("hidden", ["artifact:read", "repository:pull"]), own, level="system").basic)
    assert copy(puller, "hidden/app:v1").status == 201


def test_read_only_mode(admin: Api, library: Project, target: Project) -> None:
    from registry_core import configuration

    push_image(library, "app", "v1")
    configuration.set_values({"read_only": True})
    assert copy(admin, "library/app:v1").status == 403


def test_it_asks_as_often_for_many_children_as_for_one(admin: Api, library: Project, target: Project) -> None:
    def count(children: int, path: str) -> int:
        index = push_index(library, path, "multi", *(push_image(library, path) for _ in range(children)))
        attach(index, path.encode())
        with CaptureQueriesContext(connection) as queries:
            assert copy(admin, f"library/{path}:multi", path).status == 201
        return len(queries)

    count(1, "warm")
    assert count(9, "many") == count(2, "few") <= 30
