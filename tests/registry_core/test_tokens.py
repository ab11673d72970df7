"""The bearer JWT: what a good one looks like, and every forgery that we could think of."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import subprocess
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from registry_core import tokens

NOW = 1_800_000_000.0

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER = rsa.generate_private_key(public_exponent=65537, key_size=2048)
KID = tokens.key_id(KEY.public_key())
KEYS = {KID: KEY.public_key()}


def claims(**changes: Any) -> dict[str, Any]:
    return {
        "iss": "harbor-token-issuer",
        "sub": "bob",
        "aud": "harbor-registry",
        "exp": int(NOW) + 1800,
        "nbf": int(NOW),
        "iat": int(NOW),
        "jti": "0123456789abcdef",
        "access": [{"type": "repository", "name": "library/app", "actions": ["pull"]}],
        **changes,
    }


def encode(part: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


def raw_token(header: dict[str, Any], body: dict[str, Any], signature: bytes) -> str:
    return f"{encode(header)}.{encode(body)}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def signed(header: dict[str, Any], body: dict[str, Any], key: rsa.RSAPrivateKey = KEY) -> str:
    text = f"{encode(header)}.{encode(body)}"
    signature = jwt.algorithms.RSAAlgorithm(jwt.algorithms.RSAAlgorithm.SHA256).sign(text.encode(), key)
    return raw_token(header, body, signature)


def refused(token: str, now: float = NOW) -> str:
    with pytest.raises(tokens.TokenRefused) as info:
        tokens.verify(token, KEYS, now)
    return str(info.value)


def test_what_was_signed_is_read() -> None:
    assert tokens.verify(tokens.sign(claims(), KEY, KID), KEYS, NOW) == claims()


def test_header_and_order_of_claims_are_harbors() -> None:
    header, body, _ = tokens.sign(claims(), KEY, KID).split(".")
    assert json.loads(base64.urlsafe_b64decode(header + "==")) == {"alg": "RS256", "kid": KID, "typ": "JWT"}
    keys = list(json.loads(base64.urlsafe_b64decode(body + "==")))
    assert keys == ["iss", "sub", "aud", "exp", "nbf", "iat", "jti", "access"]


def test_the_key_id_is_the_libtrust_fingerprint() -> None:
    pem = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    assert load_pem_public_key(pem) == KEY.public_key()
    der = subprocess.run(
        ["openssl", "pkey", "-pubin", "-outform", "DER"], input=pem, capture_output=True, check=True
    ).stdout
    # docker/libtrust util.go: first 240 bits of SHA-256, base32, colons after every fourth sign.
    text = base64.b32encode(hashlib.sha256(der).digest()[:30]).decode().rstrip("=")
    assert ":".join(text[i : i + 4] for i in range(0, 48, 4)) == KID
    assert len(KID) == 59


def test_algorithm_none_is_refused() -> None:
    refused(raw_token({"alg": "none", "kid": KID, "typ": "JWT"}, claims(), b""))


def test_hmac_with_the_public_key_is_refused() -> None:
    secret = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for algorithm, digest in (("HS256", "sha256"), ("HS512", "sha512")):
        header = {"alg": algorithm, "kid": KID, "typ": "JWT"}
        text = f"{encode(header)}.{encode(claims())}"
        refused(raw_token(header, claims(), hmac.digest(secret, text.encode(), digest)))


@pytest.mark.parametrize(
    "algorithm", ["RS384", "RS512", "PS256", "ES256", "EdDSA", "rs256", "", None, 7, ["RS256"]]
)
def test_another_algorithm_is_refused(algorithm: Any) -> None:
    refused(signed({"alg": algorithm, "kid": KID, "typ": "JWT"}, claims()))


def test_a_foreign_key_is_unknown() -> None:
    with pytest.raises(tokens.UnknownKey):
        tokens.verify(tokens.sign(claims(), OTHER, tokens.key_id(OTHER.public_key())), KEYS, NOW)


def test_a_foreign_key_under_our_key_id_is_refused() -> None:
    refused(tokens.sign(claims(), OTHER, KID))


@pytest.mark.parametrize("kid", [None, 5, ["x"], {"a": 1}])
def test_a_key_id_must_be_text(kid: Any) -> None:
    refused(signed({"alg": "RS256", "kid": kid, "typ": "JWT"}, claims()))


def test_a_key_in_the_header_is_not_used() -> None:
    jwk = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(OTHER.public_key()))
    header = {
        "alg": "RS256",
        "kid": KID,
        "typ": "JWT",
        "jwk": jwk,
        "jku": "http://127.0.0.1:1/",
        "x5u": "http://127.0.0.1:1/",
    }
    refused(signed(header, claims(), OTHER))
    # With our own signature they do no harm either.
    assert tokens.verify(signed(header, claims()), KEYS, NOW)["sub"] == "bob"


def test_a_critical_extension_is_refused() -> None:
    refused(signed({"alg": "RS256", "kid": KID, "typ": "JWT", "crit": ["b64"], "b64": False}, claims()))


def test_expiry_has_a_minute_of_leeway() -> None:
    token = tokens.sign(claims(), KEY, KID)
    assert tokens.verify(token, KEYS, NOW + 1800 + 59)
    assert refused(token, NOW + 1800 + 60) == "expired"


def test_not_before_has_a_minute_of_leeway() -> None:
    token = tokens.sign(claims(), KEY, KID)
    assert tokens.verify(token, KEYS, NOW - 60)
    assert refused(token, NOW - 61) == "not valid yet"


@pytest.mark.parametrize(
    "audience", ["harbor-notary", "", None, ["harbor-registry"], ["harbor-registry", "x"], 1]
)
def test_another_audience_is_refused(audience: Any) -> None:
    refused(
        tokens.sign(claims(aud=audience), KEY, KID)
        if isinstance(audience, str)
        else signed({"alg": "RS256", "kid": KID}, claims(aud=audience))
    )


@pytest.mark.parametrize("issuer", ["", "somebody", None, ["harbor-token-issuer"]])
def test_another_issuer_is_refused(issuer: Any) -> None:
    refused(signed({"alg": "RS256", "kid": KID}, claims(iss=issuer)))


@pytest.mark.parametrize("name", ["iss", "aud", "exp", "nbf", "iat"])
def test_a_claim_that_is_missing_is_a_refusal(name: str) -> None:
    refused(tokens.sign({k: v for k, v in claims().items() if k != name}, KEY, KID))


@pytest.mark.parametrize("name", ["exp", "nbf", "iat"])
@pytest.mark.parametrize("value", ["1800000000", None, True, [], {"a": 1}])
def test_a_time_must_be_a_number(name: str, value: Any) -> None:
    refused(signed({"alg": "RS256", "kid": KID}, claims(**{name: value})))


def test_a_changed_body_is_refused() -> None:
    header, _, signature = tokens.sign(claims(), KEY, KID).split(".")
    refused(f"{header}.{encode(claims(sub='admin'))}.{signature}")


@pytest.mark.parametrize("change", ["{}==", "{}\n", " {}", "{}.", "{}~", "{}\u00e4"])
def test_a_signature_is_written_in_one_way(change: str) -> None:
    """RFC 7515 2: base64url without padding, and nothing between."""
    token = tokens.sign(claims(), KEY, KID)
    text, _, signature = token.rpartition(".")
    assert tokens.verify(token, KEYS, NOW)
    refused(f"{text}.{change.format(signature)}")
    refused(f"{text}.{signature.replace('-', '+').replace('_', '/')}+")


@pytest.mark.parametrize("body", ["[]", "null", "1", '"x"', "{", "", "\u00e4"])
def test_claims_are_an_object(body: str) -> None:
    text = f"{encode({'alg': 'RS256', 'kid': KID})}.{base64.urlsafe_b64encode(body.encode()).rstrip(b'=').decode()}"
    signature = KEY.sign(text.encode(), PKCS1v15(), SHA256())
    refused(f"{text}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}")


def test_an_oversized_token_is_refused_before_it_is_parsed() -> None:
    names = [{"type": "repository", "name": f"library/{i:0100}", "actions": ["pull"]} for i in range(120)]
    token = tokens.sign(claims(access=names), KEY, KID)
    assert len(token) > 16 * 1024
    assert "longer than 16384" in refused(token)


@pytest.mark.parametrize(
    "token",
    [
        "",
        ".",
        "..",
        "a.b.c",
        "nonsense",
        "e30.e30.",
        "e30.e30.e30",
        "\u00e4.\u00e4.\u00e4",
        "W10.W10.W10",
        "bnVsbA.bnVsbA.eA",
        " . . ",
    ],
)
def test_nonsense_is_refused(token: str) -> None:
    refused(token)


def test_deep_nesting_is_refused() -> None:
    deep = base64.urlsafe_b64encode(b"[" * 11000).decode().rstrip("=")
    assert len(deep) < 16384
    refused(f"{deep}.e30.e30")
    nested = base64.urlsafe_b64encode(b'{"alg":"RS256","kid":' + b"[" * 11000).decode().rstrip("=")
    refused(f"{nested}.e30.e30")


def test_verification_is_fast_enough_to_be_done_per_new_token() -> None:
    token = tokens.sign(claims(), KEY, KID)
    began = time.process_time()
    for _ in range(100):
        tokens.verify(token, KEYS, NOW)
    assert (time.process_time() - began) / 100 < 0.002
