"""Bodies that are really compressed. Bytes are taken as they come, as every registry does: the digest says what they
are, nothing is unpacked, so no bomb goes off; and what is stored comes back without a Content-Encoding of its own."""

from __future__ import annotations

import gzip
import zlib

import httpx
import pytest

from tests.content import MANIFEST, digest_of, new_bytes
from tests.fuzz.conftest import memory_of
from tests.fuzz.world import World
from tests.reporting import Report
from tests.server import Pair, Repository, assert_refused, new_image

MIB = 1 << 20
PLAIN = new_bytes(20) * 2000
CODINGS: dict[str, bytes] = {
    "gzip": gzip.compress(PLAIN),
    "x-gzip": gzip.compress(PLAIN),
    "deflate": zlib.compress(PLAIN),
    "gzip, gzip": gzip.compress(gzip.compress(PLAIN)),
    "br": new_bytes(500),
    "zstd": new_bytes(500),
    "aes128gcm": PLAIN,
    "identity": PLAIN,
}


@pytest.fixture(scope="module")
def repository(world: World) -> Repository:
    project = world.server.create_project()
    robot: Pair = world.server.create_robot(project)
    return world.server.repository(f"{project}/encoded", robot)


@pytest.mark.parametrize("coding", CODINGS)
def test_a_blob_is_the_bytes_that_came(repository: Repository, coding: str) -> None:
    data = CODINGS[coding] + new_bytes(8)
    headers = {"Content-Encoding": coding, "TE": "trailers"}
    for unpacked in (PLAIN, b""):
        refused = repository.post(
            "blobs/uploads/", params={"digest": digest_of(unpacked)}, content=data, headers=headers
        )
        assert_refused(refused, 400, "DIGEST_INVALID")
    digest, where = digest_of(data), repository.start_upload()
    patched = repository.client.patch(where, content=data, headers=headers)
    assert (patched.status_code, patched.headers["Range"]) == (202, f"0-{len(data) - 1}")
    put = repository.client.put(where, params={"digest": digest}, headers=headers)
    assert put.status_code == 201
    with repository.client.stream("GET", f"/{repository.name}/blobs/{digest}") as answer:
        assert "Content-Encoding" not in answer.headers
        assert b"".join(answer.iter_raw()) == data


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_a_manifest_is_the_bytes_that_came(repository: Repository, coding: str) -> None:
    image = new_image()
    for blob in image.blobs:
        repository.push_blob(blob)
    packed = gzip.compress(image.payload) if coding == "gzip" else zlib.compress(image.payload)
    headers = {"Content-Type": MANIFEST, "Content-Encoding": coding, "TE": "trailers"}
    for reference in ("v1", image.digest, digest_of(packed)):
        refused = repository.request("PUT", f"manifests/{reference}", content=packed, headers=headers)
        assert refused.status_code == 400, refused.text
        assert refused.json()["errors"][0]["code"] in ("MANIFEST_INVALID", "DIGEST_INVALID")
    # What the header says of bytes that are none of it changes nothing.
    taken = repository.request("PUT", "manifests/v1", content=image.payload, headers=headers)
    assert taken.status_code == 201
    repository.assert_holds(image, "v1")


def test_no_bomb_goes_off(world: World, repository: Repository, report: Report) -> None:
    """A gibibyte in a mebibyte, wherever a body is taken."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = b"".join(packer.compress(bytes(MIB)) for _ in range(1024)) + packer.flush()
    headers = {"Content-Encoding": "gzip", "Content-Type": MANIFEST}
    before = memory_of(world.server.pid)
    for _ in range(3):
        put = repository.request("PUT", "manifests/bomb", content=bomb, headers=headers)
        assert_refused(put, 400, "MANIFEST_INVALID")
        rest: httpx.Response = world.server.rest.post(
            "/projects",
            content=bomb,
            headers={"Content-Encoding": "gzip", "Content-Type": "application/json"},
        )
        assert 400 <= rest.status_code < 500, rest.text
        digest = digest_of(bomb)
        pushed = repository.post("blobs/uploads/", params={"digest": digest}, content=bomb, headers=headers)
        assert pushed.status_code == 201
    grown = memory_of(world.server.pid) - before
    assert grown < 128 * MIB, f"the web processes grew by {grown >> 20} MiB"
    report(
        f"3 bombs of 1 GiB in {len(bomb) >> 10} KiB as manifest, REST body and blob: {grown >> 20} MiB of memory"
    )
