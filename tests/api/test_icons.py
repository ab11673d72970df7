"""Tag icon (contract 3.5). Golden: icons."""

from __future__ import annotations

import base64
import struct
import zlib

import pytest

from api import icons
from projects.models import Project
from tests.api.conftest import Api, push_image

DIGESTS = sorted({*icons.OF_KIND.values(), *icons.OF_ACCESSORY.values(), icons.OTHER})


@pytest.mark.django_db
@pytest.mark.parametrize("digest", DIGESTS)
def test_a_picture_for_every_digest_that_lists_name(anonymous: Api, digest: str) -> None:
    body = anonymous.get(f"/icons/{digest}").body
    assert list(body) == ["content-type", "content"]
    assert body["content-type"] == "image/png"
    png = base64.b64decode(body["content"], validate=True)
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    place, chunks = 8, {}
    while place < len(png):
        (size,) = struct.unpack(">I", png[place : place + 4])
        kind, data = png[place + 4 : place + 8], png[place + 8 : place + 8 + size]
        assert struct.unpack(">I", png[place + 8 + size : place + 12 + size]) == (zlib.crc32(kind + data),)
        chunks[kind], place = data, place + 12 + size
    assert struct.unpack(">II", chunks[b"IHDR"][:8]) == (32, 32)
    assert len(zlib.decompress(chunks[b"IDAT"])) == 32 * (1 + 32 // 8)


def test_all_pictures_differ() -> None:
    assert len({icons._picture(digest) for digest in DIGESTS}) == len(DIGESTS) == 9


@pytest.mark.django_db
def test_an_artifact_names_one(anonymous: Api, admin: Api, library: Project) -> None:
    push_image(library, "app", "v1")
    icon = admin.get("/projects/library/repositories/app/artifacts/v1").body["icon"]
    assert anonymous.get(f"/icons/{icon}").status == 200


@pytest.mark.django_db
@pytest.mark.parametrize("digest", ["sha256:" + "0" * 64, "nonsense"])
def test_what_is_absent(anonymous: Api, digest: str) -> None:
    reply = anonymous.get(f"/icons/{digest}")
    assert (reply.status, reply.code, reply.message) == (404, "NOT_FOUND", f"the icon {digest} not found")
