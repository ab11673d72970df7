"""Pulling blobs: whole, in ranges, conditionally, only where they are readable (distribution-spec "Pulling blobs")."""

from __future__ import annotations

import concurrent.futures
import contextlib

import psycopg2
import pytest

from tests.content import absent_digest, digest_of, new_bytes
from tests.server import Pair, Repository, Server, assert_refused

SIZE = 1000


@pytest.fixture(scope="module")
def blob() -> bytes:
    return new_bytes(SIZE)


@pytest.fixture(scope="module")
def held(server: Server, project: str, robot: Pair, blob: bytes) -> Repository:
    """A repository that holds the blob."""
    repository = server.repository(f"{project}/held", robot)
    repository.push_blob(blob)
    return repository


def test_get_and_head(held: Repository, blob: bytes) -> None:
    path = f"blobs/{digest_of(blob)}"
    get, head = held.get(path), held.head(path)
    assert (get.status_code, get.content) == (200, blob)
    assert (head.status_code, head.content) == (200, b"")
    for answer in (get, head):
        assert answer.headers["Content-Length"] == str(SIZE)
        assert answer.headers["Content-Type"] == "application/octet-stream"
        assert answer.headers["Docker-Content-Digest"] == digest_of(blob)
        assert answer.headers["ETag"] == f'"{digest_of(blob)}"'
        assert answer.headers["Accept-Ranges"] == "bytes"
        assert answer.headers["Docker-Distribution-Api-Version"] == "registry/2.0"


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ("bytes=0-", 0, 999),
        ("bytes=0-0", 0, 0),
        ("bytes=0-999", 0, 999),
        ("bytes=0-5000", 0, 999),
        ("bytes=10-19", 10, 19),
        ("bytes=990-", 990, 999),
        ("bytes=999-", 999, 999),
        ("bytes=-1", 999, 999),
        ("bytes=-10", 990, 999),
        ("bytes=-1000", 0, 999),
        ("bytes=-5000", 0, 999),
        ("bytes=00010-00019", 10, 19),
    ],
)
def test_a_range(held: Repository, blob: bytes, asked: str, first: int, last: int) -> None:
    path, headers = f"blobs/{digest_of(blob)}", {"Range": asked}
    answer = held.get(path, headers=headers)
    assert (answer.status_code, answer.content) == (206, blob[first : last + 1])
    assert answer.headers["Content-Range"] == f"bytes {first}-{last}/1000"
    assert answer.headers["Content-Length"] == str(last - first + 1)
    assert answer.headers["Docker-Content-Digest"] == digest_of(blob)
    head = held.head(path, headers=headers)  # RFC 9110 14.2: a range is of a GET
    assert (head.status_code, head.headers["Content-Length"], head.content) == (200, "1000", b"")


@pytest.mark.parametrize(
    "asked", ["bytes=1000-", "bytes=1000-2000", "bytes=500-0", "bytes=-0", "bytes=99999999-"]
)
def test_a_range_without_a_byte_in_it(held: Repository, blob: bytes, asked: str) -> None:
    """RFC 9110 14.2, 15.5.17."""
    answer = held.get(f"blobs/{digest_of(blob)}", headers={"Range": asked})
    assert_refused(answer, 416, "RANGE_INVALID", {"range": asked, "size": SIZE})
    assert answer.headers["Content-Range"] == "bytes */1000"


@pytest.mark.parametrize(
    "asked",
    [
        "bytes=0-1,5-6",
        "bytes=0-1, -1",
        "bytes=-",
        "bytes=",
        "bytes=a-b",
        "lines=0-1",
        "0-1",
        "bytes 0-1",
        "bytes=1",
    ],
)
def test_several_ranges_and_other_units_are_ignored(held: Repository, blob: bytes, asked: str) -> None:
    """One range a request (design 11); RFC 9110 14.2 lets a server ignore the rest."""
    answer = held.get(f"blobs/{digest_of(blob)}", headers={"Range": asked})
    assert (answer.status_code, answer.content) == (200, blob)


def test_no_byte_of_the_empty_blob_is_in_a_range(held: Repository) -> None:
    digest = held.push_blob(b"")
    for asked in ("bytes=0-", "bytes=-5", "bytes=0-0"):
        answer = held.get(f"blobs/{digest}", headers={"Range": asked})
        assert_refused(answer, 416, "RANGE_INVALID", size=0)


@pytest.mark.parametrize(
    ("if_range", "status"), [("same", 206), ("other", 200), ("weak", 200), ("date", 200)]
)
def test_if_range(held: Repository, blob: bytes, if_range: str, status: int) -> None:
    """RFC 9110 13.1.5: the range counts only while the strong validator is the current one."""
    value = {
        "same": f'"{digest_of(blob)}"',
        "other": f'"{absent_digest()}"',
        "weak": f'W/"{digest_of(blob)}"',
        "date": "Sat, 29 Oct 1994 19:43:31 GMT",
    }[if_range]
    answer = held.get(f"blobs/{digest_of(blob)}", headers={"Range": "bytes=0-9", "If-Range": value})
    assert (answer.status_code, answer.content) == (status, blob[:10] if status == 206 else blob)


def test_a_range_of_a_large_blob(repository: Repository) -> None:
    """Longer than a piece that is sent at once."""
    data = new_bytes(3 << 20)
    path = f"blobs/{repository.push_blob(data)}"
    answer = repository.get(path, headers={"Range": "bytes=100000-2500000"})
    assert (answer.status_code, answer.content) == (206, data[100000:2500001])
    assert repository.get(path).content == data


@pytest.mark.parametrize(
    ("form", "status"),
    [
        ('"{}"', 304),
        ('W/"{}"', 304),
        ("*", 304),
        ('"x", "{}"', 304),
        ('"x",W/"{}" , "y"', 304),
        ('"x"', 200),
        ("", 200),
    ],
)
@pytest.mark.parametrize("kind", ["blob", "manifest"])
def test_if_none_match(repository: Repository, kind: str, form: str, status: int) -> None:
    """RFC 9110 13.1.2."""
    image = repository.push_image("latest")
    digest = digest_of(image.layers[0]) if kind == "blob" else image.digest
    path = f"{'blobs' if kind == 'blob' else 'manifests'}/{digest}"
    for method in ("GET", "HEAD"):
        answer = repository.request(method, path, headers={"If-None-Match": form.format(digest)})
        assert answer.status_code == status
        assert answer.headers["Docker-Content-Digest"] == digest
        assert answer.headers["ETag"] == f'"{digest}"'
        if status == 304:
            assert answer.content == b""


def test_a_sha512_blob_is_another_name_for_its_bytes(repository: Repository) -> None:
    data = new_bytes()
    digest = repository.push_blob(data, "sha512")
    answer = repository.get(f"blobs/{digest}")
    assert (answer.content, answer.headers["Docker-Content-Digest"]) == (data, digest)
    assert_refused(repository.get(f"blobs/{digest_of(data)}"), 404, "BLOB_UNKNOWN", digest_of(data))


# -- where it is readable


def test_an_absent_blob(repository: Repository) -> None:
    digest = absent_digest()
    assert_refused(repository.get(f"blobs/{digest}"), 404, "BLOB_UNKNOWN", digest)


def test_what_another_repository_holds_is_absent_here(
    held: Repository, repository: Repository, blob: bytes
) -> None:
    digest = digest_of(blob)
    other = assert_refused(repository.get(f"blobs/{digest}"), 404, "BLOB_UNKNOWN", digest)
    nowhere = assert_refused(repository.get(f"blobs/{absent_digest()}"), 404, "BLOB_UNKNOWN")
    assert other["message"] == nowhere["message"]


def test_what_is_only_uploaded_is_read_by_its_pusher_alone(
    server: Server, repository: Repository, puller: Pair
) -> None:
    image = repository.push_image()
    digest = repository.push_blob(new_bytes())
    reader = server.repository(repository.name, puller)
    assert reader.get(f"blobs/{digest_of(image.layers[0])}").content == image.layers[0]
    assert_refused(reader.get(f"blobs/{digest}"), 404, "BLOB_UNKNOWN", digest)
    assert repository.get(f"blobs/{digest}").status_code == 200


def lease_of(server: Server, digest: str) -> float:
    """Seconds that it has left."""
    ((left,),) = server.rows(
        "SELECT extract(epoch FROM l.leased_until - now())::float8 FROM registry_core_repositoryblob l "
        "JOIN registry_core_blob b ON b.id = l.blob_id WHERE b.digest = %s",
        digest,
    )
    return float(left)


def shorten_lease(server: Server, digest: str, hours: float) -> None:
    server.rows(
        "UPDATE registry_core_repositoryblob SET leased_until = now() + %s * interval '1 hour' "
        "WHERE blob_id = (SELECT id FROM registry_core_blob WHERE digest = %s)",
        hours, digest,
    )  # fmt: skip


def test_a_pusher_who_is_told_that_a_blob_is_here_finds_it_later(
    server: Server, repository: Repository
) -> None:
    """HEAD renews a lease that has less than half of its 24 hours left (design 3, Garbage collection)."""
    digest = repository.push_blob(new_bytes())
    shorten_lease(server, digest, 11)
    assert repository.head(f"blobs/{digest}").status_code == 200
    assert lease_of(server, digest) > 23.9 * 3600


def test_a_lease_that_is_young_is_left_alone(server: Server, repository: Repository) -> None:
    digest = repository.push_blob(new_bytes())
    shorten_lease(server, digest, 13)
    assert repository.head(f"blobs/{digest}").status_code == 200
    assert lease_of(server, digest) < 13 * 3600


def test_a_lease_that_is_over_reads_nothing(server: Server, repository: Repository) -> None:
    digest = repository.push_blob(new_bytes())
    shorten_lease(server, digest, -1)
    for method in ("GET", "HEAD"):
        assert repository.request(method, f"blobs/{digest}").status_code == 404


def test_a_pullers_head_writes_nothing(server: Server, repository: Repository, puller: Pair) -> None:
    digest = digest_of(repository.push_image().layers[0])
    reader = server.repository(repository.name, puller)
    assert reader.head(f"blobs/{digest}").status_code == 200
    count = (
        "SELECT count(*) FROM registry_core_repositoryblob l JOIN registry_core_blob b ON b.id = l.blob_id "
        "WHERE b.digest = %s"
    )
    assert server.rows(count, digest) == [(0,)]
    assert repository.head(f"blobs/{digest}").status_code == 200
    assert server.rows(count, digest) == [(1,)]


LEASES = (
    "SELECT count(*) FROM registry_core_repositoryblob l JOIN registry_core_blob b ON b.id = l.blob_id "
    "WHERE b.digest = ANY(%s) AND l.leased_until > now() + interval '23 hours'"
)


def test_a_lease_is_its_pushers_alone(server: Server, repository: Repository, project: str) -> None:
    """What is known of a blob that an artifact holds is kept for everybody; whose lease runs is not."""
    image = repository.push_image()
    digest = digest_of(image.layers[0])
    other = server.repository(repository.name, server.create_robot(project))
    assert repository.head(f"blobs/{digest}").status_code == 200
    assert repository.head(f"blobs/{digest}").status_code == 200  # read anew, with the lease that it has now
    assert other.head(f"blobs/{digest}").status_code == 200
    assert server.rows(LEASES, [digest]) == [(2,)]


def test_pushers_who_ask_at_the_same_moment_have_a_lease_each(
    server: Server, repository: Repository, project: str
) -> None:
    """They are renewed together, and what is not here does not spoil it for the others."""
    digests = [digest_of(layer) for _ in range(3) for layer in repository.push_image().layers]
    pushers = [server.repository(repository.name, server.create_robot(project)) for _ in range(4)]
    asked = [(pusher, digest) for pusher in pushers for digest in digests] * 2

    def status(question: tuple[Repository, str]) -> int:
        pusher, digest = question
        return pusher.head(f"blobs/{digest}").status_code + pusher.head(f"blobs/{absent_digest()}").status_code

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        assert set(pool.map(status, asked)) == {200 + 404}
    assert server.rows(LEASES, digests) == [(len(set(digests)) * len(pushers),)]


def test_a_repository_at_work_holds_up_nobody_else(
    server: Server, repository: Repository, project: str, robot: Pair
) -> None:
    """Its deletion may take long; whoever asks for others meanwhile is not kept waiting."""
    digest = digest_of(repository.push_image().layers[0])
    other = server.repository(f"{project}/{new_bytes(5).hex()}", robot)
    second = digest_of(other.push_image().layers[0])
    path = repository.name.partition("/")[2]
    with (
        contextlib.closing(psycopg2.connect(server.database)) as connection,
        connection.cursor() as cursor,
        concurrent.futures.ThreadPoolExecutor(1) as pool,
    ):
        cursor.execute("SELECT 1 FROM registry_core_repository WHERE path = %s FOR UPDATE", [path])
        waits = pool.submit(repository.head, f"blobs/{digest}")
        for _ in range(5):
            assert other.head(f"blobs/{second}").status_code == 200
            other.push_image()
        assert not waits.done()
        connection.rollback()
        assert waits.result().status_code == 200
    assert server.rows(LEASES, [digest, second]) == [(2,)]
