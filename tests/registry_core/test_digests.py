"""Digests: what image-spec descriptor.md "Digests" allows, and nothing that two readers could read differently."""

from __future__ import annotations

import hashlib
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry_core.digests import digest_of, is_digest, looks_like_digest, new_hash, parse_digest
from registry_core.errors import DigestInvalid

# sha256sum and sha512sum of the five bytes `hello`.
HELLO_256 = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
HELLO_512 = (
    "sha512:9b71d224bd62f3785d96d46ad3ea3d73319bfbc2890caadae2dff72519673ca7"
    "2323c3d99ba5c11d7c7acc6e14b8c5da0c4663475c2e5c3adef46f73bcdec043"
)
HEX_64 = HELLO_256.partition(":")[2]

WRONG = [
    "",
    ":",
    "sha256",
    "sha256:",
    f"sha256:{HEX_64[:-1]}",
    f"sha256:{HEX_64}0",
    f"sha256:{HEX_64.upper()}",
    f"SHA256:{HEX_64}",
    f" sha256:{HEX_64}",
    f"sha256:{HEX_64}\n",
    f"sha256:{HEX_64[:-1]}g",
    f"sha256:{HEX_64[:-1]}\N{FULLWIDTH DIGIT ONE}",
    f"sha256::{HEX_64}",
    f"sha512:{HEX_64}",
    f"md5:{'0' * 32}",
    f"sha1:{'0' * 40}",
    f"sha384:{'0' * 96}",
    f"sha256:../{HEX_64[3:]}",
]


@pytest.mark.parametrize("text", [HELLO_256, HELLO_512])
def test_it_reads_what_it_writes(text: str) -> None:
    assert str(parse_digest(text)) == text
    assert is_digest(text)
    assert looks_like_digest(text)


@pytest.mark.parametrize("text", WRONG)
def test_it_refuses_what_is_no_digest(text: str) -> None:
    assert not is_digest(text)
    with pytest.raises(DigestInvalid) as refusal:
        parse_digest(text)
    assert (refusal.value.code, refusal.value.status) == ("DIGEST_INVALID", 400)
    assert refusal.value.detail["supported"] == ["sha256", "sha512"]


def test_what_it_repeats_of_a_long_text_is_short() -> None:
    with pytest.raises(DigestInvalid) as refusal:
        parse_digest("sha256:" + "0" * 100_000)
    assert len(refusal.value.message) < 300
    assert len(refusal.value.detail["digest"]) == 140


def test_it_computes_both_algorithms() -> None:
    assert str(digest_of(b"hello")) == HELLO_256
    assert str(digest_of(b"hello", "sha512")) == HELLO_512
    assert new_hash("sha512").name == "sha512"


@pytest.mark.parametrize("algorithm", ["md5", "sha1", "SHA256", "", "sha256 "])
def test_it_hashes_with_nothing_else(algorithm: str) -> None:
    with pytest.raises(DigestInvalid):
        new_hash(algorithm)


@pytest.mark.parametrize("text", ["latest", "v1.0", "sha256-" + HEX_64, "a:", ":a", "A:b"])
def test_a_tag_does_not_look_like_a_digest(text: str) -> None:
    assert not looks_like_digest(text)


@pytest.mark.parametrize(
    "text",
    [
        f"md5:{'0' * 32}",
        f"sha256:{HEX_64[:-1]}",
        "multihash+base58:QmRZxt2b1FVZPNqd8hsiykDL3TdBDeTSPX9Kv46HmX4Gx8",
    ],
)
def test_a_digest_of_an_unknown_algorithm_still_looks_like_one(text: str) -> None:
    assert looks_like_digest(text)
    assert not is_digest(text)


@given(st.binary(max_size=200), st.sampled_from(["sha256", "sha512"]))
def test_every_computed_digest_is_read_back(data: bytes, algorithm: str) -> None:
    digest = digest_of(data, algorithm)
    assert parse_digest(str(digest)) == digest
    assert digest.hex == hashlib.new(algorithm, data).hexdigest()


@given(st.text(alphabet=string.printable, max_size=80))
def test_any_text_is_a_digest_or_is_refused(text: str) -> None:
    try:
        assert str(parse_digest(text)) == text
    except DigestInvalid:
        assert not is_digest(text)
