"""Names of stored objects. There is no function from a digest to a name (design §2.2).

<root directory, or prefix in the bucket>/
└── objects/
    └── 3f/
        └── 9a/
            ├── 3f9ac0…        one object: written once from its first byte, never renamed, never used again
            ├── 3f9ac0….tail   S3 only: what an unfinished upload has beyond its last part; in one of the two,
            ├── 3f9ac0….tail2  in turn, so that the state before the last one stays resumable
            └── 3f9ac0….parts  S3 only, and no object: the name under which the parts of unfinished multipart
                               uploads are listed and deleted
"""

from __future__ import annotations

import functools
import itertools
import re
from uuid import uuid4

TAILS = (".tail", ".tail2")
PARTS = ".parts"

_SEGMENT = r"[0-9A-Za-z][0-9A-Za-z_.-]*"
_KEY = re.compile(rf"{_SEGMENT}(?:/{_SEGMENT})*")
_LONGEST = 200


# Keys in a row of one process that share a directory. A new directory asks for two syncs more, and so does each key for
# a second after it (timestamps are coarse); with a directory for each key nearly every blob would pay that until there
# are 65,536 of them.
RUN = 1024
_made = itertools.count()


def new_key() -> str:
    """A key that was never used before. Directories hold about RUN entries up to 67 million objects."""
    name = f"{_directory(next(_made) // RUN)}{uuid4().hex[4:]}"
    return f"objects/{name[:2]}/{name[2:4]}/{name}"


@functools.lru_cache(maxsize=1)
def _directory(_run: int) -> str:
    return uuid4().hex[:4]


def is_key(name: str) -> bool:
    return len(name) <= _LONGEST and _KEY.fullmatch(name) is not None


def check_key(key: str) -> None:
    """A key comes from our own rows; one that could leave the store's root means that a row was tampered
    with."""
    if not is_key(key):
        raise ValueError(f"{key[:_LONGEST]!r} is not a storage key.")


def owner(name: str) -> str:
    """The key to which a listed name belongs: its own, or that of the upload whose tail or parts it is."""
    for suffix in (*TAILS, PARTS):
        if name.endswith(suffix):
            return name.removesuffix(suffix)
    return name
