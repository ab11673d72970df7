"""A disk that fails to read what was acknowledged (EIO), in the middle of an answer and of a push: a client never takes
part of a blob for all of it, hears a sentence where one can still be said, and is served again once the disk is."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from contextlib import AbstractContextManager

import httpx
import pytest

from tests.components import strace
from tests.content import digest_of, new_bytes
from tests.faults.conftest import Alone
from tests.reporting import Report
from tests.server import Repository, assert_refused, new_image

MIB = 1 << 20
READS = "read,pread64,preadv,readv,sendfile"
# Whole files are read by the HTTP server, parts and what a push reads by Python, in other pieces.
WHOLE: dict[str, str] = {}
FROM_ZERO = {"Range": "bytes=0-"}
PART = {"Range": "bytes=5-"}

Failing = Callable[[str, str], AbstractContextManager[strace.Trace]]


@pytest.fixture
def failing(server: Alone, tmp_path: pathlib.Path) -> Failing:
    """`failing(digest, "3+")`: from their third on, all reads of its file fail."""

    def attach(digest: str, when: str) -> AbstractContextManager[strace.Trace]:
        file = key_of(server, digest)
        fault = f"inject={READS}:error=EIO:when={when}"
        return strace.attached(server.worker, tmp_path, f"trace={READS}", fault, path=file)

    return attach


def key_of(server: Alone, digest: str) -> pathlib.Path:
    """Of a blob, or of the newest upload."""
    found = server.rows("SELECT key FROM registry_core_blob WHERE digest = %s", digest)
    newest = "SELECT key FROM registry_core_upload ORDER BY created_at DESC LIMIT 1"
    ((key,),) = found or server.rows(newest)
    return server.storage / str(key)


def failed(trace: strace.Trace) -> int:
    return sum("(INJECTED)" in call.text for call in trace.calls())


def critical(server: Alone, digest: str) -> list[str]:
    return [line for line in server.log.splitlines() if '"critical"' in line and digest in line]


def assert_breaks_off(repository: Repository, digest: str, headers: dict[str, str], size: int) -> None:
    """The head promises more than comes, so that every client sees it. Of what the HTTP server reads by itself, while
    the head waits to be sent, not even a head may come."""
    broken = "without sending complete message body"
    if headers != PART:
        broken += "|without sending a response"
    with pytest.raises(httpx.RemoteProtocolError, match=broken):
        read(repository, digest, headers, size)


def read(repository: Repository, digest: str, headers: dict[str, str], size: int) -> None:
    path = f"/{repository.name}/blobs/{digest}"
    with repository.client.stream("GET", path, headers=headers) as answer:
        assert answer.status_code == (206 if headers else 200)
        assert int(answer.headers["Content-Length"]) >= size - 5
        answer.read()


@pytest.mark.parametrize("when", ["1+", "3+"])
@pytest.mark.parametrize("headers", [WHOLE, FROM_ZERO, PART], ids=["whole", "from zero", "part"])
def test_a_blob_that_the_disk_does_not_give(
    server: Alone,
    repository: Repository,
    failing: Failing,
    report: Report,
    headers: dict[str, str],
    when: str,
) -> None:
    data, worker = new_bytes(6 * MIB), server.worker
    digest = repository.push_blob(data)
    before = len(critical(server, digest))
    with failing(digest, when) as trace:
        if headers == PART and when == "1+":
            error = assert_refused(repository.get(f"blobs/{digest}", headers=headers), 500, "UNKNOWN")
            assert "damaged" in error["message"]
            came = "500"
        else:
            assert_breaks_off(repository, digest, headers, len(data))
            came = "broken off"
        # What a client does then: it goes on from where it broke off, and that is seen to.
        resumed = (
            repository.get(f"blobs/{digest}", headers={"Range": f"bytes={MIB}-"}) if when == "1+" else None
        )
    assert failed(trace) >= 1
    if resumed is not None:
        assert_refused(resumed, 500, "UNKNOWN")
    if headers == PART or resumed is not None:
        assert len(critical(server, digest)) > before, "nobody is told"
    assert repository.get(f"blobs/{digest}").content == data
    assert server.worker == worker
    report(f"{failed(trace)} reads failed from the {when} on: {came}; whole again afterwards")


def test_a_commit_that_cannot_read_its_bytes_again(
    server: Alone, repository: Repository, failing: Failing, report: Report
) -> None:
    """After two PATCHes the digest is computed from the file."""
    data = new_bytes(2 * MIB)
    digest, where = digest_of(data), repository.start_upload()
    for part in (data[:MIB], data[MIB:]):
        assert repository.client.patch(where, content=part).status_code == 202
    for when in ("1+", "3+"):
        with failing(digest, when) as trace:
            answer = repository.client.put(where, params={"digest": digest})
            assert_refused(answer, 503, "UNAVAILABLE", component="storage")
        assert failed(trace) == 1
        assert repository.head(f"blobs/{digest}").status_code == 404
    assert repository.client.put(where, params={"digest": digest}).status_code == 201
    assert repository.get(f"blobs/{digest}").content == data
    assert server.scrub(100) == []
    report("2 commits could not read what they commit: 2 times 503, then 201")


def test_a_manifest_whose_config_cannot_be_read(
    server: Alone, repository: Repository, failing: Failing, report: Report
) -> None:
    image = new_image()
    for blob in image.blobs:
        repository.push_blob(blob)
    with failing(digest_of(image.config), "1+") as trace:
        assert_refused(repository.put_manifest(image.payload, "v1"), 503, "UNAVAILABLE", component="storage")
    assert failed(trace) == 1
    assert repository.get("manifests/v1").status_code == 404
    repository.push_manifest(image.payload, "v1")
    repository.assert_holds(image, "v1")
    ((known,),) = server.rows(
        "SELECT extra_attrs->>'architecture' FROM registry_core_artifact WHERE digest = %s", image.digest
    )
    assert known == "amd64"
    report("a config that cannot be read: 503, then 201 with all that lists show")
