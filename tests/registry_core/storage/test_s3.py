"""S3: the common suite on SeaweedFS, presigned URLs as a client uses them, URLs of configuration, sizes of parts."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.parse
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from registry_core.storage.driver import Driver, StorageUnavailable, open_driver
from registry_core.storage.paths import new_key
from registry_core.storage.s3 import S3Driver
from registry_core.storage.s3_writer import MOST_PARTS, SMALLEST_PART, may_be_part, part_size
from tests.components.seaweedfs import ACCESS_KEY, BUCKET, SECRET_KEY, SeaweedFS, seaweedfs
from tests.storage_suite import MIB, NOISE, PART, StorageDriverSuite, assert_holds, store

__all__ = ["seaweedfs"]

GIB, TIB = 1024 * MIB, 1024 * 1024 * MIB


@pytest.fixture
def prefix() -> str:
    return new_key()


@pytest.fixture
def driver(seaweedfs: SeaweedFS, prefix: str, monkeypatch: pytest.MonkeyPatch) -> Driver:
    for name, value in seaweedfs.credentials.items():
        monkeypatch.setenv(name, value)
    return open_driver(seaweedfs.url(prefix))


class TestS3Driver(StorageDriverSuite):
    examples = 12

    def test_it_has_the_smallest_part_of_s3_as_smallest_chunk(self, driver: Driver) -> None:
        assert (driver.name, driver.minimum_chunk) == ("s3", 5_242_880)
        assert driver.local_path(new_key()) is None

    def test_objects_lie_below_the_prefix(self, driver: Driver, seaweedfs: SeaweedFS, prefix: str) -> None:
        key = store(driver, b"x")
        found = seaweedfs.client().list_objects_v2(Bucket=BUCKET, Prefix=prefix)["Contents"]
        assert [entry["Key"] for entry in found] == [f"{prefix}/{key}"]
        beside = open_driver(seaweedfs.url(prefix[:-1]))
        assert list(beside.keys()) == []


# -- presigned URLs


def test_a_presigned_url_serves_the_object(driver: Driver) -> None:
    key = store(driver, NOISE[:MIB])
    url = driver.presigned_url(key, seconds=60, content_type="application/vnd.oci.image.layer.v1.tar+gzip")
    assert url
    whole = httpx.get(url)
    assert (whole.status_code, whole.content) == (200, NOISE[:MIB])
    assert whole.headers["content-type"] == "application/vnd.oci.image.layer.v1.tar+gzip"
    part = httpx.get(url, headers={"Range": "bytes=1000-1999"})
    assert (part.status_code, part.content) == (206, NOISE[1000:2000])
    assert part.headers["content-range"] == f"bytes 1000-1999/{MIB}"


def test_a_presigned_url_is_good_for_its_object_and_time_only(driver: Driver) -> None:
    key, other = store(driver, b"mine"), store(driver, b"theirs")
    url = driver.presigned_url(key, seconds=2, content_type="application/octet-stream") or ""
    assert httpx.get(url).content == b"mine"
    assert httpx.get(url.replace(key, other)).status_code in (400, 403)
    assert httpx.get(url.partition("?")[0]).status_code == 403
    assert httpx.put(url, content=b"overwritten").status_code in (400, 403)
    query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(url).query))
    assert query["X-Amz-Expires"] == "2"
    assert SECRET_KEY not in url
    time.sleep(3)
    assert httpx.get(url).status_code == 403
    assert_holds(driver, key, b"mine")


def test_without_redirect_the_registry_serves_the_bytes(
    seaweedfs: SeaweedFS, driver: Driver, prefix: str
) -> None:
    key = store(driver, b"x")
    proxying = open_driver(seaweedfs.url(prefix, redirect=False))
    assert proxying.presigned_url(key, seconds=60, content_type="text/plain") is None
    assert b"".join(proxying.read(key)) == b"x"


# -- the client


def test_many_threads_make_one_client(driver: Driver) -> None:
    assert isinstance(driver, S3Driver)
    with ThreadPoolExecutor(16) as pool:
        clients = list(pool.map(lambda _: driver.bucket.client, range(64)))
    assert len({id(client) for client in clients}) == 1


def test_a_call_ends_in_time(driver: Driver) -> None:
    assert isinstance(driver, S3Driver)
    config = driver.bucket.client.meta.config
    assert (config.connect_timeout, config.read_timeout) == (5, 60)
    assert config.retries == {"mode": "standard", "total_max_attempts": 3}


@pytest.mark.parametrize(
    ("url", "unwanted"),
    [
        ("s3://bucket/prefix?endpoint=http://127.0.0.1:9", "boto3"),
        ("file:///nowhere", "botocore"),
        ("memory://", "botocore"),
    ],
)
def test_opening_costs_nothing_that_is_not_used(url: str, unwanted: str) -> None:
    """Neither boto3 before the first call, nor Django ever; and nothing is asked of the store."""
    script = "import sys; from registry_core.storage.driver import open_driver; open_driver(sys.argv[1])"
    script += "; print([m for m in ('django', sys.argv[2]) if m in sys.modules])"
    run = subprocess.run(
        [sys.executable, "-c", script, url, unwanted], check=True, capture_output=True, text=True
    )
    assert run.stdout == "[]\n"


# -- a store that cannot be used


def test_check_names_what_is_wrong(
    seaweedfs: SeaweedFS, driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver.check()
    with pytest.raises(
        StorageUnavailable, match=r"^The S3 bucket absent at http://\S+ could not be listed: NoSuchBucket\.$"
    ):
        open_driver(f"s3://absent?endpoint={seaweedfs.endpoint}").check()
    with pytest.raises(
        StorageUnavailable, match=r"could not be listed: Could not connect to the endpoint URL"
    ):
        open_driver("s3://absent?endpoint=http://127.0.0.1:9").check()
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another-secret")
    with pytest.raises(StorageUnavailable, match=r"could not be listed: SignatureDoesNotMatch\.$") as caught:
        open_driver(seaweedfs.url()).check()
    assert "another-secret" not in str(caught.value)


def test_missing_credentials_are_named(
    seaweedfs: SeaweedFS, driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, "/dev/null")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(StorageUnavailable, match=r"could not be listed: Unable to locate credentials\.$"):
        open_driver(seaweedfs.url()).check()
    with pytest.raises(StorageUnavailable, match=r"could not sign a URL: Unable to locate credentials\.$"):
        open_driver(seaweedfs.url()).presigned_url(new_key(), seconds=1, content_type="text/plain")


# -- URLs of configuration


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("s3://bucket", ("bucket", None, None, True)),
        ("s3://bucket/", ("bucket", None, None, True)),
        ("s3://my.bucket-1/a/b/?region=eu-central-1", ("my.bucket-1", None, "eu-central-1", True)),
        ("s3://bucket?endpoint=https://s3.local:90/&redirect=false", ("bucket", "https://s3.local:90", None, False)),
        ("s3://bucket?endpoint=http%3A%2F%2F%5B%3A%3A1%5D%3A90", ("bucket", "http://[::1]:90", None, True)),
    ],
)  # fmt: skip
def test_a_url_names_the_store(url: str, expected: tuple[object, ...]) -> None:
    driver = open_driver(url)
    assert isinstance(driver, S3Driver)
    assert (driver.bucket.bucket, driver.bucket.endpoint, driver.bucket.region, driver.redirect) == expected


@pytest.mark.parametrize(
    "url",
    [
        "s3://",
        "s3:///prefix",
        "s3://ab",
        "s3://Bucket",
        "s3://bucket/../other",
        "s3://bucket/a//b",
        "s3://bucket/a b",
        "s3://bucket#x",
        f"s3://{ACCESS_KEY}:{SECRET_KEY}@bucket",
        "s3://bucket:9000",
        "s3://bucket?endpoint=127.0.0.1:9000",
        "s3://bucket?endpoint=",
        "s3://bucket?endpoint=ftp://host",
        "s3://bucket?endpoint=http://host/path",
        f"s3://bucket?endpoint=http://{ACCESS_KEY}:{SECRET_KEY}@host",
        "s3://bucket?endpoint=http://host:port",
        "s3://bucket?endpoint=http://[::1",
        "s3://bucket?region=",
        "s3://bucket?region=EU/1",
        "s3://bucket?redirect=yes",
        "s3://bucket?redirect=true&redirect=true",
        "s3://bucket?secret=x",
    ],
)
def test_a_wrong_url_is_one_sentence_without_secrets(url: str) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]+\.$") as caught:
        open_driver(url)
    assert SECRET_KEY not in str(caught.value)


# -- sizes of parts (S3: at most 10,000 parts of 5 MiB to 5 GiB, an object of 5 TiB)


def test_the_first_parts_have_8_mib() -> None:
    assert {part_size(number) for number in range(1, 100)} == {8_388_608}


def test_parts_hold_the_largest_object() -> None:
    sizes = [part_size(number) for number in range(1, MOST_PARTS + 1)]
    assert sizes == sorted(sizes)
    assert sum(sizes) >= 5 * TIB
    assert max(sizes) <= 5 * GIB


@pytest.mark.parametrize("request_size", [5 * MIB, 5 * MIB + 1, 8 * MIB - 1, 20 * MIB, 500 * MIB])
def test_small_requests_do_not_use_up_the_parts(request_size: int) -> None:
    """Counted as the writer does, for a client that sends chunks of one size up to 5 TiB."""
    number, spooled, sent = 1, 0, 0
    while sent < 5 * TIB:
        spooled += request_size
        while spooled >= part_size(number):
            sent, spooled, number = sent + part_size(number), spooled - part_size(number), number + 1
        if may_be_part(spooled, number):
            sent, spooled, number = sent + spooled, 0, number + 1
    assert number <= MOST_PARTS + 1


def test_s3_takes_no_smaller_part() -> None:
    assert SMALLEST_PART == 5_242_880
    assert not may_be_part(SMALLEST_PART - 1, 1)
    assert may_be_part(SMALLEST_PART, 1)
    assert part_size(1) == PART
