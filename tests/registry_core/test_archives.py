"""Archives of strangers: what is found, and what every limit says (design 11)."""

from __future__ import annotations

import contextlib
import gzip
import io
import tarfile
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry_core import archives
from registry_core.errors import BadRequest

WANTED = {"chart/values.yaml": "values", "chart/README.md": "readme"}


def tar(*files: tuple[str, bytes], form: int = tarfile.USTAR_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def found(packed: bytes, piece: int = 1000, count: int = 2) -> dict[str, bytes]:
    pieces = (packed[i : i + piece] for i in range(0, len(packed), piece))
    return archives.find_files(pieces, lambda name: WANTED.get(name, ""), count)


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("piece", [1, 511, 65536])
def test_files_are_found(form: int, piece: int) -> None:
    content = tar(
        ("chart/Chart.yaml", b"name: chart"), ("chart/charts/sub/values.yaml", b"no"), ("chart/values.yaml", b"a: 1"),
        ("chart/large", bytes(70_000)), ("chart/README.md", b"x" * 600), form=form,
    )  # fmt: skip
    assert found(gzip.compress(content), piece) == {"values": b"a: 1", "readme": b"x" * 600}


def test_the_first_counts_and_what_follows_the_last_is_not_read() -> None:
    content = tar(("chart/values.yaml", b"first"), ("chart/values.yaml", b"second"))
    assert found(gzip.compress(content)) == {"values": b"first"}
    assert found(gzip.compress(content)[:-20] + b"damaged at its very end", count=1) == {"values": b"first"}


def test_names_of_two_parts() -> None:
    folder = "f" * 120
    packed = gzip.compress(tar((f"{folder}/values.yaml", b"a")))
    assert archives.find_files([packed], lambda name: "v" if name == f"{folder}/values.yaml" else "", 1) == {"v": b"a"}


def test_links_and_devices_are_no_files() -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE):
            info = tarfile.TarInfo("chart/values.yaml")
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
    assert found(gzip.compress(out.getvalue())) == {}


def test_an_archive_that_is_not_packed() -> None:
    content = tar(("chart/values.yaml", b"a"))
    assert archives.find_files([content], lambda name: WANTED.get(name, ""), 1, is_packed=False) == {"values": b"a"}


def with_size(field: bytes) -> bytes:
    """A header whose size is written so, and whose checksum is right."""
    header = bytearray(tar(("chart/values.yaml", b"a"))[:512])
    header[124:136] = field
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: b"no gzip at all", "no gzip"),
        (lambda: gzip.compress(b"x" * 512), "checksum"),
        (lambda: gzip.compress(tar(("chart/values.yaml", b"a" * 900))[:1024]), "ends within a file"),
        (lambda: gzip.compress(with_size(b"\x80" + b"\0" * 10 + b"\x01")), "no size that is read"),
        (lambda: gzip.compress(with_size(b"\xff" * 12)), "no size that is read"),
        (lambda: gzip.compress(with_size(b"-0000000001\0")), "no size that is read"),
        (lambda: gzip.compress(with_size(b"77777777777\0")), "5242880 are read"),
        (lambda: gzip.compress(tar(("a", b""))[:512] + b"x" * 512), "checksum"),
        (lambda: gzip.compress(tar(("a", bytes(30 << 20)), ("chart/values.yaml", b"a"))), "100 times its size"),
        (lambda: gzip.compress(tar(*((f"{n}", b"") for n in range(10_001)))), "10000 entries"),
    ],
)  # fmt: skip
def test_what_is_refused_says_why(make: Callable[[], bytes], reason: str) -> None:
    with pytest.raises(BadRequest) as refused:
        found(make())
    assert reason in refused.value.message


def test_bytes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = gzip.compress(tar(("a", bytes(range(256)) * 40), ("chart/values.yaml", b"a")))
    monkeypatch.setattr(archives, "MAX_UNPACKED", 8192)
    with pytest.raises(BadRequest, match="more than 8192 bytes"):
        found(packed)
    monkeypatch.undo()
    monkeypatch.setattr(archives, "MAX_PACKED", 64)
    with pytest.raises(BadRequest, match="more than 64 bytes"):
        found(packed, piece=32)


@given(st.binary(max_size=2000), st.booleans())
def test_nothing_else_is_ever_raised(data: bytes, packed: bool) -> None:
    content = gzip.compress(data) if packed else data
    with contextlib.suppress(BadRequest):
        archives.find_files([content], lambda _: "any", 1, is_packed=packed)


@given(st.integers(0, 1535), st.binary(min_size=1, max_size=12))
def test_nor_by_a_damaged_tar(place: int, noise: bytes) -> None:
    content = bytearray(tar(("chart/values.yaml", b"a" * 400), ("chart/README.md", b"b")))
    content[place : place + len(noise)] = noise
    with contextlib.suppress(BadRequest):
        found(gzip.compress(bytes(content)))
