from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry_core.storage import paths


def test_keys_never_collide() -> None:
    assert len({paths.new_key() for _ in range(100_000)}) == 100_000


def test_a_key_has_the_documented_form() -> None:
    for _ in range(1000):
        key = paths.new_key()
        assert re.fullmatch(r"objects/([0-9a-f]{2})/([0-9a-f]{2})/\1\2[0-9a-f]{28}", key)
        paths.check_key(key)


def test_keys_in_a_row_share_a_directory_and_many_do_not() -> None:
    directories = [paths.new_key().rpartition("/")[0] for _ in range(20 * paths.RUN)]
    assert 20 <= len(set(directories)) <= 21
    changes = sum(a != b for a, b in itertools.pairwise(directories))
    assert changes == len(set(directories)) - 1


@pytest.mark.parametrize("suffix", ["", ".tail", ".tail2", ".parts"])
def test_a_listed_name_has_an_owner(suffix: str) -> None:
    key = paths.new_key()
    assert paths.owner(key + suffix) == key
    assert paths.is_key(key + suffix)


@given(st.text(alphabet=st.sampled_from("ab/.-_\0\n é%\\"), max_size=12))
def test_no_key_leaves_its_directory(name: str) -> None:
    if paths.is_key(name):
        assert not name.startswith(("/", "."))
        assert ".." not in name.split("/")
        assert "" not in name.split("/")
        assert re.fullmatch(r"[ab/._-]+", name)
