"""Digests of content (OCI image-spec, descriptor.md "Digests")."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from registry_core import errors

if TYPE_CHECKING:
    from hashlib import _Hash

ALGORITHMS = ("sha256", "sha512")
_SHAPE = {"sha256": re.compile(r"[0-9a-f]{64}"), "sha512": re.compile(r"[0-9a-f]{128}")}
# What looks like a digest of whatever algorithm; anything else in its place is a tag.
_ANY = re.compile(r"[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[A-Za-z0-9=_-]+")


@dataclass(frozen=True, slots=True)
class Digest:
    algorithm: str
    hex: str

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"


def parse_digest(text: str) -> Digest:
    """A supported, well-formed digest; DigestInvalid otherwise."""
    algorithm, _, encoded = text.partition(":")
    shape = _SHAPE.get(algorithm)
    if shape is None or not shape.fullmatch(encoded):
        raise errors.DigestInvalid(
            f"invalid digest {text[:140]!r}",
            {"digest": text[:140], "supported": list(ALGORITHMS), "form": "<algorithm>:<lower-case hex>"},
        )
    return Digest(algorithm, encoded)


def is_digest(text: str) -> bool:
    algorithm, _, encoded = text.partition(":")
    shape = _SHAPE.get(algorithm)
    return shape is not None and shape.fullmatch(encoded) is not None


def looks_like_digest(text: str) -> bool:
    """Has a digest's grammar, though perhaps of an unknown algorithm or the wrong length."""
    return _ANY.fullmatch(text) is not None


def new_hash(algorithm: str) -> _Hash:
    if algorithm not in ALGORITHMS:
        raise errors.DigestInvalid(
            f"unsupported digest algorithm {algorithm[:40]!r}", {"supported": list(ALGORITHMS)}
        )
    return hashlib.new(algorithm)


def digest_of(data: bytes, algorithm: str = "sha256") -> Digest:
    return Digest(algorithm, hashlib.new(algorithm, data).hexdigest())
