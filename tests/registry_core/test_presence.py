"""Two hosts on one database find each other, whenever they start (design 8.6)."""

from __future__ import annotations

import pathlib
import subprocess
import sys

import psycopg2

from tests.components.postgres import ROOT, Postgres
from tests.server import Server

GATE = 4712
# A heartbeat waits in the middle of its statement: its snapshot is taken.
HELD = f"""
CREATE FUNCTION held() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_lock_shared({GATE});
    PERFORM pg_advisory_unlock_shared({GATE});
    RETURN NEW;
END $$;
CREATE TRIGGER held BEFORE INSERT ON registry_core_heartbeat FOR EACH ROW EXECUTE FUNCTION held()
"""
BEAT = """
import asyncio, os
os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"
import django
django.setup()
from registry_core import presence
print(asyncio.run(presence.beat("web")))
"""


def test_of_two_hosts_that_start_at_one_moment_one_sees_the_other(
    postgres: Postgres, tmp_path: pathlib.Path
) -> None:
    """It waits before it serves, until the other has learned of it."""
    server = Server(postgres, "redis://127.0.0.1:1/0")
    watcher = psycopg2.connect(server.database)
    watcher.autocommit = True
    with watcher.cursor() as cursor:
        cursor.execute(HELD)
        cursor.execute("SELECT pg_advisory_lock(%s)", [GATE])
        hosts = [
            subprocess.Popen(
                [sys.executable, "-c", BEAT], cwd=ROOT, text=True, stdout=subprocess.PIPE,
                env={**server.environment, "BREAKWATER_RUN_DIR": str(tmp_path / name)},
            )
            for name in ("one", "other")
        ]  # fmt: skip
        held: tuple[int, ...] | None = None
        while held != (2,):
            assert [host.poll() for host in hosts] == [None, None]
            cursor.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
            held = cursor.fetchone()
        cursor.execute("SELECT pg_advisory_unlock(%s)", [GATE])
    seen = [int(host.communicate(timeout=30)[0].splitlines()[-1]) for host in hosts]
    watcher.close()
    assert max(seen) == 1
