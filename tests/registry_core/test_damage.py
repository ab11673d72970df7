"""Bytes that vanish, shrink or rot behind our back: never a 404, always found, healed by the next push (design 2.2)."""

from __future__ import annotations

import contextlib
import os
import pathlib

import httpx
import pytest

from tests import ledger
from tests.components.availability import require_program
from tests.components.postgres import Postgres
from tests.components.valkey import Valkey
from tests.content import absent_digest, digest_of, new_bytes
from tests.server import ADMIN, WEB, Image, Pair, Repository, Server, assert_refused


def file_of(server: Server, data: bytes) -> pathlib.Path:
    ((key,),) = server.rows("SELECT key FROM registry_core_blob WHERE digest = %s", digest_of(data))
    return server.storage / str(key)


def damage(file: pathlib.Path, how: str) -> None:
    file.chmod(0o640)
    match how:
        case "removed":
            file.unlink()
        case "cut short":
            file.write_bytes(file.read_bytes()[:-1])
        case "longer":
            file.write_bytes(file.read_bytes() + b"x")
        case "a directory":
            file.unlink()
            file.mkdir()
        case "a pipe":
            file.unlink()
            os.mkfifo(file)
        case "a link":
            file.rename(file.with_name(f".{file.name}"))
            file.symlink_to(f".{file.name}")
        case "rotten":
            content = bytearray(file.read_bytes())
            content[5] ^= 1
            file.write_bytes(content)


def damaged_so_far(server: Server) -> float:
    page = httpx.get(f"{server.url}/metrics", auth=ADMIN).text
    return sum(
        float(line.split()[-1])
        for line in page.splitlines()
        if line.startswith("breakwater_damaged_objects_total")
    )


@pytest.fixture
def image(server: Server, repository: Repository, puller: Pair) -> Image:
    return repository.push_image("v1")


@pytest.fixture
def reader(server: Server, repository: Repository, puller: Pair) -> Repository:
    return server.repository(repository.name, puller)


@pytest.mark.parametrize("how", ["removed", "cut short", "longer", "a directory", "a pipe", "a link"])
def test_a_damaged_file_is_our_fault_until_a_push_heals_it(
    server: Server, repository: Repository, reader: Repository, image: Image, robot: Pair, how: str
) -> None:
    data = image.layers[0]
    path = f"blobs/{digest_of(data)}"
    other = server.repository(f"{repository.name}-2", robot)
    other.push_image("v1", image)
    file = file_of(server, data)
    before = damaged_so_far(server)
    for _ in range(3):  # what is kept in memory hides nothing
        assert reader.get(path).content == data
    damage(file, how)
    for headers in ({}, {"Range": "bytes=0-9"}, {"Range": "bytes=60-"}):
        answer = reader.get(path, headers=headers)
        error = assert_refused(answer, 500, "UNKNOWN", digest=digest_of(data))
        assert "scrub" in error["detail"]["fix"]
        assert str(server.storage) not in answer.text
    assert reader.head(path).status_code == 500
    assert damaged_so_far(server) == before + 4
    assert "stored object damaged" in server.log

    key = str(file.relative_to(server.storage))
    kind = "short" if how in ("cut short", "longer") else "missing"
    assert [f[:2] for f in server.scrub(100 if kind == "missing" else 0)] == [[kind, key]]
    assert reader.get(path).status_code == 500
    # A pusher is invited to send the bytes again, and a mount of them becomes an upload.
    assert repository.head(path).status_code == 404
    mount = other.post("blobs/uploads/", params={"mount": digest_of(data), "from": repository.name})
    assert mount.status_code == 202
    other.push_blob(data)
    for place in (repository, reader, other):
        place.assert_holds(image, "v1")
        assert place.head(path).status_code == 200
    if how == "a directory":
        file.rmdir()
    server.collect()
    assert not file.exists()
    file.with_name(f".{file.name}").unlink(missing_ok=True)
    assert server.scrub() == []


def test_a_file_that_may_not_be_read_is_our_fault(postgres: Postgres, valkey: Valkey) -> None:
    """Even by root: the web process does without the capabilities that let it read everything."""
    program = require_program("setpriv", package="util-linux")
    without = "-dac_override,-dac_read_search"
    server = Server(
        postgres, valkey.url(60), [program, f"--bounding-set={without}", f"--inh-caps={without}", *WEB]
    )
    server.start()
    try:
        project = server.create_project()
        repository = server.repository(f"{project}/app", server.create_robot(project))
        data = new_bytes(1000)
        path = f"blobs/{repository.push_blob(data)}"
        for _ in range(3):  # what is kept in memory hides nothing
            assert repository.get(path).content == data
        file_of(server, data).chmod(0)
        for headers in ({}, {"Range": "bytes=0-9"}):
            assert_refused(repository.get(path, headers=headers), 500, "UNKNOWN", digest=digest_of(data))
        assert repository.head(path).status_code == 500
        assert "Permission denied" in server.log
        file_of(server, data).chmod(0o440)
        assert repository.get(path).content == data
    finally:
        server.stop()


@pytest.mark.parametrize("span", ["", "bytes=10-"])
def test_a_file_cut_short_amid_an_answer_is_no_whole_answer(
    server: Server, repository: Repository, robot: Pair, span: str
) -> None:
    """Its length has been promised by then: the client must see that bytes are missing."""
    data = new_bytes(48 << 20)
    digest = repository.push_blob(data)
    headers = {"Range": span} if span else {}
    target = f"/v2/{repository.name}/blobs/{digest}"
    with server.unfinished("GET", target, robot, b"", **headers) as connection:
        head = connection.recv(4096)
        assert b" 206 " in head.partition(b"\r\n")[0] if span else b" 200 " in head.partition(b"\r\n")[0]
        file = file_of(server, data)
        file.chmod(0o640)
        os.truncate(file, 1 << 20)
        received = len(head.partition(b"\r\n\r\n")[2])
        with contextlib.suppress(ConnectionResetError):
            while piece := connection.recv(1 << 20):  # ends: the server closes, though it might keep alive
                received += len(piece)
    assert received < len(data) - 10
    repository.delete(f"blobs/{digest}")
    assert [f[0] for f in server.scrub()] == ["short"]
    repository.push_blob(data)
    server.collect()
    assert server.scrub() == []


def test_a_manifest_is_not_acknowledged_over_bytes_that_are_lost(
    server: Server, repository: Repository, image: Image
) -> None:
    lost = image.layers[0]
    file_of(server, lost).unlink()
    assert [f[0] for f in server.scrub()] == ["missing"]
    answer = repository.put_manifest(image.payload, "v2")
    assert answer.status_code == 400
    assert [(e["code"], e["detail"]) for e in answer.json()["errors"]] == [("MANIFEST_BLOB_UNKNOWN", digest_of(lost))]
    repository.push_blob(lost)
    repository.push_image("v2", image)
    repository.assert_holds(image, "v2")
    assert server.scrub() == []


def test_rot_is_found_by_reading(
    server: Server, repository: Repository, reader: Repository, image: Image
) -> None:
    data = image.layers[0]
    damage(file_of(server, data), "rotten")
    assert server.scrub() == []  # the size is right
    ((kind, key, what),) = server.scrub(100)
    assert (kind, server.storage / key) == ("corrupt", file_of(server, data))
    assert what.startswith(digest_of(data))
    assert_refused(reader.get(f"blobs/{digest_of(data)}"), 500, "UNKNOWN")
    repository.push_blob(data)
    repository.assert_holds(image, "v1")
    assert server.scrub(100) == []


def test_bytes_that_come_back_are_good_again(server: Server, reader: Repository, image: Image) -> None:
    """A disk that was not mounted, a restore."""
    file = file_of(server, image.layers[0])
    content = file.read_bytes()
    file.unlink()
    assert [f[0] for f in server.scrub()] == ["missing"]
    file.write_bytes(content)
    assert server.scrub() == []
    reader.assert_holds(image, "v1")


def test_bytes_without_a_row_are_found_and_removed_when_asked(server: Server) -> None:
    key = "objects/ab/cd/abcd" + "0" * 28
    file = server.storage / key
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"left behind")
    found = server.manage("scrub")
    assert found.returncode == 1
    assert f"orphan       {key}  11 bytes that no row accounts for" in found.stdout
    assert server.manage("scrub", "--condemn-orphans").returncode == 1
    assert file.exists()
    server.collect()
    assert not file.exists()
    assert server.scrub() == []


@pytest.mark.parametrize("suffix", [".tail", ".tail2"])
def test_what_an_upload_left_beside_its_blob_is_found_too(
    server: Server, repository: Repository, image: Image, suffix: str
) -> None:
    whole = file_of(server, image.layers[0])
    beside = whole.with_name(whole.name + suffix)
    alone = whole.with_name("f" * 32 + suffix)
    for left in (beside, alone):
        left.write_bytes(b"left behind")
    names = sorted(str(left.relative_to(server.storage)) for left in (beside, alone))
    assert sorted(f[:2] for f in server.scrub()) == [["orphan", name] for name in names]
    server.manage("scrub", "--condemn-orphans")
    server.collect()
    assert not beside.exists()
    assert not alone.exists()
    assert whole.exists()
    assert server.scrub() == []


def test_an_upload_that_lost_bytes_is_found_and_cannot_be_finished(
    server: Server, repository: Repository
) -> None:
    data = new_bytes(20)
    location = repository.start_upload()
    repository.client.patch(location, content=data[:10])
    ((key,),) = server.rows("SELECT key FROM registry_core_upload WHERE id = %s", location.rpartition("/")[2])
    damage(server.storage / key, "removed")
    assert [f[:2] for f in server.scrub()] == [["upload-lost", key]]
    answer = repository.client.put(location, params={"digest": digest_of(data)}, content=data[10:])
    assert_refused(answer, 500, "UNKNOWN")
    assert repository.client.delete(location).status_code == 204
    assert server.scrub() == []


def test_the_proof_agrees_with_the_one_from_outside(server: Server, repository: Repository) -> None:
    repository.push_image("v1")
    location = repository.start_upload()
    repository.client.patch(location, content=b"12345")
    repository.client.put(repository.start_upload(), params={"digest": absent_digest()}, content=b"x")
    ledger.assert_adds_up(server.database, server.storage)
    done = server.manage("scrub", "--verify", "100")
    ((blobs,),) = server.rows("SELECT count(*) FROM registry_core_blob")
    sizes = f"{count(server)} objects, {server.stored_bytes()} bytes, {blobs} verified"
    assert (done.returncode, done.stdout) == (0, f"scrub: clean; {sizes}\n")


def count(server: Server) -> int:
    return sum(1 for f in server.storage.rglob("*") if f.is_file() and not f.name.startswith("."))
