"""Files out of a stranger's tar, while it streams: bounded in bytes, ratio and entries (design 11).

Ordinary files with names of up to 255 bytes are found, which is what Helm writes; links, devices and extended headers
are passed over. Nothing is ever written, and a name is only compared.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from registry_core.errors import BadRequest

MAX_PACKED = 20 << 20  # bytes of the archive as it is stored; Helm's own limit
MAX_UNPACKED = 100 << 20
MAX_RATIO = 100
FREE_RATIO = 1 << 20  # bytes from which on the ratio counts: a small tar is mostly zeros
MAX_FILE = 5 << 20
MAX_ENTRIES = 10_000
_BLOCK = 512
_CHUNK = 64 << 10
_ORDINARY = (b"0", b"\0")


def find_files(
    pieces: Iterable[bytes], wanted: Callable[[str], str], count: int, *, is_packed: bool = True
) -> dict[str, bytes]:
    """The first `count` files for which `wanted` gives a key, by it; "" passes over. BadRequest beyond a limit."""
    stream, found = _Stream(pieces, is_packed=is_packed), dict[str, bytes]()
    for _ in range(MAX_ENTRIES):
        header = stream.read(_BLOCK)
        if len(header) < _BLOCK or not any(header):
            return found
        entry = _parse(header)
        key = wanted(entry.name) if entry.is_file else ""
        if not key or key in found:
            stream.skip(entry.size + entry.padding)
            continue
        if entry.size > MAX_FILE:
            raise _refused(f"{entry.name[:100]} has {entry.size} bytes; {MAX_FILE} are read", limit=MAX_FILE)
        found[key] = stream.read(entry.size)
        if len(found[key]) < entry.size:
            raise _refused("it ends within a file")
        if len(found) == count:
            return found
        stream.skip(entry.padding)
    raise _refused(f"it has more than {MAX_ENTRIES} entries", limit=MAX_ENTRIES)


def _refused(reason: str, **detail: int) -> BadRequest:
    return BadRequest(f"the archive cannot be read: {reason}", {"reason": reason, **detail})


@dataclass(frozen=True, slots=True)
class _Entry:
    name: str
    size: int
    is_file: bool

    @property
    def padding(self) -> int:
        return -self.size % _BLOCK


def _parse(header: bytes) -> _Entry:
    seen = sum(header) - sum(header[148:156]) + 8 * ord(" ")
    if b"%06o" % seen != header[148:154].strip(b" \0").rjust(6, b"0"):
        raise _refused("an entry's checksum is wrong, or it is no tar")
    name = header[:100].partition(b"\0")[0]
    if header[257:263] == b"ustar\0" and (prefix := header[345:500].partition(b"\0")[0]):
        name = prefix + b"/" + name
    return _Entry(name.decode("utf-8", "replace"), _octal(header[124:136]), header[156:157] in _ORDINARY)


def _octal(text: bytes) -> int:
    """Sizes beyond what octal digits say are written otherwise, and far beyond what is read here."""
    digits = text.strip(b" \0")
    if not digits.isdigit() or b"8" in digits or b"9" in digits:
        raise _refused("an entry has no size that is read here")
    return int(digits, 8)


class _Stream:
    """What the pieces unpack to; never more at once than was asked for and one chunk."""

    def __init__(self, pieces: Iterable[bytes], *, is_packed: bool) -> None:
        self._pieces = iter(pieces)
        self._inflate = zlib.decompressobj(wbits=31) if is_packed else None
        self._ready = bytearray()
        self._is_full = False
        self._taken = self._given = 0

    def read(self, size: int) -> bytes:
        """Fewer only at the end."""
        while len(self._ready) < size and self._fill():
            pass
        data = bytes(self._ready[:size])
        del self._ready[:size]
        return data

    def skip(self, size: int) -> None:
        while size > 0 and (passed := len(self.read(min(size, _CHUNK)))):
            size -= passed

    def _fill(self) -> bool:
        inflate = self._inflate
        if inflate is None:
            piece = next(self._pieces, b"")
            self._take(piece)
            return self._give(piece)
        if inflate.eof:
            return False
        pending = inflate.unconsumed_tail
        if not pending and not self._is_full:
            pending = next(self._pieces, b"")
            if not pending:
                return False
            self._take(pending)
        try:
            unpacked = inflate.decompress(pending, _CHUNK)
        except zlib.error as e:
            raise _refused("it is no gzip, or it is damaged") from e
        self._is_full = len(unpacked) == _CHUNK
        self._give(unpacked)
        return True

    def _take(self, piece: bytes) -> None:
        self._taken += len(piece)
        if self._taken > MAX_PACKED:
            raise _refused(f"it has more than {MAX_PACKED} bytes", limit=MAX_PACKED)

    def _give(self, unpacked: bytes) -> bool:
        self._ready += unpacked
        self._given += len(unpacked)
        if self._given > MAX_UNPACKED:
            raise _refused(f"it unpacks to more than {MAX_UNPACKED} bytes", limit=MAX_UNPACKED)
        if self._given > max(FREE_RATIO, MAX_RATIO * self._taken):
            raise _refused(f"it unpacks to more than {MAX_RATIO} times its size", limit=MAX_RATIO)
        return bool(unpacked)
