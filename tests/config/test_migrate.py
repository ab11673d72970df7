"""`manage.py migrate`: seeds once, one at a time, and sentences for what cannot be."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.components.postgres import ROOT, Postgres, query


def migrate(url: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", "migrate", "--no-input", "--skip-checks", "--verbosity=0"],
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": url, **environment},
        check=False,
        capture_output=True,
        text=True,
    )


def test_admin_is_created_once(postgres: Postgres) -> None:
    url = postgres.create_database("migrated_once")
    first = migrate(url, BREAKWATER_ADMIN_PASSWORD="Lighthouse-1")
    assert (first.returncode, first.stdout.strip()) == (0, "BREAKWATER_ADMIN_CREATED")
    second = migrate(url)
    assert (second.returncode, second.stdout) == (0, "")


@pytest.mark.parametrize("environment", [{}, {"BREAKWATER_ADMIN_PASSWORD": "Harbor12345"}])
def test_a_new_registry_needs_a_password_that_not_everybody_knows(
    postgres: Postgres, environment: dict[str, str]
) -> None:
    done = migrate(postgres.create_database("migrated_without"), **environment)
    assert done.returncode != 0
    assert "BREAKWATER_ADMIN_PASSWORD" in done.stderr
    assert "Traceback" not in done.stderr


def test_settings_of_the_environment_are_taken_over(postgres: Postgres) -> None:
    url = postgres.create_database("migrated_overwritten")
    password = {"BREAKWATER_ADMIN_PASSWORD": "Lighthouse-1"}
    done = migrate(url, CONFIG_OVERWRITE_JSON='{"read_only": true, "colour": "red"}', **password)
    assert done.returncode == 0, done.stderr
    assert query(url, "SELECT name, value FROM registry_core_setting") == [("read_only", True)]
    for text in ("[]", "{", '{"session_timeout": 0}'):
        refused = migrate(url, CONFIG_OVERWRITE_JSON=text)
        assert refused.returncode != 0
        assert "CONFIG_OVERWRITE_JSON" in refused.stderr


def test_hosts_that_start_together_wait_for_each_other(postgres: Postgres) -> None:
    url = postgres.create_database("migrated_together")
    running = [
        subprocess.Popen(
            [sys.executable, "manage.py", "migrate", "--skip-checks", "--verbosity=0"],
            cwd=ROOT,
            env={**os.environ, "DATABASE_URL": url, "BREAKWATER_ADMIN_PASSWORD": "Lighthouse-1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    answers = [one.communicate(timeout=120) for one in running]
    assert [one.returncode for one in running] == [0, 0, 0], answers
    assert sorted(out.strip() for out, _ in answers) == ["", "", "BREAKWATER_ADMIN_CREATED"]


def test_a_newer_database_is_refused(postgres: Postgres) -> None:
    url = postgres.clone("migrated_newer")
    postgres.execute(
        "INSERT INTO django_migrations (app, name, applied) VALUES ('rbac', '9999_tomorrow', now())",
        "migrated_newer",
    )
    done = migrate(url)
    assert done.returncode != 0
    assert "newer version" in done.stderr
    assert "rbac.9999_tomorrow" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "url", ["postgresql://nobody:x@127.0.0.1:1/none", "postgresql://postgres:wrong@{}/postgres"]
)
def test_a_database_that_cannot_be_used_is_a_sentence(postgres: Postgres, url: str) -> None:
    done = migrate(url.format(f"127.0.0.1:{postgres.port}"))
    assert done.returncode != 0
    assert "The database of DATABASE_URL cannot be used" in done.stderr
    assert "Traceback" not in done.stderr
    assert "wrong" not in done.stderr
