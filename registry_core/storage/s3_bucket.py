"""The S3 calls that the driver makes, one method each, with S3's answers turned into ours."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import re
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import IO, Any

from botocore.exceptions import BotoCoreError, ClientError

from registry_core.storage.errors import KeyMissing, ObjectDamaged, StorageError, StorageUnavailable

_PIECE = 256 * 1024
TIMEOUT = 60  # seconds without a byte
_CONNECT_SECONDS, _ATTEMPTS = 5, 3
_CONNECTIONS = 32
_MISSING = {"NoSuchKey", "NotFound", "404"}
_NO_SUCH_RANGE = {"InvalidRange", "416"}
_CONDITION_FAILED = {"PreconditionFailed", "412"}
_LOST = {"InvalidPart", "NoSuchUpload"}
_FULL = {"InsufficientStorage", "QuotaExceeded", "XMinioStorageFull", "507"}
_MARK = "breakwater-upload"
_MD5 = re.compile(r"[0-9a-f]{32}")
_TYPE = "application/octet-stream"


class Bucket:
    """One bucket below one prefix: names go in and come out without it."""

    def __init__(
        self,
        bucket: str,
        prefix: str,
        *,
        endpoint: str | None,
        region: str | None,
        timeout: int = TIMEOUT,
    ) -> None:
        self.bucket, self.endpoint, self.region, self._timeout = bucket, endpoint, region, timeout
        self._prefix = f"{prefix}/" if prefix else ""
        self._lock = threading.Lock()

    @property
    def client(self) -> Any:
        # Made on first use, and once: boto3 is slow to import and to make a client, and making one is not
        # thread safe.
        with self._lock:
            return self._client

    @functools.cached_property
    def _client(self) -> Any:
        import boto3
        from botocore.config import Config

        session = boto3.session.Session()
        config = Config(
            signature_version="s3v4",
            s3={"addressing_style": "path" if self.endpoint else "auto"},
            connect_timeout=min(_CONNECT_SECONDS, self._timeout),
            read_timeout=self._timeout,
            retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
            max_pool_connections=_CONNECTIONS,
            # Stores other than AWS refuse the trailing checksums that botocore would add unasked.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        region = self.region or session.region_name or "us-east-1"
        with self._answers("be reached"):
            return session.client("s3", endpoint_url=self.endpoint, region_name=region, config=config)

    def check(self) -> None:
        with self._answers("be listed"):
            self.client.list_objects_v2(Bucket=self.bucket, Prefix=self._prefix, MaxKeys=1)

    def size(self, name: str) -> int:
        with self._answers("tell an object's size", name):
            return int(self.client.head_object(**self._at(name))["ContentLength"])

    def get(
        self, name: str, start: int = 0, length: int | None = None, *, etag: str | None = None
    ) -> Generator[bytes]:
        """Asks at the call; the pieces follow. With an ETag, any other object of this name is a missing
        one."""
        if length == 0:
            self.size(name)
            return _nothing()
        last = "" if length is None else start + length - 1
        wanted = {"Range": f"bytes={start}-{last}"} if start or length is not None else {}
        if etag is not None:
            wanted["IfMatch"] = etag
        with self._answers("read an object", name):
            try:
                body = self.client.get_object(**self._at(name), **wanted)["Body"]
            except ClientError as error:
                if _code(error) in _NO_SUCH_RANGE:
                    return _nothing()
                if _code(error) in _CONDITION_FAILED:
                    raise KeyMissing(name) from error
                raise
        pieces = self._pieces(body, name)
        next(pieces)
        return pieces

    def _pieces(self, body: Any, name: str) -> Generator[bytes]:
        with contextlib.closing(body):
            yield b""
            with self._answers("read an object", name):
                yield from body.iter_chunks(_PIECE)

    def put(self, name: str, body: IO[bytes]) -> str:
        """The object's ETag."""
        with self._answers("take an object", name):
            return str(self.client.put_object(**self._at(name), Body=body, ContentType=_TYPE)["ETag"])

    def put_once(self, name: str, body: IO[bytes]) -> bool:
        """False when there is an object of this name, which then stays as it is."""
        with self._answers("take an object", name):
            return self._once(self.client.put_object, **self._at(name), Body=body, ContentType=_TYPE)

    def _once(self, call: Callable[..., Any], **arguments: Any) -> bool:
        try:
            call(**arguments, IfNoneMatch="*")
        except ClientError as error:
            if _code(error) in _CONDITION_FAILED:
                return False
            if _code(error) not in ("NotImplemented", "501"):
                raise
            # A store that cannot promise it. The writer lease is then all that keeps requests apart.
            if "Body" in arguments:
                arguments["Body"].seek(0)  # the refused call has read it
            call(**arguments)
        return True

    def presign(self, name: str, *, seconds: int, content_type: str) -> str:
        with self._answers("sign a URL", name):
            wanted = {**self._at(name), "ResponseContentType": content_type}
            return str(self.client.generate_presigned_url("get_object", Params=wanted, ExpiresIn=seconds))

    def create_upload(self, name: str, mark: str) -> str:
        """The upload's id. The object that comes of it carries the mark."""
        with self._answers("begin an upload", name):
            answer = self.client.create_multipart_upload(
                **self._at(name), ContentType=_TYPE, Metadata={_MARK: mark}
            )
            return str(answer["UploadId"])

    def upload_part(self, name: str, upload: str, number: int, body: IO[bytes]) -> str:
        """The part's ETag."""
        with self._answers("take a part", name):
            part = self.client.upload_part(**self._at(name), UploadId=upload, PartNumber=number, Body=body)
            return str(part["ETag"])

    def complete_upload(
        self, name: str, upload: str, etags: Sequence[str], size: int, mark: str | None
    ) -> None:
        """The object is there, or an error. Whatever S3 answers (a time-out, an error in a 200, no such
        upload because an earlier try got through): an object of this size that came of these parts is a
        success."""
        parts = {"Parts": [{"PartNumber": number, "ETag": etag} for number, etag in enumerate(etags, 1)]}
        try:
            with self._answers("complete an upload", name):
                complete = self.client.complete_multipart_upload
                if not self._once(complete, **self._at(name), UploadId=upload, MultipartUpload=parts):
                    raise ObjectDamaged(name, "another request has completed it")
        except StorageError:
            with contextlib.suppress(StorageError):
                if self._came_of(name, etags, mark) == size:
                    return
            raise

    def _came_of(self, name: str, etags: Sequence[str], mark: str | None) -> int:
        """The size of the object, if it came of these parts: its ETag says so, or, where ETags are no
        checksums (SSE-KMS), the mark of an upload that no other request has ever known."""
        with self._answers("tell an object's size", name):
            found = self.client.head_object(**self._at(name))
        is_ours = found["ETag"].strip('"') == _etag_of(etags)
        is_ours = is_ours or (mark is not None and found.get("Metadata", {}).get(_MARK) == mark)
        return int(found["ContentLength"]) if is_ours else -1

    def abort_upload(self, name: str, upload: str) -> None:
        """One that is not there is one that is aborted."""
        with contextlib.suppress(ObjectDamaged, KeyMissing), self._answers("end an upload", name):
            self.client.abort_multipart_upload(**self._at(name), UploadId=upload)

    def uploads(self, name: str = "") -> Iterator[tuple[str, str]]:
        """Name and id of the open multipart uploads, of one object or of all."""
        with self._answers("list uploads"):
            pages = self.client.get_paginator("list_multipart_uploads").paginate(
                Bucket=self.bucket, Prefix=self._prefix + name
            )
            for page in pages:
                for upload in page.get("Uploads", ()):
                    found = upload["Key"].removeprefix(self._prefix)
                    if not name or found == name:
                        yield found, upload["UploadId"]

    def upload_size(self, name: str, upload: str) -> int | None:
        """Bytes in its parts; None when it has ended since it was listed."""
        try:
            with self._answers("list parts", name):
                pages = self.client.get_paginator("list_parts").paginate(**self._at(name), UploadId=upload)
                return sum(int(part["Size"]) for page in pages for part in page.get("Parts", ()))
        except (ObjectDamaged, KeyMissing):
            return None

    def objects(self) -> Iterator[tuple[str, int]]:
        with self._answers("be listed"):
            listing = self.client.get_paginator("list_objects_v2")
            for page in listing.paginate(Bucket=self.bucket, Prefix=self._prefix):
                for found in page.get("Contents", ()):
                    yield found["Key"].removeprefix(self._prefix), found["Size"]

    def delete(self, names: Sequence[str]) -> set[str]:
        """At most 1,000 names; those that the answer says are gone."""
        objects = [{"Key": self._prefix + name} for name in names]
        with self._answers("delete objects"):
            answer = self.client.delete_objects(Bucket=self.bucket, Delete={"Objects": objects})
        gone = {found["Key"] for found in answer.get("Deleted", ())}
        gone |= {found["Key"] for found in answer.get("Errors", ()) if found.get("Code") in _MISSING}
        return {name for name in names if self._prefix + name in gone}

    def _at(self, name: str) -> dict[str, str]:
        return {"Bucket": self.bucket, "Key": self._prefix + name}

    @contextlib.contextmanager
    def _answers(self, doing: str, name: str = "") -> Iterator[None]:
        try:
            yield
        except ClientError as error:
            code = _code(error)
            if code in _MISSING:
                raise KeyMissing(name) from error
            if code in _LOST:
                raise ObjectDamaged(name, f"the storage answered {code} for its parts") from error
            raise self._unavailable(doing, code, full=code in _FULL) from error
        except BotoCoreError as error:
            raise self._unavailable(doing, str(error).rstrip(".")) from error
        except OSError as error:
            raise self._unavailable(doing, error.strerror or type(error).__name__) from error

    def _unavailable(self, doing: str, why: str, *, full: bool = False) -> StorageUnavailable:
        where = f" at {self.endpoint}" if self.endpoint else ""
        return StorageUnavailable(f"The S3 bucket {self.bucket}{where} could not {doing}: {why}.", full=full)


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _etag_of(etags: Sequence[str]) -> str:
    """What S3 gives to an object made of parts with these ETags."""
    parts = [etag.strip('"') for etag in etags]
    if not all(_MD5.fullmatch(part) for part in parts):
        return ""
    return f"{hashlib.md5(bytes.fromhex(''.join(parts)), usedforsecurity=False).hexdigest()}-{len(parts)}"


def _nothing() -> Generator[bytes]:
    yield from ()
