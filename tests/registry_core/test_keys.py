"""The keys that sign tokens: made once, encrypted, rotated with overlap, and read again when an unknown one appears."""

from __future__ import annotations

import asyncio
import datetime
import io
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from django.core.management import call_command
from django.db import connections
from django.utils import timezone
from pytest_django import Settings

from registry_core import configuration, epochs, hot_reads, keys, tokens
from registry_core.models import TokenKey
from registry_core.threads import in_thread
from tests import hot

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def new_process() -> Iterator[None]:
    forget()
    yield
    forget()


def forget() -> None:
    keys._public, keys._signing, keys._read_at = {}, None, float("-inf")
    keys._true_until, keys._true_since = 0.0, 0
    keys._fernet.cache_clear()
    configuration._kept = None
    epochs._known = epochs._Known()


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    return {
        "iss": "harbor-token-issuer",
        "aud": "harbor-registry",
        "exp": now + 60,
        "nbf": now,
        "iat": now,
    } | changes


def sign(key: keys.SigningKey) -> str:
    return tokens.sign(claims(), key.private, key.kid)


def test_processes_that_start_together_make_one_key() -> None:
    def start(_: int) -> str:
        try:
            return (keys._current() or keys._make_if_none()).kid
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(start, range(4)))) == 1
    assert TokenKey.objects.count() == 1


def test_the_private_half_is_encrypted() -> None:
    key = keys.signing_key()
    row = TokenKey.objects.get(kid=key.kid)
    assert "PRIVATE KEY" not in row.private_key
    with pytest.raises(ValueError):  # noqa: PT011  whatever cryptography says
        load_pem_private_key(row.private_key.encode(), None)
    assert key.private.key_size == 2048
    assert row.public_key.startswith("-----BEGIN PUBLIC KEY-----")


def test_a_token_is_verified_by_another_process() -> None:
    token = sign(keys.signing_key())
    forget()
    assert hot.run(lambda: keys.verify(token))["aud"] == "harbor-registry"


def test_rotation_leaves_old_tokens_good() -> None:
    old = keys.signing_key()
    before = sign(old)
    new = keys.rotate()
    assert keys.signing_key().kid == new.kid != old.kid

    async def both() -> None:
        await keys.verify(before)
        await keys.verify(sign(new))

    hot.run(both)


def test_an_old_key_verifies_as_long_as_its_last_token_lives() -> None:
    configuration.set_values({"token_expiration": 45})
    old = keys.signing_key()
    keys.rotate()
    ends = TokenKey.objects.get(kid=old.kid).verifies_until
    assert datetime.timedelta(minutes=45) < ends - timezone.now() < datetime.timedelta(minutes=50)


def test_a_key_past_its_time_verifies_nothing() -> None:
    token = sign(keys.signing_key())
    TokenKey.objects.update(verifies_until=timezone.now() - datetime.timedelta(seconds=1))
    with pytest.raises(tokens.UnknownKey):
        hot.run(lambda: keys.verify(token))


def test_an_ageing_key_is_followed_by_one_that_signs_later() -> None:
    old = keys.signing_key()
    TokenKey.objects.update(signs_from=timezone.now() - keys.SIGNS_FOR + datetime.timedelta(minutes=30))
    forget()
    assert keys.signing_key().kid == old.kid
    newer = TokenKey.objects.exclude(kid=old.kid).get()
    assert newer.signs_from > timezone.now() + datetime.timedelta(minutes=50)
    TokenKey.objects.filter(pk=newer.pk).update(signs_from=timezone.now())
    forget()
    assert keys.signing_key().kid == newer.kid
    assert TokenKey.objects.count() == 2


def test_another_secret_key_makes_a_new_key_and_keeps_the_old_public_one(settings: Settings) -> None:
    old = keys.signing_key()
    token = sign(old)
    forget()
    settings.SECRET_KEY = "another secret key of another operator"
    assert keys.signing_key().kid != old.kid
    hot.run(lambda: keys.verify(token))


def test_the_first_key_of_a_new_registry_is_found_after_nonsense() -> None:
    async def nonsense() -> None:
        with pytest.raises(tokens.TokenRefused):
            await keys.verify("a.b.c")

    hot.run(nonsense)
    token = sign(keys.signing_key())
    assert hot.run(lambda: keys.verify(token))["aud"] == "harbor-registry"


def test_a_revoked_key_is_refused_by_a_process_that_knew_it() -> None:
    token = sign(keys.signing_key())

    async def before_and_after() -> None:
        await keys.verify(token)
        await in_thread(call_command, "rotate_token_key", "--revoke", stdout=io.StringIO())
        await epochs.refresh()
        await keys.verify(token)

    with pytest.raises(tokens.UnknownKey):
        hot.run(before_and_after)


def test_a_key_that_ends_while_a_process_knows_it_is_forgotten() -> None:
    token = sign(keys.signing_key())
    TokenKey.objects.update(verifies_until=timezone.now() + datetime.timedelta(seconds=1))

    async def before_and_after() -> None:
        await keys.verify(token)
        await asyncio.sleep(1.1)
        await keys.verify(token)

    with pytest.raises(tokens.UnknownKey):
        hot.run(before_and_after)


def test_unknown_keys_are_looked_for_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    keys.signing_key()
    reads = []
    real = hot_reads.fetch

    async def counted(sql: str, *args: Any) -> Any:
        reads.append(sql)
        return await real(sql, *args)

    monkeypatch.setattr(hot_reads, "fetch", counted)
    stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    forged = tokens.sign(claims(), stranger, tokens.key_id(stranger.public_key()))

    async def try_often() -> None:
        for _ in range(20):
            with pytest.raises(tokens.UnknownKey):
                await keys.verify(forged)

    hot.run(try_often)
    assert len(reads) == 1


def test_a_new_key_is_known_within_a_second() -> None:
    first = keys.signing_key()

    async def watch() -> None:
        await keys.verify(sign(first))
        await hot.elsewhere(keys.rotate)
        made = keys.signing_key()
        deadline = time.monotonic() + 3
        while True:
            try:
                await keys.verify(sign(made))
                break
            except tokens.UnknownKey:
                assert time.monotonic() < deadline

    hot.run(watch)
