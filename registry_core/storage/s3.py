"""Objects in an S3 bucket. `s3_writer` says how an upload gets there, `s3_bucket` makes the calls."""

from __future__ import annotations

import functools
import heapq
import re
import threading
import urllib.parse
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from registry_core.storage.errors import KeyMissing, ObjectDamaged, StorageUnavailable
from registry_core.storage.finished import FinishedWriter
from registry_core.storage.paths import PARTS, TAILS, check_key, is_key, owner
from registry_core.storage.s3_bucket import TIMEOUT, Bucket
from registry_core.storage.s3_writer import SMALLEST_PART, S3Writer

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_REGION = re.compile(r"[a-z0-9-]{1,64}")
_PARAMETERS = {"endpoint", "region", "redirect", "timeout"}
_SENDERS = 8
_PER_CALL = 1000


class S3Driver:
    name = "s3"
    is_remote = True
    minimum_chunk: int | None = SMALLEST_PART

    def __init__(
        self,
        bucket: str,
        prefix: str = "",
        *,
        endpoint: str | None = None,
        region: str | None = None,
        redirect: bool = True,
        timeout: int = TIMEOUT,
    ) -> None:
        self.bucket = Bucket(bucket, prefix, endpoint=endpoint, region=region, timeout=timeout)
        self.redirect = redirect
        self._lock = threading.Lock()

    @classmethod
    def from_url(cls, url: str) -> S3Driver:
        parts = urllib.parse.urlsplit(url)
        prefix = parts.path.strip("/")
        # Never the URL itself in a message: it may hold a secret that somebody put there.
        if "@" in parts.netloc:
            raise ValueError("The keys for S3 come from the usual AWS variables, never from the storage URL.")
        if not _BUCKET.fullmatch(parts.netloc):
            raise ValueError("A storage URL for S3 is s3://bucket/prefix, with a bucket name that S3 allows.")
        if parts.fragment or (prefix and not is_key(prefix)):
            raise ValueError("The prefix in the storage URL has letters, digits, '.', '_', '-' and '/' only.")
        options = _options(parts.query)
        return cls(
            parts.netloc,
            prefix,
            endpoint=_endpoint(options),
            region=_region(options),
            redirect=_redirect(options),
            timeout=_timeout(options),
        )

    def open_writer(
        self, key: str, offset: int = 0, state: dict[str, Any] | None = None
    ) -> S3Writer | FinishedWriter:
        check_key(key)
        with self._lock:
            pool = self._pool
        try:
            return S3Writer(self.bucket, pool, key, offset, state or {})
        except ObjectDamaged as damage:
            # What `finish` has tidied away is no longer needed: the object is complete.
            try:
                size = self.bucket.size(key)
            except KeyMissing:
                raise damage from None
            return FinishedWriter(self, key, size, offset, state)

    @functools.cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(_SENDERS, thread_name_prefix="s3-part")

    def size(self, key: str) -> int:
        check_key(key)
        return self.bucket.size(key)

    def read(self, key: str, start: int = 0, length: int | None = None) -> Generator[bytes]:
        check_key(key)
        return self.bucket.get(key, start, length)

    def local_path(self, key: str) -> str | None:
        check_key(key)
        return None

    def presigned_url(self, key: str, *, seconds: int, content_type: str) -> str | None:
        check_key(key)
        return self.bucket.presign(key, seconds=seconds, content_type=content_type) if self.redirect else None

    def delete(self, keys: Sequence[str], state: Mapping[str, dict[str, Any]] = {}) -> set[str]:
        for key in keys:
            check_key(key)
        ended = self._end_uploads(keys, state)
        objects = {key: _objects_of(key) for key in keys}
        gone = self._delete_objects([name for names in objects.values() for name in names])
        return {key for key, names in objects.items() if key in ended and gone.issuperset(names)}

    def _end_uploads(self, keys: Sequence[str], state: Mapping[str, dict[str, Any]]) -> set[str]:
        """The keys without an open multipart upload. Those that no state knows are found by listing: one call
        for all, because few are open at a time."""
        by_object = {key.removesuffix(PARTS): key for key in keys}
        open_uploads = {(key, str(state[key]["upload"])) for key in keys if state.get(key, {}).get("upload")}
        open_uploads |= {(name, upload) for name, upload in self.bucket.uploads() if name in by_object}
        failed = set()
        for name, upload in open_uploads:
            try:
                self.bucket.abort_upload(name, upload)
            except StorageUnavailable:
                failed.add(by_object[name])
        return set(keys) - failed

    def _delete_objects(self, names: Sequence[str]) -> set[str]:
        """What the answers confirm. A call that fails leaves its names out; when none gets through, it is
        raised."""
        gone: set[str] = set()
        failure: StorageUnavailable | None = None
        for at in range(0, len(names), _PER_CALL):
            try:
                gone |= self.bucket.delete(names[at : at + _PER_CALL])
            except StorageUnavailable as error:
                failure = error
        if failure and not gone:
            raise failure
        return gone

    def keys(self) -> Iterator[tuple[str, int]]:
        objects = ((name, size) for name, size in self.bucket.objects() if is_key(name))
        return heapq.merge(objects, sorted(self._open_parts()))

    def _open_parts(self) -> Iterator[tuple[str, int]]:
        sizes: dict[str, int] = {}
        for name, upload in self.bucket.uploads():
            size = self.bucket.upload_size(name, upload)
            if size is not None and is_key(name):
                sizes[name + PARTS] = sizes.get(name + PARTS, 0) + size
        return iter(sizes.items())

    def check(self) -> None:
        self.bucket.check()


def _objects_of(name: str) -> list[str]:
    """Under a key also its tails: asking costs less than losing them when the last state was never
    recorded."""
    if name.endswith(PARTS):
        return []
    return [name] if owner(name) != name else [name, *(name + tail for tail in TAILS)]


def _options(query: str) -> dict[str, str]:
    pairs = urllib.parse.parse_qsl(query, keep_blank_values=True)
    options = dict(pairs)
    if len(options) != len(pairs) or not options.keys() <= _PARAMETERS:
        raise ValueError("The storage URL for S3 takes endpoint, region, redirect and timeout, each once at most.")
    return options


def _endpoint(options: dict[str, str]) -> str | None:
    if "endpoint" not in options:
        return None
    try:
        parts = urllib.parse.urlsplit(options["endpoint"])
        wrong = parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc
        wrong = wrong or bool(parts.query or parts.fragment or parts.path.strip("/")) or parts.port == 0
    except ValueError:  # a port that is no number, a broken IPv6 address
        wrong = True
    if wrong:
        raise ValueError("The endpoint in the storage URL is http://host:port or https://host:port.")
    return options["endpoint"].rstrip("/")


def _region(options: dict[str, str]) -> str | None:
    region = options.get("region")
    if region is not None and not _REGION.fullmatch(region):
        raise ValueError(f"The region in the storage URL is a name such as eu-central-1, not {region!r}.")
    return region


def _redirect(options: dict[str, str]) -> bool:
    value = options.get("redirect", "true")
    if value not in ("true", "false"):
        raise ValueError(f"redirect in the storage URL is true or false, not {value!r}.")
    return value == "true"


def _timeout(options: dict[str, str]) -> int:
    value = options.get("timeout", str(TIMEOUT))
    if not re.fullmatch(r"[1-9]\d{0,2}", value):
        raise ValueError(f"timeout in the storage URL is a number of seconds from 1 to 999, not {value!r}.")
    return int(value)
