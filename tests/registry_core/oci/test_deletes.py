"""Deleting over /v2 (distribution-spec "Deleting tags", "Deleting Manifests", "Deleting Blobs"; design 3)."""

from __future__ import annotations

import pytest

from tests.content import (
    INDEX,
    MANIFEST,
    absent_digest,
    descriptor,
    digest_of,
    encode,
    index_document,
    new_bytes,
)
from tests.server import Image, Pair, Repository, Server, assert_refused, new_image


def assert_deleted(repository: Repository, path: str) -> None:
    answer = repository.delete(path)
    assert (answer.status_code, answer.content) == (202, b""), answer.text


def is_there(repository: Repository, reference: str) -> bool:
    status = repository.head(f"manifests/{reference}").status_code
    assert status in (200, 404)
    return status == 200


def push_index(repository: Repository, *children: Image, tag: str = "") -> str:
    payload = encode(index_document([c.payload for c in children], annotations={"unique": absent_digest()}))
    return repository.push_manifest(payload, tag, INDEX)


def push_referrer(repository: Repository, subject: bytes, tag: str = "") -> Image:
    return repository.push_image(tag, new_image(1, subject=descriptor(MANIFEST, subject)))


# -- tags


def test_a_tag_goes_and_its_artifact_stays(repository: Repository) -> None:
    image = repository.push_image("v1")
    repository.push_manifest(image.payload, "v2")
    assert_deleted(repository, "manifests/v1")
    assert_refused(repository.get("manifests/v1"), 404, "MANIFEST_UNKNOWN")
    assert_refused(repository.delete("manifests/v1"), 404, "MANIFEST_UNKNOWN")
    repository.assert_holds(image, "v2")
    assert_deleted(repository, "manifests/v2")
    repository.assert_holds(image)
    assert repository.get("tags/list").json()["tags"] == []


# -- manifests


def test_a_manifest_goes_with_all_its_tags(repository: Repository) -> None:
    image, other = repository.push_image("v1"), repository.push_image("other")
    repository.push_manifest(image.payload, "v2")
    assert_deleted(repository, f"manifests/{image.digest}")
    for reference in ("v1", "v2", image.digest):
        assert_refused(repository.get(f"manifests/{reference}"), 404, "MANIFEST_UNKNOWN")
    for blob in image.blobs:
        assert_refused(repository.get(f"blobs/{digest_of(blob)}"), 404, "BLOB_UNKNOWN")
    assert_refused(repository.delete(f"manifests/{image.digest}"), 404, "MANIFEST_UNKNOWN")
    repository.assert_holds(other, "other")
    assert repository.get("tags/list").json()["tags"] == ["other"]


def test_what_two_manifests_share_stays_with_the_other(repository: Repository) -> None:
    image = repository.push_image("v1")
    twin = Image(image.payload + b"\n", image.config, image.layers)
    repository.push_manifest(twin.payload, "v2")
    assert_deleted(repository, f"manifests/{image.digest}")
    repository.assert_holds(twin, "v2")


def test_a_deleted_manifest_may_be_pushed_again(repository: Repository) -> None:
    image = repository.push_image("v1")
    assert_deleted(repository, f"manifests/{image.digest}")
    answer = repository.put_manifest(image.payload, "v1")
    assert {e["code"] for e in answer.json()["errors"]} == {"MANIFEST_BLOB_UNKNOWN"}
    repository.push_image("v1", image)
    repository.assert_holds(image, "v1")


# -- indexes


def test_a_child_stays_while_its_index_does(repository: Repository) -> None:
    child = repository.push_image("child")
    index = push_index(repository, child, tag="v1")
    answer = repository.delete(f"manifests/{child.digest}")
    detail = {"repository": repository.name, "indexes": [index], "fix": "delete these indexes first"}
    error = assert_refused(answer, 412, "VIOLATE_FOREIGN_KEY_CONSTRAINT", **detail)
    assert error["message"] == "the deleting artifact is referenced by others"
    repository.assert_holds(child, "child")


def test_an_index_goes_with_the_children_that_nothing_else_holds(repository: Repository) -> None:
    lone, tagged, shared = repository.push_image(), repository.push_image("keep"), repository.push_image()
    index = push_index(repository, lone, tagged, shared, tag="v1")
    other = push_index(repository, shared, tag="v2")
    assert_deleted(repository, f"manifests/{index}")
    assert not is_there(repository, lone.digest)
    repository.assert_holds(tagged, "keep")
    repository.assert_holds(shared)
    assert_deleted(repository, f"manifests/{other}")
    assert not is_there(repository, shared.digest)


def test_an_index_of_indexes_goes_all_the_way_down(repository: Repository) -> None:
    child = repository.push_image()
    inner = encode(index_document([child.payload]))
    repository.push_manifest(inner, "", INDEX)
    outer = encode(index_document([], manifests=[descriptor(INDEX, inner)]))
    repository.push_manifest(outer, "v1", INDEX)
    assert_deleted(repository, f"manifests/{digest_of(outer)}")
    assert not is_there(repository, digest_of(inner))
    assert not is_there(repository, child.digest)


def test_deleting_the_tag_of_a_child_leaves_it_in_its_index(repository: Repository) -> None:
    child = repository.push_image("child")
    push_index(repository, child, tag="v1")
    assert_deleted(repository, "manifests/child")
    repository.assert_holds(child)


# -- referrers


@pytest.mark.parametrize("tag", ["", "signature"])
def test_a_subject_goes_with_its_referrers(repository: Repository, tag: str) -> None:
    """All of them are hard references (contract 3.4), tagged or not, and what refers to them too."""
    image = repository.push_image("v1")
    referrer = push_referrer(repository, image.payload, tag)
    second = push_referrer(repository, referrer.payload)
    assert_deleted(repository, f"manifests/{image.digest}")
    assert not is_there(repository, referrer.digest)
    assert not is_there(repository, second.digest)


def test_a_referrer_goes_and_its_subject_stays(repository: Repository) -> None:
    image = repository.push_image("v1")
    referrer = push_referrer(repository, image.payload)
    assert_deleted(repository, f"manifests/{referrer.digest}")
    repository.assert_holds(image, "v1")
    assert repository.get(f"referrers/{image.digest}").json()["manifests"] == []


def test_the_referrers_of_a_child_that_stays_stay(repository: Repository) -> None:
    child = repository.push_image("keep")
    referrer = push_referrer(repository, child.payload)
    index = push_index(repository, child)
    of_index = push_referrer(repository, repository.get(f"manifests/{index}").content)
    assert_deleted(repository, f"manifests/{index}")
    assert not is_there(repository, of_index.digest)
    repository.assert_holds(child, "keep")
    repository.assert_holds(referrer)


def test_the_referrers_of_a_child_that_goes_go(repository: Repository) -> None:
    child = repository.push_image()
    referrer = push_referrer(repository, child.payload)
    assert_deleted(repository, f"manifests/{push_index(repository, child)}")
    assert not is_there(repository, child.digest)
    assert not is_there(repository, referrer.digest)


def test_a_referrer_that_an_index_holds_stays_with_the_index(repository: Repository) -> None:
    image = repository.push_image("v1")
    referrer = push_referrer(repository, image.payload)
    index = push_index(repository, referrer, tag="all")
    assert_deleted(repository, f"manifests/{image.digest}")
    repository.assert_holds(referrer)
    assert is_there(repository, index)


def test_an_index_that_refers_to_its_own_child(repository: Repository) -> None:
    """Neither can be deleted before the other, were it asked one by one."""
    child = repository.push_image()
    document = index_document([child.payload], subject=descriptor(MANIFEST, child.payload))
    index = repository.push_manifest(encode(document), "v1", INDEX)
    answer = repository.delete(f"manifests/{child.digest}")
    assert answer.status_code in (202, 412)
    if answer.status_code == 412:
        assert_deleted(repository, f"manifests/{index}")
    assert not is_there(repository, index)
    assert not is_there(repository, child.digest)


# -- blobs


def test_a_blob_that_a_manifest_holds_stays(repository: Repository) -> None:
    image = repository.push_image("v1")
    digest = digest_of(image.layers[0])
    answer = repository.delete(f"blobs/{digest}")
    assert_refused(answer, 412, "VIOLATE_FOREIGN_KEY_CONSTRAINT", blob=digest, artifacts=[image.digest])
    repository.assert_holds(image, "v1")


def test_a_blob_that_was_only_uploaded_goes(server: Server, repository: Repository, robot: Pair) -> None:
    data = new_bytes()
    digest = repository.push_blob(data)
    other = server.repository(f"{repository.name}-2", robot)
    other.push_blob(data)
    assert_deleted(repository, f"blobs/{digest}")
    for method in ("GET", "HEAD"):
        assert repository.request(method, f"blobs/{digest}").status_code == 404
    assert_refused(repository.delete(f"blobs/{digest}"), 404, "BLOB_UNKNOWN", digest)
    assert other.get(f"blobs/{digest}").content == data


def test_a_blob_that_somebody_else_uploaded_is_not_there_to_delete(
    server: Server, project: str, repository: Repository
) -> None:
    digest = repository.push_blob(new_bytes())
    colleague = server.repository(repository.name, server.create_robot(project))
    assert_refused(colleague.delete(f"blobs/{digest}"), 404, "BLOB_UNKNOWN", digest)
    assert repository.head(f"blobs/{digest}").status_code == 200


def test_an_absent_blob_is_not_there_to_delete(repository: Repository) -> None:
    assert_refused(repository.delete(f"blobs/{absent_digest()}"), 404, "BLOB_UNKNOWN")


# -- whole repositories


def test_deleting_the_repository(server: Server, repository: Repository) -> None:
    image = repository.push_image("v1")
    index = push_index(repository, image, tag="v2")
    location = repository.start_upload()
    digest = repository.push_blob(new_bytes())
    project, _, path = repository.name.partition("/")
    assert server.rest.delete(f"/projects/{project}/repositories/{path}").status_code == 200
    for reference in ("v1", "v2", image.digest, index):
        assert_refused(repository.get(f"manifests/{reference}"), 404, "MANIFEST_UNKNOWN")
    assert_refused(repository.get("tags/list"), 404, "NAME_UNKNOWN")
    assert_refused(repository.get(f"blobs/{digest}"), 404, "BLOB_UNKNOWN")
    assert_refused(repository.client.get(location), 404, "BLOB_UPLOAD_UNKNOWN")
    repository.push_image("v1", image)
    repository.assert_holds(image, "v1")


@pytest.mark.parametrize("path", ["manifests/v1", "manifests/{digest}", "blobs/{blob}"])
def test_who_may_push_may_not_delete(server: Server, project: str, repository: Repository, path: str) -> None:
    image = repository.push_image("v1")
    pusher = server.repository(repository.name, server.create_robot(project, ["pull", "push"]))
    answer = pusher.delete(path.format(digest=image.digest, blob=digest_of(image.config)))
    error = assert_refused(answer, 401, "UNAUTHORIZED")
    text = f"unauthorized to access repository: {repository.name}, action: delete"
    assert error["message"] == f"{text}: {text}"
    repository.assert_holds(image, "v1")


# -- the project around it


def test_a_project_that_holds_only_uploads_can_be_deleted_and_its_bytes_go(server: Server) -> None:
    project = server.create_project()
    robot = server.create_robot(project)
    repository = server.repository(f"{project}/app", robot)
    finished, begun = new_bytes(100), new_bytes(50)
    repository.push_blob(finished)
    location = repository.start_upload()
    assert repository.client.patch(location, content=begun).status_code == 202
    assert server.rest.get(f"/projects/{project}/_deletable").json() == {"deletable": True}
    answer = server.rest.delete(f"/projects/{project}")
    assert answer.status_code == 200, answer.text
    server.collect()
    ((left,),) = server.rows("SELECT count(*) FROM registry_core_blob WHERE digest = %s", digest_of(finished))
    assert left == 0
    assert server.rows("SELECT 1 FROM registry_core_upload WHERE id::text = %s", location.rpartition("/")[2]) == []
    assert server.scrub() == []


def test_a_project_that_holds_an_artifact_stays(server: Server) -> None:
    project = server.create_project()
    repository = server.repository(f"{project}/app", server.create_robot(project))
    image = repository.push_image("v1")
    assert server.rest.delete(f"/projects/{project}").status_code == 412
    repository.assert_holds(image, "v1")
