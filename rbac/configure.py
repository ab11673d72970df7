"""Changing the system's settings (contract 5)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import transaction

from rbac.actions import ADMIN_ID
from rbac.authn import sources
from rbac.models import User
from rbac.permissions import Identity
from registry_core import audit, configuration, errors


def can_change_auth_mode() -> bool:
    """Only while nobody besides admin could come from elsewhere than the new mode says (contract 5)."""
    return not User.objects.living().exclude(pk=ADMIN_ID).exists()


@transaction.atomic
def change(by: Identity, values: Mapping[str, Any]) -> None:
    """BadRequest names what does not fit, and then nothing is changed."""
    mode = values.get("auth_mode")
    if mode is not None and mode != configuration.get("auth_mode") and not can_change_auth_mode():
        raise errors.BadRequest(
            "the auth mode cannot be modified as new users have been inserted into database",
            {"rule": "auth_mode changes only while there is no user besides admin"},
        )
    configuration.set_values(values)
    if not values.keys().isdisjoint(("auth_mode", "ldap_group_admin_dn")):
        sources.mark_administrators(User.objects.living(), values)
    audit.record(
        by.principal.name,
        audit.UPDATE,
        "configuration",
        "configuration",
        "update configuration",
        address=by.address,
    )
