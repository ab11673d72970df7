"""What storage can answer instead of bytes.

StorageError
├── KeyMissing           no object under this key
├── ObjectDamaged        an unfinished object is shorter than what was recorded as kept: it cannot be resumed
└── StorageUnavailable   refused, timed out, broken off, full; the same call may succeed later
    └── NotDurable       a sync failed: what the object holds is not to be trusted, whatever a later sync says
"""

from __future__ import annotations


class StorageError(Exception):
    """Its text is a sentence for the log and for health; it names no credential."""


class KeyMissing(StorageError):
    def __init__(self, key: str) -> None:
        super().__init__(f"The storage holds no object {key}.")
        self.key = key


class ObjectDamaged(StorageError):
    def __init__(self, key: str, reason: str) -> None:
        super().__init__(f"The unfinished object {key} cannot be resumed: {reason}.")
        self.key = key


class StorageUnavailable(StorageError):
    """`component`: what it is that cannot be used; an upload to S3 needs a disk of this machine as well."""

    def __init__(self, sentence: str, *, full: bool = False, component: str = "storage") -> None:
        super().__init__(sentence)
        self.full, self.component = full, component


class NotDurable(StorageUnavailable):
    """The object must be written anew, under another key."""
