"""GET /systeminfo and its neighbours (contract 6.10; golden: system_info)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.api.conftest import Api
from tests.builders import Person

pytestmark = pytest.mark.django_db

FOR_ALL = {
    "auth_mode": "db_auth",
    "banner_message": "",
    "oidc_provider_name": "",
    "primary_auth_mode": False,
    "self_registration": False,
}


def test_anonymous_learns_how_to_sign_in(anonymous: Api) -> None:
    assert anonymous.get("/systeminfo").body == FOR_ALL


def test_who_is_signed_in_learns_more(charlie: Person, as_: Callable[[Person], Api]) -> None:
    info = as_(charlie).get("/systeminfo").body
    assert info.items() >= FOR_ALL.items()
    assert set(info) - set(FOR_ALL) == {
        "current_time", "external_url", "harbor_version", "has_ca_root", "notification_enable",
        "project_creation_restriction", "read_only", "registry_storage_provider_name", "registry_url",
    }  # fmt: skip
    assert info["harbor_version"].startswith("v2.16.0-")
    assert info["external_url"] == f"http://{info['registry_url']}"
    assert (info["project_creation_restriction"], info["read_only"], info["has_ca_root"]) == (
        "everyone",
        False,
        False,
    )


def test_volumes_are_for_system_administrators(
    admin: Api, anonymous: Api, charlie: Person, as_: Callable[[Person], Api]
) -> None:
    assert admin.get("/systeminfo/volumes").body == {"storage": [{}]}  # memory has neither end nor size
    refused = as_(charlie).get("/systeminfo/volumes")
    assert (refused.status, refused.code, refused.message) == (403, "FORBIDDEN", "charlie")
    assert anonymous.get("/systeminfo/volumes").status == 401


def test_volumes_of_files(admin: Api, settings: object, tmp_path: object) -> None:
    settings.STORAGE = f"file://{tmp_path}"  # type: ignore[attr-defined]
    (volume,) = admin.get("/systeminfo/volumes").body["storage"]
    assert 0 < volume["free"] <= volume["total"]


def test_there_is_no_certificate(anonymous: Api) -> None:
    reply = anonymous.get("/systeminfo/getcert")
    assert (reply.status, reply.code) == (404, "NOT_FOUND")
