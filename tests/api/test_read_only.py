"""Read-only mode (contract 1.7; golden: read_only_mode)."""

from __future__ import annotations

import pytest

from registry_core import configuration
from tests.api.conftest import Api

pytestmark = pytest.mark.django_db

TEXT = "The system is in read only mode. Any modification is prohibited."


@pytest.fixture(autouse=True)
def read_only(admin: Api) -> None:
    configuration.set_values({"read_only": True})


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/projects"),
        ("DELETE", "/projects/library"),
        ("PUT", "/projects/library"),
        ("POST", "/nothing"),
        ("PATCH", "/projects"),
        ("DELETE", "/projects/library/repositories/app/artifacts/v1"),
        ("POST", "/registries/ping"),
        ("POST", "/ldap/ping"),
        ("PUT", "/users/1/password"),
        ("BREW", "/projects"),
    ],
)
def test_nothing_changes_for_anybody(admin: Api, anonymous: Api, method: str, path: str) -> None:
    for caller in (admin, anonymous):
        reply = caller.request(method, path, {})
        assert (reply.status, reply.code, reply.message) == (403, "DENIED", TEXT)


def test_reading_goes_on(admin: Api, anonymous: Api) -> None:
    assert admin.get("/systeminfo").body["read_only"] is True
    assert admin.get("/projects/library").status == 200
    assert admin.head("/projects?project_name=library").status == 200
    assert admin.request("OPTIONS", "/projects").status == 405
    assert anonymous.get("/projects").status == 200


def test_configurations_can_still_be_changed(admin: Api) -> None:
    assert admin.put("/configurations", {"read_only": False}).status == 200
    assert admin.post("/projects", {"project_name": "again"}).status == 201
