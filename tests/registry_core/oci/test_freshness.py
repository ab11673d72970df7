"""After an answer no process gives the old one (design 8.6): two web processes, a connection to either."""

from __future__ import annotations

import pathlib
import secrets
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.content import MANIFEST, descriptor, digest_of, encode, image_document, new_bytes
from tests.server import ADMIN, Image, Pair, Repository, Server, new_image
from tests.steps import Actor

READERS = 12  # connections; which process has one is up to the kernel


@pytest.fixture(scope="module")
def readers(server: Server, puller: Pair) -> list[httpx.Client]:
    return [server.client(puller) for _ in range(READERS)]


@pytest.fixture
def everywhere(readers: list[httpx.Client], name: str) -> Callable[[str], set[str]]:
    """What the repository answers for a path, over every connection: the digest, or the status."""

    def ask(path: str) -> set[str]:
        answers = [reader.get(f"/{name}/{path}") for reader in readers]
        return {
            a.headers["Docker-Content-Digest"] if a.status_code == 200 else str(a.status_code)
            for a in answers
        }

    return ask


def prepare(repository: Repository, count: int) -> list[Image]:
    """Manifests that share their blobs, not pushed yet."""
    image = new_image(1)
    for blob in image.blobs:
        repository.push_blob(blob)
    return [Image(image.payload + b" " * i, image.config, image.layers) for i in range(count)]


def test_a_tag_that_moved(repository: Repository, everywhere: Callable[[str], set[str]]) -> None:
    for image in prepare(repository, 40):
        repository.push_manifest(image.payload, "v1")
        assert everywhere("manifests/v1") == {image.digest}


def test_a_tag_that_comes_and_goes(repository: Repository, everywhere: Callable[[str], set[str]]) -> None:
    image, other = prepare(repository, 2)
    repository.push_manifest(other.payload)
    for _ in range(5):
        assert everywhere("manifests/v1") == {"404"}
        repository.push_manifest(image.payload, "v1")
        assert everywhere("manifests/v1") == everywhere(f"manifests/{image.digest}") == {image.digest}
        assert repository.delete("manifests/v1").status_code == 202
        assert everywhere(f"manifests/{image.digest}") == {image.digest}
    assert repository.delete(f"manifests/{image.digest}").status_code == 202
    assert everywhere(f"manifests/{image.digest}") == {"404"}


def test_a_blob_that_comes_and_goes(repository: Repository, everywhere: Callable[[str], set[str]]) -> None:
    for _ in range(3):
        image = new_image(1)
        path = f"blobs/{digest_of(image.layers[0])}"
        assert everywhere(path) == {"404"}
        repository.push_image("v1", image)
        assert everywhere(path) == {digest_of(image.layers[0])}
        repository.delete(f"manifests/{image.digest}")
        assert everywhere(path) == {"404"}


def test_what_the_rest_api_changed(
    server: Server, repository: Repository, everywhere: Callable[[str], set[str]]
) -> None:
    image = repository.push_image("v1")
    project, _, path = repository.name.partition("/")
    place = f"/projects/{project}/repositories/{path}/artifacts"
    for _ in range(3):
        assert everywhere("manifests/v2") == {"404"}
        answer = server.rest.post(f"{place}/{image.digest}/tags", json={"name": "v2"})
        assert answer.status_code == 201, answer.text
        assert everywhere("manifests/v2") == {image.digest}
        assert server.rest.delete(f"{place}/{image.digest}/tags/v2").status_code == 200
    assert everywhere("manifests/v1") == {image.digest}
    assert server.rest.delete(f"{place}/{image.digest}").status_code == 200
    assert everywhere("manifests/v1") == {"404"}


@pytest.fixture(scope="module")
def administrators(server: Server) -> list[httpx.Client]:
    return [server.client(ADMIN) for _ in range(READERS)]


def test_what_was_copied_is_there_everywhere(
    server: Server, repository: Repository, everywhere: Callable[[str], set[str]]
) -> None:
    """Every process was asked before, and remembers that there was nothing."""
    source = server.repository(f"{server.create_project()}/source", ADMIN)
    image, other = source.push_image("v1"), source.push_image("v2")
    project, _, path = repository.name.partition("/")
    for tag, wanted in (("v1", image), ("v2", other)):
        blob = f"blobs/{digest_of(wanted.config)}"
        assert everywhere(f"manifests/{tag}") == everywhere(blob) == {"404"}
        answer = server.rest.post(
            f"/projects/{project}/repositories/{path}/artifacts", params={"from": f"{source.name}:{tag}"}
        )
        assert answer.status_code == 201, answer.text
        assert everywhere(f"manifests/{tag}") == {wanted.digest}
        assert everywhere(blob) == {digest_of(wanted.config)}
        repository.assert_holds(wanted, tag)
    source.delete(f"manifests/{image.digest}")
    server.collect()
    repository.assert_holds(image, "v1")


def test_lists_after_every_change(repository: Repository, administrators: list[httpx.Client]) -> None:
    """Their pages are kept ready in each process."""
    before = repository.name[:-1] + chr(ord(repository.name[-1]) - 1)

    def everywhere(image: Image) -> set[tuple[bool, tuple[str, ...], tuple[str, ...]]]:
        """What every connection answers twice: is it in the catalogue, its tags, the image's referrers."""
        seen = set()
        for reader in administrators * 2:
            names = reader.get("/_catalog", params={"n": 5, "last": before}).json()["repositories"]
            tags = reader.get(f"/{repository.name}/tags/list?n=9").json().get("tags", [])
            about = reader.get(f"/{repository.name}/referrers/{image.digest}").json()["manifests"]
            seen.add((repository.name in names, tuple(tags), tuple(x["digest"] for x in about)))
        return seen

    for _ in range(3):
        image, other = prepare(repository, 2)
        referrer = new_image(0, subject=descriptor(MANIFEST, image.payload))
        assert everywhere(image) == {(False, (), ())}
        repository.push_manifest(image.payload, "v1")
        assert everywhere(image) == {(True, ("v1",), ())}
        repository.push_image("", referrer)
        assert everywhere(image) == {(True, ("v1",), (referrer.digest,))}
        repository.push_manifest(other.payload, "v2")
        assert repository.delete("manifests/v1").status_code == 202
        assert everywhere(image) == {(True, ("v2",), (referrer.digest,))}
        assert repository.delete("manifests/v2").status_code == 202
        assert everywhere(image) == {(False, (), (referrer.digest,))}
        assert repository.delete(f"manifests/{image.digest}").status_code == 202
        assert repository.delete(f"manifests/{other.digest}").status_code == 202


def test_one_tag_pushed_by_many_at_once(server: Server, repository: Repository, robot: Pair) -> None:
    """One row lock, the last writer wins, nobody is refused, and readers see one of them at any time (design 3)."""
    images = prepare(repository, 48)
    repository.push_manifest(images[0].payload, "v1")
    digests = {image.digest for image in images}
    stop = threading.Event()

    def read() -> set[str]:
        seen = set()
        reader = server.repository(repository.name, robot)
        while not stop.is_set():
            answer = reader.get("manifests/v1")
            assert answer.status_code == 200, answer.text
            assert digest_of(answer.content) == answer.headers["Docker-Content-Digest"]
            seen.add(answer.headers["Docker-Content-Digest"])
        return seen

    def write(image: Image) -> int:
        return repository.put_manifest(image.payload, "v1").status_code

    with ThreadPoolExecutor(12) as pool:
        reading = [pool.submit(read) for _ in range(4)]
        statuses = list(pool.map(write, images))
        stop.set()
        for seen in reading:
            assert seen.result() <= digests
    assert statuses == [201] * len(images)
    ((last,),) = server.rows(
        "SELECT h.to_digest FROM registry_core_taghistory h JOIN registry_core_repository r "
        "ON r.id = h.repository_id WHERE r.path = %s ORDER BY h.id DESC LIMIT 1",
        repository.name.partition("/")[2],
    )
    assert repository.get("manifests/v1").headers["Docker-Content-Digest"] == last


@pytest.fixture
def other_host(server: Server, tmp_path: pathlib.Path) -> Iterator[Actor]:
    """A worker on another host: the same database and storage, no shared memory."""
    actor = Actor({**server.environment, "BREAKWATER_RUN_DIR": str(tmp_path)})
    yield actor
    actor.close()


def test_a_blob_that_another_host_deleted_is_absent_and_not_damaged(
    repository: Repository, everywhere: Callable[[str], set[str]], other_host: Actor
) -> None:
    """It is still known here; its file is gone."""
    image = repository.push_image("v1")
    path = f"blobs/{digest_of(image.layers[0])}"
    assert everywhere(path) == {digest_of(image.layers[0])}
    other_host.do("delete_artifact", repository.name, image.digest)
    other_host.do("collect")
    assert everywhere(path) == {"404"}


def test_a_blob_that_was_healed_through_another_host_is_read_from_its_new_place(
    server: Server, repository: Repository, everywhere: Callable[[str], set[str]], other_host: Actor
) -> None:
    data = b"heal " + new_bytes(8).hex().encode()
    image = Image(encode(image_document(data, [])), data, [])
    repository.push_image("v1", image)
    path = f"blobs/{digest_of(data)}"
    assert everywhere(path) == {digest_of(data)}
    ((key,),) = server.rows("SELECT key FROM registry_core_blob WHERE digest = %s", digest_of(data))
    (server.storage / key).unlink()
    assert [f[0] for f in other_host.do("scrubbed", 0)] == ["missing"]
    other_host.do("push_blob", "elsewhere", "carol", data.decode(), digest_of(data))
    assert everywhere(path) == {digest_of(data)}
    repository.assert_holds(image, "v1")


def test_many_pushers_take_few_connections(server: Server, project: str, robot: Pair) -> None:
    """A web process has 4 threads for REST, 4 for /v2 and 4 hot connections, however many push (design 8.1)."""

    def push(_: int) -> None:
        with server.client(robot) as client:
            repository = Repository(client, f"{project}/{secrets.token_hex(6)}")
            repository.assert_holds(repository.push_image("v1"), "v1")

    most, stop = 0, threading.Event()

    def watch() -> Iterator[int]:
        while not stop.is_set():
            yield int(
                server.rows(
                    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
                    "AND application_name LIKE 'breakwater%%' AND pid NOT IN (SELECT %s::int)",
                    server.actor.backend,
                )[0][0]
            )

    with ThreadPoolExecutor(49) as pool:
        watching = pool.submit(lambda: max(watch(), default=0))
        list(pool.map(push, range(72)))
        stop.set()
        most = watching.result()
    assert 2 <= most <= 2 * 12


def test_a_read_only_registry_refuses_every_change(server: Server, repository: Repository) -> None:
    """403 DENIED with Harbor's sentence; pulls go on (contract 3.3; design 11)."""
    image = repository.push_image("v1")
    location = repository.start_upload()
    server.configure("read_only", value=True)
    try:
        for method, path in (
            ("POST", "blobs/uploads/"),
            ("PUT", "manifests/v2"),
            ("DELETE", "manifests/v1"),
            ("DELETE", f"manifests/{image.digest}"),
            ("DELETE", f"blobs/{digest_of(image.config)}"),
            ("PATCH", location[location.index("blobs/") :]),
            ("DELETE", location[location.index("blobs/") :]),
        ):
            answer = repository.request(method, path, content=new_bytes())
            assert answer.status_code == 403, (method, path)
            (error,) = answer.json()["errors"]
            assert error["code"] == "DENIED"
            assert error["message"] == "The system is in read only mode. Any modification is prohibited."
        repository.assert_holds(image, "v1")
    finally:
        server.configure("read_only", value=False)
    assert repository.client.get(location).status_code == 204
