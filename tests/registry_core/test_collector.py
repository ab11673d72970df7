"""The collector: frees what nothing holds, and nothing else (design 3, Garbage collection)."""

from __future__ import annotations

import pathlib

import pytest

from tests import ledger
from tests.content import INDEX, MANIFEST, descriptor, digest_of, encode, index_document, new_bytes
from tests.server import Image, Pair, Repository, Server, new_image

SIZE = 5000


def files_of(server: Server, *contents: bytes) -> list[pathlib.Path]:
    return [server.storage / key for data in contents for key in keys_of(server, data)]


def keys_of(server: Server, data: bytes) -> list[str]:
    found = server.rows("SELECT key FROM registry_core_blob WHERE digest = %s", digest_of(data))
    return [key for (key,) in found]


def end_lease(server: Server, data: bytes) -> None:
    """As if 24 hours had passed for this blob."""
    server.rows(
        "UPDATE registry_core_repositoryblob SET leased_until = now() - interval '1 second' "
        "WHERE blob_id = (SELECT id FROM registry_core_blob WHERE digest = %s)",
        digest_of(data),
    )
    server.rows(
        "UPDATE registry_core_collectorcandidate SET due_at = now() "
        "WHERE blob_id = (SELECT id FROM registry_core_blob WHERE digest = %s)",
        digest_of(data),
    )


def candidates(server: Server, data: bytes, *, due: bool) -> int:
    ((count,),) = server.rows(
        "SELECT count(*) FROM registry_core_collectorcandidate c JOIN registry_core_blob b ON b.id = c.blob_id "
        "WHERE b.digest = %s AND (c.due_at <= now()) = %s",
        digest_of(data), due,
    )  # fmt: skip
    return int(count)


@pytest.fixture
def image(server: Server, repository: Repository) -> Image:
    server.collect()
    return repository.push_image("v1", new_image(2, SIZE))


# -- what goes


def test_the_bytes_of_a_deleted_image_leave_the_disk_within_one_round(
    server: Server, repository: Repository, image: Image
) -> None:
    files = files_of(server, *image.blobs)
    before = server.stored_bytes()
    assert all(file.exists() for file in files)
    assert repository.delete(f"manifests/{image.digest}").status_code == 202
    freed = server.collect()
    size = sum(len(blob) for blob in image.blobs)
    assert freed == {"blobs": 3, "objects": 3, "bytes": size}
    assert not any(file.exists() for file in files)
    assert server.stored_bytes() == before - size
    assert server.rows("SELECT 1 FROM registry_core_blob WHERE digest = %s", digest_of(image.config)) == []
    ledger.assert_adds_up(server.database, server.storage)


def test_a_second_round_finds_nothing(server: Server, repository: Repository, image: Image) -> None:
    repository.delete(f"manifests/{image.digest}")
    server.collect()
    assert server.collect() == {"blobs": 0, "objects": 0, "bytes": 0}


def test_everything_below_an_index_goes_with_it(server: Server, repository: Repository, image: Image) -> None:
    child = repository.push_image("", new_image(1, SIZE))
    referrer = repository.push_image("", new_image(1, SIZE, subject=descriptor(MANIFEST, child.payload)))
    index = encode(index_document([child.payload]))
    repository.push_manifest(index, "all", INDEX)
    files = files_of(server, *child.blobs, *referrer.blobs)
    repository.delete(f"manifests/{digest_of(index)}")
    assert server.collect()["objects"] == len(files) == 4
    assert not any(file.exists() for file in files)
    repository.assert_holds(image, "v1")


def test_a_deleted_repository_leaves_nothing(server: Server, repository: Repository, image: Image) -> None:
    data = new_bytes(SIZE)
    repository.push_blob(data)
    location = repository.start_upload()
    repository.client.patch(location, content=new_bytes(SIZE))
    ((key,),) = server.rows("SELECT key FROM registry_core_upload WHERE id = %s", location.rpartition("/")[2])
    files = [*files_of(server, *image.blobs, data), server.storage / key]
    project, _, path = repository.name.partition("/")
    assert server.rest.delete(f"/projects/{project}/repositories/{path}").status_code == 200
    assert server.collect()["bytes"] == sum(len(b) for b in image.blobs) + 2 * SIZE
    assert not any(file.exists() for file in files)


def test_cancelled_and_failed_uploads_leave_nothing(server: Server, repository: Repository) -> None:
    before = server.stored_bytes()
    cancelled = repository.start_upload()
    repository.client.patch(cancelled, content=new_bytes(SIZE))
    repository.client.delete(cancelled)
    wrong = {"digest": digest_of(new_bytes())}
    assert (
        repository.client.put(repository.start_upload(), params=wrong, content=new_bytes(SIZE)).status_code
        == 400
    )
    assert server.collect()["bytes"] == 2 * SIZE
    assert server.stored_bytes() == before


def test_the_surplus_of_a_second_upload_goes(server: Server, repository: Repository) -> None:
    data = new_bytes(SIZE)
    repository.push_blob(data)
    before = server.stored_bytes()
    repository.push_blob(data)
    assert server.collect() == {"blobs": 0, "objects": 1, "bytes": SIZE}
    assert server.stored_bytes() == before
    assert repository.get(f"blobs/{digest_of(data)}").content == data


def test_an_upload_that_nobody_came_back_for_goes(server: Server, repository: Repository) -> None:
    """After seven days."""
    locations = [repository.start_upload() for _ in range(2)]
    for location, age in zip(locations, ("7 days 1 minute", "6 days 23 hours"), strict=True):
        repository.client.patch(location, content=new_bytes(SIZE))
        server.rows(
            "UPDATE registry_core_upload SET updated_at = now() - %s::interval WHERE id = %s",
            age, location.rpartition("/")[2],
        )  # fmt: skip
    assert server.collect()["bytes"] == SIZE
    assert [repository.client.get(location).status_code for location in locations] == [404, 204]


# -- what stays


def test_what_another_repository_holds_stays(
    server: Server, repository: Repository, image: Image, robot: Pair
) -> None:
    other = server.repository(f"{repository.name}-2", robot)
    other.push_image("v1", image)
    repository.delete(f"manifests/{image.digest}")
    server.collect()
    other.assert_holds(image, "v1")
    assert candidates(server, image.config, due=True) == 0
    other.delete(f"manifests/{image.digest}")
    assert server.collect()["objects"] == 3


def test_what_another_manifest_holds_stays(server: Server, repository: Repository, image: Image) -> None:
    twin = Image(image.payload + b" ", image.config, image.layers)
    repository.push_manifest(twin.payload, "v2")
    repository.delete(f"manifests/{image.digest}")
    assert server.collect()["objects"] == 0
    repository.assert_holds(twin, "v2")


def test_a_tag_that_goes_frees_nothing(server: Server, repository: Repository, image: Image) -> None:
    repository.delete("manifests/v1")
    assert server.collect()["objects"] == 0
    repository.assert_holds(image)


# -- leases


def test_an_upload_is_held_for_24_hours(server: Server, repository: Repository) -> None:
    data = new_bytes(SIZE)
    repository.push_blob(data)
    ((left,),) = server.rows(
        "SELECT extract(epoch FROM c.due_at - now())::float8 FROM registry_core_collectorcandidate c "
        "JOIN registry_core_blob b ON b.id = c.blob_id WHERE b.digest = %s",
        digest_of(data),
    )
    assert 24 * 3600 - 60 < left <= 24 * 3600
    assert server.collect()["objects"] == 0
    assert repository.get(f"blobs/{digest_of(data)}").content == data


def test_an_upload_without_a_manifest_goes_when_its_lease_ends(
    server: Server, repository: Repository
) -> None:
    data = new_bytes(SIZE)
    repository.push_blob(data)
    end_lease(server, data)
    assert server.collect() == {"blobs": 1, "objects": 1, "bytes": SIZE}
    assert repository.get(f"blobs/{digest_of(data)}").status_code == 404


def test_a_running_lease_outlives_an_early_look(server: Server, repository: Repository) -> None:
    """The candidate of an older, shorter lease is looked at: the collector comes back at the end of the newer one."""
    data = new_bytes(SIZE)
    repository.push_blob(data)
    server.rows(
        "UPDATE registry_core_collectorcandidate SET due_at = now() "
        "WHERE blob_id = (SELECT id FROM registry_core_blob WHERE digest = %s)",
        digest_of(data),
    )
    assert server.collect()["objects"] == 0
    assert (candidates(server, data, due=True), candidates(server, data, due=False)) == (0, 1)
    end_lease(server, data)
    assert server.collect()["objects"] == 1


def test_a_manifest_ends_the_lease_so_that_its_bytes_go_with_it(
    server: Server, repository: Repository, image: Image
) -> None:
    leases = (
        "SELECT 1 FROM registry_core_repositoryblob l JOIN registry_core_blob b ON b.id = l.blob_id "
        "WHERE b.digest = %s"
    )
    assert server.rows(leases, digest_of(image.config)) == []
    repository.delete(f"manifests/{image.digest}")
    assert server.collect()["objects"] == 3


def test_a_lease_elsewhere_holds_what_a_deleted_manifest_held(
    server: Server, repository: Repository, image: Image, robot: Pair
) -> None:
    other = server.repository(f"{repository.name}-2", robot)
    digest = digest_of(image.layers[0])
    mounted = other.post("blobs/uploads/", params={"mount": digest, "from": repository.name})
    assert mounted.status_code == 201
    repository.delete(f"manifests/{image.digest}")
    assert server.collect()["objects"] == 2
    assert other.get(f"blobs/{digest}").content == image.layers[0]
    end_lease(server, image.layers[0])
    assert server.collect()["objects"] == 1


def test_who_was_told_by_head_that_a_blob_is_here_can_use_it(
    server: Server, repository: Repository, image: Image
) -> None:
    """HEAD, then the image that held it goes, then the collector comes, then the manifest (design 3)."""
    for blob in image.blobs:
        assert repository.head(f"blobs/{digest_of(blob)}").status_code == 200
    repository.delete(f"manifests/{image.digest}")
    assert server.collect()["objects"] == 0
    repository.push_manifest(image.payload, "again")
    repository.assert_holds(image, "again")


def test_deleting_an_upload_frees_its_bytes_at_once(server: Server, repository: Repository) -> None:
    data = new_bytes(SIZE)
    digest = repository.push_blob(data)
    assert repository.delete(f"blobs/{digest}").status_code == 202
    assert server.collect()["bytes"] == SIZE


# -- what a key is


def test_a_key_is_never_used_again(server: Server, repository: Repository, image: Image) -> None:
    """So a late deletion can never hit newer bytes (design 2.2)."""
    old = keys_of(server, image.config)
    repository.delete(f"manifests/{image.digest}")
    # Condemned, not gone yet, when the same bytes come again.
    repository.push_image("v1", image)
    server.collect()
    repository.assert_holds(image, "v1")
    repository.delete(f"manifests/{image.digest}")
    server.collect()
    repository.push_image("v1", image)
    assert keys_of(server, image.config) != old
    repository.assert_holds(image, "v1")


def test_what_the_storage_does_not_confirm_stays_due(
    server: Server, repository: Repository, image: Image
) -> None:
    """A directory under the name of the object: it cannot be removed as a file."""
    (file,) = files_of(server, image.config)
    ((key,),) = server.rows("SELECT key FROM registry_core_blob WHERE digest = %s", digest_of(image.config))
    file.unlink()
    (file / "in the way").mkdir(parents=True)
    repository.delete(f"manifests/{image.digest}")
    assert server.collect()["objects"] == 2
    state = "SELECT attempts, due_at > now() FROM registry_core_deletedobject WHERE key = %s"
    assert server.rows(state, key) == [(1, True)]
    (file / "in the way").rmdir()
    file.rmdir()
    server.rows("UPDATE registry_core_deletedobject SET due_at = now() WHERE key = %s", key)
    assert server.collect()["objects"] == 1
    assert server.rows(state, key) == []


def test_hundreds_are_collected_in_one_round(server: Server, repository: Repository, image: Image) -> None:
    """More than one batch of candidates, and the cost is that of what is deleted."""
    big = new_image(510, 20)
    repository.push_image("big", big)
    repository.delete(f"manifests/{big.digest}")
    assert server.collect()["objects"] == 511
    repository.assert_holds(image, "v1")
    ledger.assert_adds_up(server.database, server.storage)


def test_a_repository_that_never_got_an_artifact_is_forgotten_after_a_day(
    server: Server, repository: Repository
) -> None:
    path = repository.name.partition("/")[2]
    location = repository.start_upload()
    repository.client.delete(location)
    known = "SELECT 1 FROM registry_core_repository WHERE path = %s"
    server.collect()
    assert server.rows(known, path) == [(1,)]
    server.rows(
        "UPDATE registry_core_repository SET created_at = now() - interval '25 hours' WHERE path = %s", path
    )
    server.collect()
    assert server.rows(known, path) == []
