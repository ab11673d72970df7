"""Tag icon: what lists show beside an artifact (contract 3.5). Digests are Harbor's, which clients may know; the
pictures are our own, of eight by eight dots.
"""

from __future__ import annotations

import base64
import functools
import struct
import zlib

from api.dispatch import Answer, Call
from registry_core.errors import NotFound

OF_KIND = {
    "IMAGE": "sha256:0048162a053eef4d4ce3fe7518615bef084403614f8bca43b40ae2e762e11e06",
    "CHART": "sha256:61cf3a178ff0f75bf08a25d96b75cf7355dc197749a9f128ed3ef34b0df05518",
    "WASM": "sha256:badd7693bcaf115be202748241dd0ea6ee3b0524bfab9ac22d1e1c43721afec6",
    "CNAI": "sha256:1e1e5c5fdaf0931ec8655e835d1182f723a0c322a6760211622e1270f0193717",
    "SBOM": "sha256:c19f80c357cd7e90d2a01b9ae3e2eb62ce447a2662bb590a19177d72d550bdae",
}
OF_ACCESSORY = {
    "signature.cosign": "sha256:20401d5b3a0f6dbc607c8d732eb08471af4ae6b19811a4efce8c6a724aed2882",
    "signature.notation": "sha256:3ac706e102bbe9362b400aa162df58135d35e66b9c3bee2165de92022d25fe34",
    "sbom.harbor": OF_KIND["SBOM"],
    "accelerator.nydus": "sha256:dfcb6617cd9c144358dc1b305b87bbe34f0b619f1e329116e6aee2e41f2e34cf",
}
OTHER = "sha256:da834479c923584f4cbcdecc0dac61f32bef1d51e8aae598cf16bd154efab49f"

# A row of eight dots a byte, and the colour of those that are set.
_DOTS = {
    OF_KIND["IMAGE"]: ("ff81bda5a5bd81ff", "0079b8"),
    OF_KIND["CHART"]: ("185a3ce7e73c5a18", "0f1689"),
    OF_KIND["WASM"]: ("8181819999995a24", "654ff0"),
    OF_KIND["CNAI"]: ("183c7effff7e3c18", "00838f"),
    OF_KIND["SBOM"]: ("00bf00bf00bf00bf", "48960c"),
    OF_ACCESSORY["signature.cosign"]: ("03070e1cb8f0f0f8", "a32100"),
    OF_ACCESSORY["signature.notation"]: ("0103068cd8702000", "a32100"),
    OF_ACCESSORY["accelerator.nydus"]: ("0c18307e0c183020", "ad7600"),
    OTHER: ("784c46424242427e", "565656"),
}
_DOT = 4  # pixels


@functools.cache
def _picture(digest: str) -> str:
    dots, colour = _DOTS[digest]
    side = 8 * _DOT
    lines = b"".join((b"\0" + _line(row)) * _DOT for row in bytes.fromhex(dots))
    png = b"\x89PNG\r\n\x1a\n" + b"".join(
        (
            _chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 3, 0, 0, 0)),
            _chunk(b"PLTE", b"\xff\xff\xff" + bytes.fromhex(colour)),
            _chunk(b"tRNS", b"\x00\xff"),
            _chunk(b"IDAT", zlib.compress(lines)),
            _chunk(b"IEND", b""),
        )
    )
    return base64.b64encode(png).decode()


def _line(row: int) -> bytes:
    return bytes.fromhex("".join("f" if row >> bit & 1 else "0" for bit in reversed(range(8))))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def get_icon(call: Call) -> Answer:
    digest = call.path["digest"]
    if digest not in _DOTS:
        raise NotFound(f"the icon {digest} not found")
    return Answer({"content-type": "image/png", "content": _picture(digest)})
