"""The suite's own ground: the servers are real, and databases are each worker's own."""

from __future__ import annotations

import pytest
import redis
from django.conf import settings
from django.db import connection

from tests.components.postgres import Postgres
from tests.components.valkey import Valkey


@pytest.mark.django_db
def test_tests_run_on_a_migrated_clone() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_database(), count(*) FROM django_migrations")
        name, migrations = cursor.fetchone()
    assert name.startswith("test_")
    assert migrations > 0


def test_a_clone_is_ones_own(postgres: Postgres) -> None:
    first, second = postgres.clone(), postgres.clone()
    assert first != second


def test_valkey_answers_under_the_configured_url(valkey: Valkey) -> None:
    with redis.Redis.from_url(settings.REDIS_URL) as client:
        assert client.ping()
