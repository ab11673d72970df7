"""Pushing blobs whole, streamed and in chunks (distribution-spec "Pushing blobs"; design 3, Push)."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator

import pytest

from tests.content import digest_of, new_bytes
from tests.server import Pair, Repository, Server, assert_refused

UUID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
EMPTY_256 = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def in_pieces(data: bytes, size: int) -> Iterator[bytes]:
    """Sent with Transfer-Encoding: chunked."""
    for i in range(0, len(data), size):
        yield data[i : i + size]


def test_a_session_begins_with_its_place_and_position(server: Server, repository: Repository) -> None:
    answer = repository.post("blobs/uploads/")
    assert (answer.status_code, answer.content) == (202, b"")
    place = re.fullmatch(
        f"{server.url}/v2/{repository.name}/blobs/uploads/({UUID})", answer.headers["Location"]
    )
    assert place
    assert answer.headers["Docker-Upload-UUID"] == place[1]
    assert answer.headers["Range"] == "0-0"
    assert answer.headers["Content-Length"] == "0"
    assert answer.headers["Docker-Distribution-Api-Version"] == "registry/2.0"
    assert "OCI-Chunk-Min-Length" not in answer.headers  # files take chunks of any size


def test_the_slash_at_the_end_may_be_left_out(repository: Repository) -> None:
    assert repository.post("blobs/uploads").status_code == 202


def test_post_then_put(server: Server, repository: Repository) -> None:
    data = new_bytes()
    location = repository.start_upload()
    answer = repository.client.put(location, params={"digest": digest_of(data)}, content=data)
    assert (answer.status_code, answer.content) == (201, b"")
    assert answer.headers["Location"] == f"{server.url}/v2/{repository.name}/blobs/{digest_of(data)}"
    assert answer.headers["Docker-Content-Digest"] == digest_of(data)
    assert repository.client.get(answer.headers["Location"]).content == data


def test_a_single_post(repository: Repository) -> None:
    data = new_bytes()
    answer = repository.post("blobs/uploads/", params={"digest": digest_of(data)}, content=data)
    assert (answer.status_code, answer.headers["Docker-Content-Digest"]) == (201, digest_of(data))
    assert repository.get(f"blobs/{digest_of(data)}").content == data


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (3 << 20) + 5])
def test_a_stream_of_any_size(repository: Repository, size: int) -> None:
    data = new_bytes(size)
    location = repository.start_upload()
    answer = repository.client.patch(location, content=in_pieces(data, 100_000))
    assert (answer.status_code, answer.headers["Range"]) == (202, f"0-{max(size - 1, 0)}")
    assert answer.headers["Location"] == location
    assert answer.headers["Docker-Upload-UUID"] == location.rpartition("/")[2]
    answer = repository.client.put(location, params={"digest": digest_of(data)})
    assert answer.status_code == 201
    assert repository.get(f"blobs/{digest_of(data)}").content == data


def test_chunks_one_after_the_other(repository: Repository) -> None:
    data = new_bytes(30)
    location = repository.start_upload()
    for first, last in ((0, 9), (10, 14)):
        answer = repository.client.patch(
            location, content=data[first : last + 1], headers={"Content-Range": f"{first}-{last}"}
        )
        assert (answer.status_code, answer.headers["Range"]) == (202, f"0-{last}")
        status = repository.client.get(location)
        assert (status.status_code, status.headers["Range"], status.content) == (204, f"0-{last}", b"")
        assert status.headers["Location"] == location
        assert status.headers["Docker-Upload-UUID"] == location.rpartition("/")[2]
    answer = repository.client.put(
        location, params={"digest": digest_of(data)}, content=data[15:], headers={"Content-Range": "15-29"}
    )
    assert answer.status_code == 201
    assert repository.get(f"blobs/{digest_of(data)}").content == data


@pytest.mark.parametrize("form", ["0-9", "bytes 0-9/10", "bytes 0-9/*", "bytes=0-9"])
def test_content_range_as_clients_write_it(repository: Repository, form: str) -> None:
    location = repository.start_upload()
    answer = repository.client.patch(location, content=new_bytes(10), headers={"Content-Range": form})
    assert (answer.status_code, answer.headers["Range"]) == (202, "0-9")


def test_the_empty_blob(repository: Repository) -> None:
    assert repository.push_blob(b"") == EMPTY_256
    answer = repository.get(f"blobs/{EMPTY_256}")
    assert (answer.status_code, answer.content, answer.headers["Content-Length"]) == (200, b"", "0")


# -- digests


@pytest.mark.parametrize("how", ["announced", "at the end", "after two chunks", "in one post"])
def test_sha512(repository: Repository, how: str) -> None:
    data = new_bytes()
    digest = digest_of(data, "sha512")
    if how == "in one post":
        answer = repository.post("blobs/uploads/", params={"digest": digest}, content=data)
    else:
        params = {"digest-algorithm": "sha512"} if how == "announced" else {}
        location = repository.start_upload(**params)
        sent = 0
        if how == "after two chunks":
            for sent in (20, 40):
                repository.client.patch(location, content=data[sent - 20 : sent])
        answer = repository.client.put(location, params={"digest": digest}, content=data[sent:])
    assert (answer.status_code, answer.headers["Docker-Content-Digest"]) == (201, digest)
    assert repository.get(f"blobs/{digest}").content == data


@pytest.mark.parametrize("algorithm", ["md5", "sha1", "SHA256", "x" * 5000])
def test_another_algorithm_is_refused(repository: Repository, algorithm: str) -> None:
    answer = repository.post("blobs/uploads/", params={"digest-algorithm": algorithm})
    assert_refused(answer, 400, "DIGEST_INVALID", supported=["sha256", "sha512"])


def uploads_of(server: Server, location: str) -> list[tuple[str]]:
    return server.rows("SELECT key FROM registry_core_upload WHERE id = %s", location.rpartition("/")[2])


@pytest.mark.parametrize("chunks", [0, 1, 2])
def test_a_digest_mismatch_ends_the_session(server: Server, repository: Repository, chunks: int) -> None:
    data, other = new_bytes(60), digest_of(new_bytes())
    location = repository.start_upload()
    ((key,),) = uploads_of(server, location)
    for i in range(chunks):
        repository.client.patch(location, content=data[i * 20 : i * 20 + 20])
    answer = repository.client.put(location, params={"digest": other}, content=data[chunks * 20 :])
    why = {"computed": digest_of(data), "size": 60, "fix": "begin again with POST"}
    assert_refused(answer, 400, "DIGEST_INVALID", {"Digest": other, "Reason": why})
    assert_refused(repository.client.get(location), 404, "BLOB_UPLOAD_UNKNOWN")
    assert repository.head(f"blobs/{other}").status_code == 404
    assert repository.head(f"blobs/{digest_of(data)}").status_code == 404
    assert server.rows("SELECT 1 FROM registry_core_deletedobject WHERE key = %s", key) == [(1,)]


def test_a_digest_mismatch_of_a_single_post_leaves_nothing(server: Server, repository: Repository) -> None:
    other = digest_of(new_bytes())
    answer = repository.post("blobs/uploads/", params={"digest": other}, content=b"data")
    assert_refused(answer, 400, "DIGEST_INVALID", Digest=other)
    held = server.rows(
        "SELECT 1 FROM registry_core_upload u JOIN registry_core_repository r ON r.id = u.repository_id "
        "WHERE r.path = %s",
        repository.name.partition("/")[2],
    )
    assert held == []


@pytest.mark.parametrize("digest", [None, "", "sha256:0", "latest", "md5:" + "0" * 32])
def test_a_put_without_a_good_digest_changes_nothing(repository: Repository, digest: str | None) -> None:
    data = new_bytes(20)
    location = repository.start_upload()
    repository.client.patch(location, content=data[:10])
    answer = repository.client.put(
        location, params={} if digest is None else {"digest": digest}, content=data[10:]
    )
    assert_refused(answer, 400, "DIGEST_INVALID")
    assert repository.client.get(location).headers["Range"] == "0-9"
    answer = repository.client.put(location, params={"digest": digest_of(data)}, content=data[10:])
    assert answer.status_code == 201


# -- positions


WRONG_RANGES = [
    "0-4", "9-12", "11-14", "10-9", "10-5", "5-20", "-", "10-", "-14", "ten-twelve", "bytes 11-14/25", "10-14x",
    "10-14-", "1e1-14", "10.0-14", "99999999999999999999-99999999999999999999", "10-14, 15-19",
]  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG_RANGES)
@pytest.mark.parametrize("method", ["PATCH", "PUT"])
def test_a_wrong_content_range_changes_nothing(repository: Repository, method: str, wrong: str) -> None:
    data = new_bytes(15)
    location = repository.start_upload()
    repository.client.patch(location, content=data[:10])
    answer = repository.client.request(
        method,
        location,
        params={"digest": digest_of(data)},
        content=data[10:],
        headers={"Content-Range": wrong},
    )
    assert_refused(answer, 416, "RANGE_INVALID", offset=10)
    assert answer.headers["Range"] == "0-9"
    status = repository.client.get(location)
    assert (status.status_code, status.headers["Range"]) == (204, "0-9")
    answer = repository.client.put(
        location, params={"digest": digest_of(data)}, content=data[10:], headers={"Content-Range": "10-14"}
    )
    assert answer.status_code == 201
    assert repository.get(f"blobs/{digest_of(data)}").content == data


def test_a_first_chunk_begins_at_0(repository: Repository) -> None:
    location = repository.start_upload()
    answer = repository.client.patch(location, content=b"12345", headers={"Content-Range": "1-5"})
    assert_refused(answer, 416, "RANGE_INVALID", offset=0, form="0-<last byte>")
    assert answer.headers["Range"] == "0-0"


@pytest.mark.parametrize("stated", ["0-2", "0-9"])
def test_content_range_and_content_length_agree(repository: Repository, stated: str) -> None:
    location = repository.start_upload()
    answer = repository.client.patch(location, content=b"12345", headers={"Content-Range": stated})
    detail = {"content-range": stated, "content-length": 5}
    assert_refused(answer, 400, "SIZE_INVALID", **detail)
    assert repository.client.get(location).headers["Range"] == "0-0"
    assert (
        repository.client.patch(location, content=b"12345", headers={"Content-Range": "0-4"}).status_code
        == 202
    )


def test_more_bytes_than_announced_end_the_session(server: Server, repository: Repository) -> None:
    """Only a chunked body can hold more than its Content-Range says."""
    location = repository.start_upload()
    answer = repository.client.patch(
        location, content=in_pieces(b"123456789012345", 5), headers={"Content-Range": "0-9"}
    )
    assert_refused(answer, 400, "SIZE_INVALID", announced=10)
    assert_refused(repository.client.get(location), 404, "BLOB_UPLOAD_UNKNOWN")
    assert uploads_of(server, location) == []


# -- whose session


def test_a_fresh_token_may_finish_what_another_began(server: Server, robot: Pair, name: str) -> None:
    data = new_bytes()
    scope = f"repository:{name}:pull,push"
    first, second = (server.repository(name, token=server.token(robot, scope)) for _ in range(2))
    location = first.start_upload()
    assert second.client.put(location, params={"digest": digest_of(data)}, content=data).status_code == 201


@pytest.mark.parametrize("method", ["GET", "PATCH", "PUT", "DELETE"])
def test_the_session_of_somebody_else_is_unknown(
    server: Server, project: str, repository: Repository, method: str
) -> None:
    location = repository.start_upload()
    repository.client.patch(location, content=b"12345")
    colleague = server.client(server.create_robot(project))
    answer = colleague.request(method, location, params={"digest": digest_of(b"12345")})
    unknown = location.rpartition("/")[0] + f"/{uuid.uuid4()}"
    never = colleague.request(method, unknown, params={"digest": digest_of(b"12345")})
    of_theirs = assert_refused(answer, 404, "BLOB_UPLOAD_UNKNOWN", upload=location.rpartition("/")[2])
    of_nobody = assert_refused(never, 404, "BLOB_UPLOAD_UNKNOWN")
    assert of_theirs | {"detail": None} == of_nobody | {"detail": None}
    assert of_theirs["detail"] | {"upload": ""} == of_nobody["detail"] | {"upload": ""}
    assert repository.client.get(location).headers["Range"] == "0-4"


@pytest.mark.parametrize("method", ["GET", "PATCH", "PUT", "DELETE"])
def test_the_session_of_another_repository_is_unknown(repository: Repository, method: str) -> None:
    location = repository.start_upload()
    elsewhere = location.replace(repository.name, f"{repository.name}-2")
    answer = repository.client.request(method, elsewhere, params={"digest": digest_of(b"")})
    assert_refused(answer, 404, "BLOB_UPLOAD_UNKNOWN")
    assert repository.client.get(location).status_code == 204


@pytest.mark.parametrize("upload", ["1", "x" * 300, "0" * 32, "latest"])
def test_what_is_no_session_is_unknown(repository: Repository, upload: str) -> None:
    assert_refused(repository.get(f"blobs/uploads/{upload}"), 404, "BLOB_UPLOAD_UNKNOWN")


def test_a_finished_session_is_unknown(repository: Repository) -> None:
    data = new_bytes()
    location = repository.start_upload()
    assert (
        repository.client.put(location, params={"digest": digest_of(data)}, content=data).status_code == 201
    )
    again = repository.client.put(location, params={"digest": digest_of(data)}, content=data)
    assert_refused(again, 404, "BLOB_UPLOAD_UNKNOWN")


def test_cancelling(repository: Repository) -> None:
    location = repository.start_upload()
    repository.client.patch(location, content=b"12345")
    answer = repository.client.delete(location)
    assert (answer.status_code, answer.content) == (204, b"")
    for method in ("GET", "PATCH", "DELETE"):
        assert_refused(repository.client.request(method, location), 404, "BLOB_UPLOAD_UNKNOWN")


def test_a_principal_has_a_thousand_open_sessions_at_most(server: Server, project: str, name: str) -> None:
    pair = server.create_robot(project)
    repository = server.repository(name, pair)
    location = repository.start_upload()
    server.rows(
        'INSERT INTO registry_core_upload (id, repository_id, principal, key, algorithm, "offset", content_digest, '
        "state, created_at, updated_at) SELECT gen_random_uuid(), repository_id, principal, 'x/' || gen_random_uuid(), "
        "algorithm, 0, '', '{}', now(), now() FROM registry_core_upload, generate_series(2, 1000) WHERE id = %s",
        location.rpartition("/")[2],
    )
    answer = repository.post("blobs/uploads/")
    assert_refused(answer, 429, "TOOMANYREQUESTS", limit=1000, principal=pair[0])
    assert repository.client.delete(location).status_code == 204
    assert repository.post("blobs/uploads/").status_code == 202


def test_bytes_that_are_here_already_are_not_kept_twice(server: Server, repository: Repository) -> None:
    data = new_bytes()
    assert repository.push_blob(data) == repository.push_blob(data)
    digest = digest_of(data)
    ((key, size),) = server.rows("SELECT key, size FROM registry_core_blob WHERE digest = %s", digest)
    assert ((server.storage / key).read_bytes(), size) == (data, 64)
    surplus = server.rows("SELECT key FROM registry_core_deletedobject WHERE digest = %s", digest)
    assert len(surplus) == 1
    assert surplus != [(key,)]
