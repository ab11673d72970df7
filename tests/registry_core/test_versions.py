"""Versions of repositories, shared by all processes of a host (design 8.6)."""

from __future__ import annotations

import pathlib
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from django.db import connection, transaction
from pytest_django.fixtures import Settings

from registry_core import lookups, versions
from tests.components.postgres import ROOT


@pytest.fixture(autouse=True)
def own_map(settings: Settings, tmp_path: pathlib.Path) -> Iterator[None]:
    """As in a process that has not opened one yet."""
    settings.RUN_DIR = str(tmp_path / "run")
    before = versions._map, versions._slots
    versions._map = versions._slots = None
    yield
    versions._map, versions._slots = before


CHILD = """
import sys, uuid, zlib
from django.conf import settings
settings.configure(RUN_DIR=sys.argv[1])
from registry_core import versions
slot = versions.slot(7, "library/app")
print(slot, versions.read(slot), versions.host_id())
if sys.argv[2] == "ring":
    versions.ring(slot)
    print(versions.read(slot))
"""


def child(directory: str, order: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", CHILD, directory, order], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return done.stdout.split()


def test_another_process_hears_it_at_once(settings: Settings) -> None:
    slot = versions.slot(7, "library/app")
    before = versions.read(slot)
    their_slot, read, host, after = child(settings.RUN_DIR, "ring")
    assert (int(their_slot), int(read), host) == (slot, before, str(versions.host_id()))
    assert versions.read(slot) == int(after) != before


def test_it_is_heard_by_processes_that_come_later(settings: Settings) -> None:
    slot = versions.slot(7, "library/app")
    versions.ring(slot)
    assert child(settings.RUN_DIR, "read")[1] == str(versions.read(slot))


def test_hosts_do_not_share(settings: Settings, tmp_path: pathlib.Path) -> None:
    assert child(str(tmp_path / "elsewhere"), "read")[2] != str(versions.host_id())


def test_no_number_comes_twice() -> None:
    seen = {versions.read(3)}
    for _ in range(1000):
        versions.ring(3)
        assert versions.read(3) not in seen
        seen.add(versions.read(3))


def test_slots_are_spread_and_the_bell_of_rights_is_none_of_them() -> None:
    slots = {versions.slot(1, f"repository-{i}") for i in range(10_000)}
    assert len(slots) > 9000
    assert max(slots) < versions.EPOCHS
    assert versions.slot(1, "a") != versions.slot(2, "a")


@pytest.mark.django_db(transaction=True)
def test_it_is_raised_after_the_commit_and_not_only_before() -> None:
    """A reader that came between would keep the old answer under the new number."""
    slot = versions.slot(1, "app")
    before = versions.read(slot)
    with transaction.atomic():
        versions.raise_after_commit(1, "app")
        during = versions.read(slot)
        assert connection.in_atomic_block
    assert versions.read(slot) not in (before, during)


@pytest.mark.django_db(transaction=True)
def test_what_is_found_while_a_change_is_under_way_is_not_kept_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its process may die between its commit and its ring."""
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    slot = versions.slot(1, "app")
    answers: lookups.Answers[str] = lookups.Answers()
    with transaction.atomic():
        versions.raise_after_commit(1, "app")
        version = versions.read(slot)
        answers.keep(("old",), version, "old")
        transaction.set_rollback(True)  # stands for the death: nothing rings any more
    assert versions.read(slot) == version
    assert answers.find(("old",), version) == ("old",)
    now += 2.1
    assert answers.find(("old",), version) is None
    now += 30
    answers.keep(("new",), version, "new")
    now += lookups.KEPT - 1
    assert answers.find(("new",), version) == ("new",)
    now += 2
    assert answers.find(("new",), version) is None


def test_who_starts_rings_for_those_who_died_before_they_could(monkeypatch: pytest.MonkeyPatch) -> None:
    """And what is under way is not taken for settled by it, nor what is settled for under way."""
    now = time.monotonic()
    quiet, busy = (versions.slot(1, name) for name in ("quiet", "busy"))
    versions.ring(quiet)
    now += versions.UNSETTLED
    monkeypatch.setattr(time, "monotonic", lambda: now)
    versions.ring(busy)
    before = [versions.read(index) for index in range(versions.SLOTS)]
    rights = versions.read(versions.EPOCHS)
    versions.ring_all()
    after = [versions.read(index) for index in range(versions.SLOTS)]
    # One in four billion is the same by chance.
    assert sum(old == new for old, new in zip(before, after, strict=True)) <= 1
    assert versions.is_settled(versions.read(quiet))
    assert not versions.is_settled(versions.read(busy))
    assert versions.read(versions.EPOCHS) == rights


def test_a_number_of_before_the_last_boot_is_settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel's clock begins again with it."""
    versions.ring(7)
    assert not versions.is_settled(versions.read(7))
    booted = time.monotonic() - 100
    monkeypatch.setattr(time, "monotonic", lambda: booted)
    assert versions.is_settled(versions.read(7))


def test_a_file_of_another_size_is_put_right(settings: Settings) -> None:
    """Left by an older version, or cut short by a full disk."""
    file = pathlib.Path(settings.RUN_DIR) / "versions"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"\1" * 100)
    versions.ring(versions.EPOCHS)
    assert file.stat().st_size == 16 + 8 * 65538


def test_a_copy_of_the_map_on_another_machine_is_another_host(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    here = versions.host_id()
    another = tmp_path / "boot_id"
    another.write_text("another machine")
    monkeypatch.setattr(versions, "_BOOT", another)
    assert versions.host_id() != here
