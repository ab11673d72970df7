"""Storage quotas over HTTP, enforced on /v2 (contract 3.3, 6.8; design 4)."""

from __future__ import annotations

import concurrent.futures
import json
import secrets
from dataclasses import dataclass

import httpx
import pytest

from projects.policies import quota
from tests import ledger
from tests.content import (
    INDEX,
    LAYER,
    descriptor,
    digest_of,
    encode,
    image_document,
    index_document,
    new_bytes,
)
from tests.server import ADMIN, Image, Repository, Server, assert_refused, new_image


@dataclass(frozen=True)
class Place:
    """A project with a limit; everything in it is done by the administrator."""

    server: Server
    name: str

    def repository(self, path: str = "app") -> Repository:
        return self.server.repository(f"{self.name}/{path}", ADMIN)

    @property
    def summary(self) -> dict[str, int]:
        shown = self.server.rest.get(f"/projects/{self.name}/summary").json()["quota"]
        return {"hard": shown["hard"]["storage"], "used": shown["used"]["storage"]}

    @property
    def used(self) -> int:
        return self.summary["used"]

    def limit(self, hard: int) -> None:
        self.server.rows(
            "UPDATE projects_quota q SET hard = %s FROM projects_project p JOIN registry_core_namespace n "
            "ON n.id = p.namespace_id WHERE p.id = q.project_id AND n.name = %s",
            hard, self.name,
        )  # fmt: skip

    def delete(self, path: str) -> None:
        answer = self.server.rest.delete(f"/projects/{self.name}/repositories/{path}")
        assert answer.status_code == 200, answer.text


def make_place(server: Server, limit: int = -1) -> Place:
    name = f"q{secrets.token_hex(4)}"
    answer = server.rest.post("/projects", json={"project_name": name, "storage_limit": limit})
    assert answer.status_code == 201, answer.text
    return Place(server, name)


def size_of(*images: Image) -> int:
    """Every digest once, manifests included: Harbor counts 905 for 397 + 107 + 401 (golden: quota)."""
    contents = {digest_of(data): len(data) for i in images for data in (i.payload, *i.blobs)}
    return sum(contents.values())


def image_of(*layers: bytes) -> Image:
    config = json.dumps({"architecture": "amd64", "os": "linux", "unique": secrets.token_hex(8)}).encode()
    return Image(encode(image_document(config, list(layers))), config, list(layers))


def put_blob(repository: Repository, data: bytes) -> httpx.Response:
    return repository.client.put(repository.start_upload(), params={"digest": digest_of(data)}, content=data)


MESSAGE = (
    "adding {} of storage resource, which when updated to current usage of {} will exceed the configured upper "
    "limit of {}."
)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"), (905, "905 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (5000, "4.9 KiB"), (6000, "5.9 KiB"),
        (35742, "34.9 KiB"), (40000, "39.1 KiB"), (42000, "41.0 KiB"), (1572864, "1.5 MiB"), (1 << 30, "1.0 GiB"),
        (1 << 50, "1.0 PiB"), (1 << 62, "4.0 EiB"),
    ],
)  # fmt: skip
def test_sizes_in_messages(count: int, text: str) -> None:
    """Golden: quota, webhook_payload_quota."""
    assert quota.as_text(count) == text


# -- what is counted


def test_used_counts_every_digest_once_a_project(server: Server) -> None:
    place = make_place(server)
    image = place.repository().push_image("v1")
    assert place.used == size_of(image)
    place.repository("again").push_image("v1", image)
    place.repository().push_manifest(image.payload, "v2")
    assert place.used == size_of(image)
    other = image_of(image.layers[0], new_bytes(500))
    place.repository("other").push_image("v1", other)
    assert place.used == size_of(image, other)


def test_an_index_adds_its_own_document_only(server: Server) -> None:
    place = make_place(server)
    image = place.repository().push_image("v1")
    document = encode(index_document([image.payload]))
    place.repository().push_manifest(document, "all", INDEX)
    assert place.used == size_of(image) + len(document)


def test_layers_that_lie_elsewhere_are_not_counted(server: Server) -> None:
    place = make_place(server)
    config, foreign = new_bytes(), descriptor(LAYER, new_bytes(9999), urls=["https://example.org/layer"])
    document = encode(image_document(config, [], layers=[foreign]))
    place.repository().push_blob(config)
    place.repository().push_manifest(document, "v1")
    assert place.used == len(config) + len(document)


def test_blobs_without_a_manifest_are_not_counted(server: Server) -> None:
    place = make_place(server)
    place.repository().push_blob(new_bytes())
    assert place.used == 0


def test_a_part_that_comes_later_is_counted_when_it_comes(server: Server) -> None:
    assert server.manage("setting", "allow_sparse", "true").returncode == 0
    try:
        place = make_place(server, 100_000)
        image = new_image()
        place.repository().push_manifest(image.payload, "v1")
        assert place.used == len(image.payload)
        for blob in image.blobs:
            place.repository().push_blob(blob)
        assert place.used == size_of(image)
        large = image_of(new_bytes(8000))
        place.repository().push_manifest(large.payload, "v2")
        place.limit(place.used + 4000)
        assert_refused(put_blob(place.repository(), large.layers[0]), 403, "DENIED", adding=8000)
        place.delete("app")  # what lacks parts is a finding of the ledger
    finally:
        server.manage("setting", "allow_sparse", "false")


def test_deletion_gives_back_what_nothing_else_in_the_project_holds(server: Server) -> None:
    place = make_place(server)
    shared, alone = new_bytes(300), new_bytes(200)
    one, two = image_of(shared), image_of(shared, alone)
    place.repository().push_image("one", one)
    place.repository().push_image("two", two)
    place.repository("copy").push_image("one", one)
    assert place.repository().delete("manifests/two").status_code == 202  # the tag goes, the artifact stays
    assert place.used == size_of(one, two)
    assert place.repository().delete(f"manifests/{two.digest}").status_code == 202
    assert place.used == size_of(one)
    place.delete("app")
    assert place.used == size_of(one)
    place.delete("copy")
    assert place.used == 0


def test_children_and_referrers_that_go_with_an_artifact_are_given_back(server: Server) -> None:
    place = make_place(server)
    repository = place.repository()
    image = repository.push_image()
    index = encode(index_document([image.payload]))
    repository.push_manifest(index, "all", INDEX)
    config = new_bytes()
    repository.push_blob(config)
    repository.push_manifest(encode(image_document(config, [], subject=descriptor(INDEX, index))))
    assert place.used > size_of(image) + len(index)
    assert repository.delete(f"manifests/{digest_of(index)}").status_code == 202
    assert place.used == 0


def test_what_other_projects_hold_is_no_business_of_this_one(server: Server) -> None:
    one, other = make_place(server), make_place(server)
    image = one.repository().push_image("v1")
    other.repository().push_image("v1", image)
    one.delete("app")
    assert (one.used, other.used) == (0, size_of(image))


# -- what is refused


def test_too_large_a_blob_is_refused_and_leaves_nothing(server: Server) -> None:
    place = make_place(server, 5000)
    image = place.repository().push_image("v1", image_of(new_bytes(107)))
    server.collect()
    stored = server.stored_bytes()
    answer = put_blob(place.repository(), new_bytes(6000))
    used = size_of(image)
    error = assert_refused(
        answer, 403, "DENIED", limit=5000, used=used, adding=6000, principal="user admin",
        rule=f"the artifacts of project {place.name} may take 5000 bytes of storage",
    )  # fmt: skip
    assert error["message"] == MESSAGE.format("5.9 KiB", quota.as_text(used), "4.9 KiB")
    assert error["detail"]["fix"]
    assert error["detail"]["who"]
    assert server.rows("SELECT 1 FROM registry_core_upload u JOIN registry_core_repository r "
                       "ON r.id = u.repository_id JOIN registry_core_namespace n ON n.id = r.namespace_id "
                       "WHERE n.name = %s", place.name) == []  # fmt: skip
    server.collect()
    assert server.stored_bytes() == stored


def test_a_blob_in_one_request_is_refused_too(server: Server) -> None:
    place, data = make_place(server, 5000), new_bytes(6000)
    answer = place.repository().post("blobs/uploads/", params={"digest": digest_of(data)}, content=data)
    assert_refused(answer, 403, "DENIED", adding=6000)


def test_a_manifest_that_does_not_fit_is_refused_and_leaves_nothing(server: Server) -> None:
    """Blobs that fit one by one, and a manifest that would hold both."""
    place = make_place(server, 5000)
    image = image_of(new_bytes(2400), new_bytes(2400))
    for blob in image.blobs:
        place.repository().push_blob(blob)
    answer = place.repository().put_manifest(image.payload, "v1")
    error = assert_refused(answer, 403, "DENIED", used=0, limit=5000, adding=size_of(image))
    assert error["message"] == MESSAGE.format(quota.as_text(size_of(image)), "0 B", "4.9 KiB")
    assert place.used == 0
    assert place.repository().get("manifests/v1").status_code == 404
    assert place.repository().get(f"manifests/{image.digest}").status_code == 404


def test_a_quota_can_be_filled_to_the_last_byte(server: Server) -> None:
    image, place = image_of(new_bytes(1000)), make_place(server)
    place.limit(size_of(image))
    place.repository().push_image("v1", image)
    assert place.summary == {"hard": size_of(image), "used": size_of(image)}
    place.repository().start_upload()  # full, and not over


def test_quotas_that_are_off_count_and_refuse_nothing(server: Server) -> None:
    place = make_place(server, 100)
    server.configure("quota_per_project_enable", value=False)
    try:
        image = place.repository().push_image("v1", image_of(new_bytes(5000)))
        place.repository().push_blob(new_bytes(5000))
        mounted = {"mount": digest_of(image.layers[0]), "from": f"{place.name}/app"}
        assert place.repository("other").post("blobs/uploads/", params=mounted).status_code == 201
        assert "quota" not in server.rest.get(f"/projects/{place.name}/summary").json()
    finally:
        server.configure("quota_per_project_enable", value=True)
    assert place.summary == {"hard": 100, "used": size_of(image)}
    assert_refused(place.repository().post("blobs/uploads/"), 403, "DENIED", adding=0)


def test_over_the_limit_nothing_that_adds_goes_in(server: Server) -> None:
    """A limit below what is used: golden scene quota."""
    place, source = make_place(server), make_place(server)
    image = place.repository().push_image("v1")
    used = quota.as_text(size_of(image))
    place.limit(100)
    error = assert_refused(place.repository().post("blobs/uploads/"), 403, "DENIED", adding=0)
    assert error["message"] == MESSAGE.replace("adding {}", "subtracting 0 B").format(used, "100 B")
    document = json.loads(image.payload)
    other = encode({**document, "annotations": {"a": "b"}})
    error = assert_refused(place.repository().put_manifest(other, "v3"), 403, "DENIED", adding=len(other))
    assert error["message"] == MESSAGE.format(f"{len(other)} B", used, "100 B")
    foreign = source.repository().push_image("v1")
    mount = {"mount": digest_of(foreign.layers[0]), "from": f"{source.name}/app"}
    assert_refused(
        place.repository().post("blobs/uploads/", params=mount), 403, "DENIED", adding=len(foreign.layers[0])
    )


def test_over_the_limit_what_adds_nothing_goes_on(server: Server) -> None:
    place = make_place(server)
    image = place.repository().push_image("v1")
    place.limit(100)
    place.repository().push_manifest(image.payload, "v2")
    place.repository().assert_holds(image, "v2")
    mount = {"mount": digest_of(image.layers[0]), "from": f"{place.name}/app"}
    assert place.repository("other").post("blobs/uploads/", params=mount).status_code == 201
    # A mount that cannot be done becomes an upload, as in Harbor; the blob is asked about when it is here.
    absent = {"mount": digest_of(new_bytes()), "from": f"{place.name}/app"}
    answer = place.repository().post("blobs/uploads/", params=absent)
    assert answer.status_code == 202
    data = new_bytes()
    finish = place.repository().client.put(
        answer.headers["Location"], params={"digest": digest_of(data)}, content=data
    )
    assert_refused(finish, 403, "DENIED", adding=len(data))
    place.delete("app")
    assert place.used == 0


def test_a_blob_of_the_project_may_come_again_when_it_is_full(server: Server) -> None:
    place = make_place(server)
    image = place.repository().push_image("v1")
    place.limit(place.used)
    assert put_blob(place.repository("other"), image.layers[0]).status_code == 201


def test_blobs_that_wait_for_a_manifest_have_a_cap(server: Server) -> None:
    place = make_place(server, 5000)
    first = new_bytes(3000)
    assert put_blob(place.repository(), first).status_code == 201
    assert put_blob(place.repository("other"), first).status_code == 201  # the same bytes
    error = assert_refused(
        put_blob(place.repository(), new_bytes(2500)), 403, "DENIED", adding=2500, used=3000
    )
    assert "wait for their manifests" in error["message"]
    image = image_of(first)
    place.repository().push_blob(image.config)
    place.repository().push_manifest(image.payload, "v1")
    place.limit(50_000)
    assert put_blob(place.repository(), new_bytes(2500)).status_code == 201


def test_a_robot_is_named_in_its_refusal(server: Server) -> None:
    place = make_place(server, 1000)
    name, secret = server.create_robot(place.name)
    repository = server.repository(f"{place.name}/app", (name, secret))
    assert_refused(put_blob(repository, new_bytes(2000)), 403, "DENIED", principal=f"robot {name}")


def test_a_project_without_a_limit_is_counted_and_never_full(server: Server) -> None:
    place = make_place(server)
    image = place.repository().push_image("v1", image_of(new_bytes(1 << 20)))
    assert place.summary == {"hard": -1, "used": size_of(image)}


# -- many at once


def _push_all(repository: Repository, image: Image, tag: str) -> list[int]:
    """The statuses of a push that goes on as far as it is let."""
    statuses = []
    for blob in image.blobs:
        start = repository.post("blobs/uploads/")
        statuses.append(start.status_code)
        if start.status_code != 202:
            return statuses
        done = repository.client.put(
            start.headers["Location"], params={"digest": digest_of(blob)}, content=blob
        )
        statuses.append(done.status_code)
        if done.status_code != 201:
            return statuses
    statuses.append(repository.put_manifest(image.payload, tag).status_code)
    return statuses


def test_twenty_pushers_never_exceed_one_quota(server: Server) -> None:
    """Two layers of three are shared among them. Who is refused hears 403 and nothing else."""
    place = make_place(server, 60_000)
    shared = [new_bytes(2000), new_bytes(3000)]
    most = 0

    def pusher(number: int) -> list[int]:
        nonlocal most
        repository, statuses = place.repository(f"r{number % 5}"), []
        for n in range(4):
            statuses += _push_all(repository, image_of(*shared, new_bytes(1500)), f"t{number}-{n}")
            most = max(most, place.used)
        return statuses

    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        statuses = [s for one in pool.map(pusher, range(20)) for s in one]
    assert set(statuses) == {201, 202, 403}
    # All that could go in went in: less than one more image is left.
    assert 60_000 - 3000 < place.used <= 60_000
    assert most <= 60_000
    assert ledger.findings(server.database, server.storage) == []


def test_copies_never_exceed_a_quota(server: Server) -> None:
    """Ten at a time, of images that share a layer; deletions of what was copied go on meanwhile."""
    source, place = make_place(server), make_place(server, 20_000)
    shared = new_bytes(3000)
    for n in range(12):
        source.repository().push_image(f"v{n}", image_of(shared, new_bytes(1500)))

    def copier(number: int) -> list[int]:
        statuses = []
        for n in range(6):
            path = f"r{(number + n) % 4}"
            url = f"/projects/{place.name}/repositories/{path}/artifacts"
            answer = server.rest.post(url, params={"from": f"{source.name}/app:v{(number * 5 + n) % 12}"})
            statuses.append(answer.status_code)
            assert place.used <= 20_000
            if answer.status_code == 403:
                assert answer.json()["errors"][0]["code"] == "DENIED"
                deleted = server.rest.delete(f"{url}/v{(number + n) % 12}")
                assert deleted.status_code in (200, 404), deleted.text
        return statuses

    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        statuses = {s for one in pool.map(copier, range(10)) for s in one}
    assert statuses == {201, 403}
    assert ledger.findings(server.database, server.storage) == []
    for path in range(4):
        server.rest.delete(f"/projects/{place.name}/repositories/r{path}")
    assert place.used == 0


def test_pushes_and_deletions_of_the_same_layers_leave_the_right_sum(server: Server) -> None:
    place = make_place(server, 10_000_000)
    layers = [new_bytes(1000 + n) for n in range(4)]

    def worker(number: int) -> set[int]:
        repository, seen = place.repository(f"r{number % 4}"), set()
        for n in range(12):
            image = image_of(*layers[(number + n) % 3 :])
            seen |= set(_push_all(repository, image, f"w{number}"))
            if n % 3 != 2:
                seen.add(repository.delete(f"manifests/{image.digest}").status_code)
        if number % 4 == 0:
            seen.add(server.rest.delete(f"/projects/{place.name}/repositories/r0").status_code)
        return seen

    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        seen = set().union(*pool.map(worker, range(12)))
    # A blob whose last holder was just deleted may be gone for who saw it; that is 400, 404, never a fault.
    assert max(seen) < 500, seen
    assert 201 in seen
    assert ledger.findings(server.database, server.storage) == []
    for path in range(4):
        server.rest.delete(f"/projects/{place.name}/repositories/r{path}")
    assert place.used == 0
