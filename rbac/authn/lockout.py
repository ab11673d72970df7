"""Failed sign-ins: a (name, source network) is refused for a while, without any hashing (design 5).

The table is a file that all processes of a host map, like the versions of repositories: reading costs no
round trip. Pairs that share a slot push each other out; a pair that is pushed out has one more attempt.
"""

from __future__ import annotations

import functools
import hashlib
import ipaddress
import mmap
import os
import pathlib
import struct
import time

from django.conf import settings

SLOTS = 1 << 14
FIRST_SECONDS, LONGEST_SECONDS = 1.5, 60.0
FORGET_SECONDS = 900.0  # after so long without a failure the next one counts as the first
_SLOT = struct.Struct("QdI")  # pair, when the refusal ends (monotonic: one clock for all processes), failures
_WIDTH = 24
_HIGHEST = 16

_map: mmap.mmap | None = None


def is_locked(name: str, address: str) -> bool:
    _, until, _ = _read(_pair(name, address))
    return time.monotonic() < until


def record_failure(name: str, address: str) -> None:
    pair, now = _pair(name, address), time.monotonic()
    _, until, failures = _read(pair)
    if now > until + FORGET_SECONDS:
        failures = 0
    seconds = min(LONGEST_SECONDS, FIRST_SECONDS * 2 ** min(failures, _HIGHEST))
    _SLOT.pack_into(_table(), _offset(pair), pair, now + seconds, min(failures + 1, _HIGHEST))


def record_success(name: str, address: str) -> None:
    pair = _pair(name, address)
    if _read(pair)[0]:
        _SLOT.pack_into(_table(), _offset(pair), 0, 0.0, 0)


def _read(pair: int) -> tuple[int, float, int]:
    known, until, failures = _SLOT.unpack_from(_table(), _offset(pair))
    # The file outlives a restart of the machine, the clock does not: none lasts longer than the longest.
    if known != pair or until > time.monotonic() + LONGEST_SECONDS:
        return 0, 0.0, 0
    return known, until, failures


@functools.lru_cache(maxsize=4096)
def _pair(name: str, address: str) -> int:
    digest = hashlib.blake2b(f"{name}\0{_network(address)}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") or 1


def _network(address: str) -> str:
    """An IPv6 customer has at least a /64 to call from."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(ip, ipaddress.IPv6Address) and not ip.ipv4_mapped:
        return str(ipaddress.ip_network((ip, 64), strict=False))
    return str(getattr(ip, "ipv4_mapped", None) or ip)


def _offset(pair: int) -> int:
    return pair % SLOTS * _WIDTH


def _table() -> mmap.mmap:
    global _map  # noqa: PLW0603  one mapping a process
    if _map is None:
        path = pathlib.Path(settings.RUN_DIR) / "failed-sign-ins"
        path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(fd, SLOTS * _WIDTH)
            _map = mmap.mmap(fd, SLOTS * _WIDTH)
        finally:
            os.close(fd)
    return _map
