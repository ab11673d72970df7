"""What a principal is to a project, by one hot read: the asynchronous twin of permissions.standing_in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from projects.policies import pull
from rbac.authn.accounts import ROBOT_COLUMNS, USER_COLUMNS, Account, robot_account, user_account
from rbac.permissions import Standing
from registry_core import configuration, hot_reads

_PROJECT = """
(SELECT n.id AS namespace_id, p.id AS project_id, p.public, p.networks AS project_networks, p.metadata
 FROM registry_core_namespace n JOIN projects_project p ON p.namespace_id = n.id WHERE n.name = ${}) p
"""
_OF_PROJECT = "p.namespace_id, p.public, p.project_networks, p.metadata"
_ROLES = (
    "ARRAY(SELECT m.role FROM rbac_member m WHERE m.project_id = p.project_id AND m.user_id = u.id UNION ALL "
    "SELECT m.role FROM rbac_groupmembership g JOIN rbac_member m ON m.group_id = g.group_id "
    "WHERE g.user_id = u.id AND m.project_id = p.project_id) AS roles"
)
_USER = f"""
SELECT {", ".join(f"u.{c}" for c in USER_COLUMNS)}, {_OF_PROJECT}, {_ROLES}
FROM rbac_user u LEFT JOIN {_PROJECT.format(2)} ON true WHERE u.id = $1 AND NOT u.deleted
"""  # noqa: S608  constants
_ROBOT = f"""
SELECT {", ".join(f"r.{c}" for c in ROBOT_COLUMNS)}, {_OF_PROJECT}
FROM rbac_robot r LEFT JOIN {_PROJECT.format(2)} ON true WHERE r.id = $1
"""  # noqa: S608  constants
_ANYBODY = f"SELECT {_OF_PROJECT} FROM {_PROJECT.format(1)}"  # noqa: S608  constants


@dataclass(frozen=True, slots=True)
class Rights:
    """`account` is None for anonymous and for one that is gone; `standing` is None where there is no project."""

    account: Account | None
    standing: Standing | None


async def read(subject: str, project: str) -> Rights:
    """As the rows are now: `u:<id>`, `r:<id>` or "" for anonymous, and a project's name ("" for none)."""
    kind, _, number = subject.partition(":")
    if kind == "u":
        row = await hot_reads.fetchrow(_USER, int(number), project)
        return Rights(user_account(row), _standing(row)) if row else Rights(None, None)
    if kind == "r":
        prefix = await configuration.fetch("robot_name_prefix")
        row = await hot_reads.fetchrow(_ROBOT, int(number), project)
        return Rights(robot_account(row, prefix), _standing(row)) if row else Rights(None, None)
    row = await hot_reads.fetchrow(_ANYBODY, project)
    return Rights(None, _standing(row) if row else None)


def _standing(row: Mapping[str, Any]) -> Standing | None:
    if row["namespace_id"] is None:
        return None
    networks = tuple(json.loads(row["project_networks"]))
    policies = pull.in_force(json.loads(row["metadata"]))
    return Standing(row["namespace_id"], row["public"], networks, tuple(row.get("roles") or ()), policies)
