"""What goes out: zero values, times, nulls (contract 1.3)."""

from __future__ import annotations

import datetime
import json
from typing import Any

import pytest

from api import contract, serialization

EASTERN = datetime.timezone(datetime.timedelta(hours=2))
ZERO = "0001-01-01T00:00:00.000Z"


def written(name: str, value: Any) -> Any:
    return json.loads(serialization.write(contract.definition(name), value))


def test_zero_values_are_left_out_but_for_those_that_the_contract_keeps() -> None:
    assert written("Repository", {"id": 5, "name": "", "description": "", "pull_count": 0, "artifact_count": 0}) == {
        "id": 5, "pull_count": 0, "artifact_count": 0, "update_time": ZERO,
    }  # fmt: skip
    assert written("UserResp", {"user_id": 3, "sysadmin_flag": False}) == {
        "user_id": 3, "sysadmin_flag": False, "admin_role_in_auth": False, "creation_time": ZERO, "update_time": ZERO,
    }  # fmt: skip
    assert written("Tag", {"name": "v1"})["immutable"] is False
    assert written("Robot", {"name": "r", "duration": 0, "disable": False})["editable"] is False
    assert written("ProjectDeletable", {"deletable": False, "message": "no"}) == {"message": "no"}


def test_lists_are_never_left_out() -> None:
    project = written("Project", {"name": "p", "current_user_role_ids": None})
    assert project["current_user_role_ids"] is None
    assert project["repo_count"] == 0
    artifact = written("Artifact", {"digest": "d", "tags": [], "labels": None})
    assert (artifact["tags"], artifact["labels"], artifact["accessories"]) == ([], None, None)
    assert "inherited_accessories" not in artifact


def test_fields_that_may_be_null_are_kept_when_they_are_set() -> None:
    info = written("GeneralInfo", {"auth_mode": "db_auth", "banner_message": "", "self_registration": False})
    assert info == {"auth_mode": "db_auth", "banner_message": "", "self_registration": False}


def test_maps_keep_every_key() -> None:
    metadata = contract.Schema("map", items=contract.Schema("string"))
    assert json.loads(serialization.write(metadata, {"public": "false", "x": ""})) == {
        "public": "false",
        "x": "",
    }


def test_what_the_contract_does_not_name_does_not_go_out() -> None:
    assert "password" not in written("UserResp", {"user_id": 1, "password": "secret"})


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (datetime.datetime(2026, 11, 24, 5, 10, 39, 919000, tzinfo=datetime.UTC), "2026-11-24T05:10:39.919Z"),
        (datetime.datetime(2026, 11, 24, 5, 10, 39, tzinfo=datetime.UTC), "2026-11-24T05:10:39.000Z"),
        (datetime.datetime(2026, 1, 1, 1, 0, tzinfo=EASTERN), "2025-12-31T23:00:00.000Z"),
        (None, ZERO),
    ],
)  # fmt: skip
def test_times(moment: datetime.datetime | None, text: str) -> None:
    assert serialization.show_time(moment) == text


def test_a_body_ends_its_line_and_no_body_is_empty() -> None:
    array = contract.Schema("array", items=contract.Schema("ref", name="Tag"))
    assert serialization.write(array, []) == b"[]\n"
    assert serialization.write(array, None) == b""
