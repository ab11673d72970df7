"""What can go wrong, each with its code and status; one handler per API writes them.

RegistryError
├── NameInvalid 400 · NameUnknown 404 · DigestInvalid 400 · SizeInvalid 400 · TagInvalid 400
├── ManifestUnknown 404 · ManifestInvalid 400 · ManifestBlobUnknown 400 · ManifestTooLarge 413
├── BlobUnknown 404 · BlobUploadUnknown 404 · BlobUploadInvalid 400 · RangeInvalid 416
├── Unauthorized 401 · Denied 403 · Forbidden 403 · Unsupported 405 · BadRequest 400 · Precondition 412 · InUse 412
├── PolicyViolation 412
├── TooManyRequests 429 · RequestTimeout 408
└── Unavailable 503 · InsufficientStorage 507 · Damaged 500

Codes: distribution-spec "Error Codes"; where it has none, Harbor's (contract 1.1).
"""

from __future__ import annotations

from typing import Any


class RegistryError(Exception):
    """`message` is a sentence for a person; `detail` says what was seen and what would mend it (design 2.8)."""

    code = "UNKNOWN"
    status = 500
    default_message = "internal server error"

    def __init__(
        self, message: str = "", detail: Any = None, *, headers: dict[str, str] | None = None
    ) -> None:
        self.message = message or self.default_message
        self.detail = detail
        self.headers = headers or {}
        super().__init__(self.message)

    def as_entries(self) -> list[dict[str, Any]]:
        """The elements of an OCI error body's `errors` list."""
        entry: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.detail is not None:
            entry["detail"] = self.detail
        return [entry]


class NameInvalid(RegistryError):
    code, status = "NAME_INVALID", 400
    default_message = "invalid repository name"


class NameUnknown(RegistryError):
    code, status = "NAME_UNKNOWN", 404
    default_message = "repository name not known to registry"


class DigestInvalid(RegistryError):
    code, status = "DIGEST_INVALID", 400
    default_message = "provided digest did not match uploaded content"


class SizeInvalid(RegistryError):
    code, status = "SIZE_INVALID", 400
    default_message = "provided length did not match content length"


class TagInvalid(RegistryError):
    """The specification has no code of its own for it; Harbor's is this one."""

    code, status = "BAD_REQUEST", 400
    default_message = "invalid tag name"


class ManifestUnknown(RegistryError):
    code, status = "MANIFEST_UNKNOWN", 404
    default_message = "manifest unknown"


class ManifestInvalid(RegistryError):
    code, status = "MANIFEST_INVALID", 400
    default_message = "manifest invalid"


class ManifestBlobUnknown(RegistryError):
    """Parts that a manifest names and the repository lacks: one entry each (spec: errors MAY hold several)."""

    code, status = "MANIFEST_BLOB_UNKNOWN", 400
    default_message = "blob unknown to registry"

    def __init__(self, digests: list[str]) -> None:
        super().__init__(f"{self.default_message}: {', '.join(digests[:3])}", digests)
        self.digests = digests

    def as_entries(self) -> list[dict[str, Any]]:
        return [
            {"code": self.code, "message": self.default_message, "detail": digest} for digest in self.digests
        ]


class ManifestTooLarge(RegistryError):
    code, status = "REQUEST_ENTITY_TOO_LARGE", 413
    default_message = "request entity too large"


class BlobUnknown(RegistryError):
    code, status = "BLOB_UNKNOWN", 404
    default_message = "blob unknown to registry"


class BlobUploadUnknown(RegistryError):
    code, status = "BLOB_UPLOAD_UNKNOWN", 404
    default_message = "blob upload unknown to registry"


class BlobUploadInvalid(RegistryError):
    code, status = "BLOB_UPLOAD_INVALID", 400
    default_message = "blob upload invalid"


class RangeInvalid(RegistryError):
    """A chunk out of order, a second writer, a range outside the blob."""

    code, status = "RANGE_INVALID", 416
    default_message = "invalid range"


class Unauthorized(RegistryError):
    """`challenge` is the WWW-Authenticate value; empty when signing in would not help (contract 3.3)."""

    code, status = "UNAUTHORIZED", 401
    default_message = "unauthorized"

    def __init__(self, message: str = "", detail: Any = None, *, challenge: str = "") -> None:
        super().__init__(message, detail, headers={"www-authenticate": challenge})


class Denied(RegistryError):
    code, status = "DENIED", 403
    default_message = "requested access to the resource is denied"


class Forbidden(RegistryError):
    """Harbor's code for lacking rights on the REST side; `/v2` says UNAUTHORIZED or DENIED (contract 1.1, 1.4)."""

    code, status = "FORBIDDEN", 403
    default_message = "forbidden"


class Unsupported(RegistryError):
    code, status = "UNSUPPORTED", 405
    default_message = "the operation is unsupported"


class BadRequest(RegistryError):
    code, status = "BAD_REQUEST", 400
    default_message = "bad request"


class IncompleteBody(BadRequest):
    """The connection ended, or its frame broke, before the body was complete."""

    default_message = "the body ended before it was complete, or is no HTTP"

    def __init__(self) -> None:
        detail = {"fix": "send it again, or go on from the offset that GET names"}
        super().__init__(detail=detail, headers={"connection": "close"})


class NotFound(RegistryError):
    code, status = "NOT_FOUND", 404
    default_message = "not found"


class Conflict(RegistryError):
    code, status = "CONFLICT", 409
    default_message = "conflict"


class Precondition(RegistryError):
    code, status = "PRECONDITION", 412
    default_message = "precondition failed"


class InUse(RegistryError):
    code, status = "VIOLATE_FOREIGN_KEY_CONSTRAINT", 412
    default_message = "the deleting artifact is referenced by others"


class PolicyViolation(RegistryError):
    """A policy of the project keeps the artifact back (contract 3.3)."""

    code, status = "PROJECTPOLICYVIOLATION", 412
    default_message = "a policy of the project keeps the artifact back"


class TooManyRequests(RegistryError):
    code, status = "TOOMANYREQUESTS", 429
    default_message = "too many requests"


class RequestTimeout(RegistryError):
    code, status = "REQUEST_TIMEOUT", 408
    default_message = "the request body arrived too slowly"


class Unavailable(RegistryError):
    """A component does not answer; trying again later is right."""

    code, status = "UNAVAILABLE", 503
    default_message = "the registry cannot answer now; try again"

    def __init__(self, message: str = "", detail: Any = None, *, retry_after: int = 1) -> None:
        super().__init__(message, detail, headers={"retry-after": str(retry_after)})


class InsufficientStorage(RegistryError):
    """`component`: what is full, in a word (storage, database)."""

    code, status = "INSUFFICIENT_STORAGE", 507

    def __init__(self, component: str) -> None:
        super().__init__(
            f"the registry's {component} is full; its operator must make room",
            {
                "component": component,
                "who": "the operator of the registry",
                "fix": f"make room on the disk of the {component}, then try again: nothing has to be restarted",
            },
        )


class Damaged(RegistryError):
    """Bytes that were acknowledged are missing or short: never a 404 (design 3, Pull)."""

    code, status = "UNKNOWN", 500
    default_message = "stored content is damaged; the operator has been told"
