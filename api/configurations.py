"""Tag configure: the system's settings (contract 5)."""

from __future__ import annotations

from typing import Any

from api.dispatch import Answer, Call
from rbac import configure
from rbac.catalogue import Permission
from registry_core import configuration, errors
from registry_core.setting_items import ITEMS


def get_configurations(call: Call) -> Answer:
    """Secrets are not shown, what is ours only has no place in the contract."""
    call.require(Permission.CONFIGURATION_READ)
    values, editable = configuration.get_all(), not configuration.is_fixed()
    body: dict[str, Any] = {
        name: {"value": values[name], "editable": editable}
        for name, item in ITEMS.items()
        if not item.is_secret and not item.is_ours
    }
    body["auth_mode"]["editable"] = editable and configure.can_change_auth_mode()
    return Answer(body | {"scan_all_policy": {}})


def get_internalconfig(call: Call) -> Answer:
    """Harbor's other services ask it with a secret. Nobody does here, and nobody can (design 5)."""
    raise errors.Unauthorized("only internal service is allowed to call this API")


def update_configurations(call: Call) -> Answer:
    """Some or all; the contract drops what it does not name."""
    call.require(Permission.CONFIGURATION_UPDATE)
    configure.change(call.identity, call.body)
    return Answer()
