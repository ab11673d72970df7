"""Users and robots as one shape, read by the ORM for the REST side and by a hot read for `/v2`.

Both readings give the same mapping of columns; everything that judges takes the Account made of it.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings

from rbac.models import Robot, User
from rbac.permissions import Identity, RobotGrants, parse_robot_grants
from registry_core import configuration, hot_reads
from registry_core.hooks import ANONYMOUS, Principal

USER_COLUMNS = ("id", "username", "password", "sysadmin_flag", "admin_by_group", "suspended", "networks")
ROBOT_COLUMNS = (
    "id",
    "name",
    "level",
    "secret_hash",
    "second_secret_hash",
    "disable",
    "expires_at",
    "permissions",
    "networks",
)
_SQL_USER = f"""
SELECT {", ".join(USER_COLUMNS)} FROM rbac_user
WHERE NOT deleted AND (username = $1 OR email = $1) ORDER BY username = $1 DESC LIMIT 1
"""  # noqa: S608  constants
_SQL_ROBOT = f"SELECT {', '.join(ROBOT_COLUMNS)} FROM rbac_robot WHERE name = $1"  # noqa: S608  constants


@dataclass(frozen=True, slots=True)
class Account:
    """`hashes` are of the secrets that are good now; `expires_at` is in seconds since the epoch."""

    principal: Principal
    hashes: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    robot: RobotGrants | None = None
    disabled: bool = False
    expires_at: float = math.inf

    def is_usable(self, now: float) -> bool:
        return not self.disabled and now < self.expires_at

    def knows(self, print_: str) -> bool:
        """Is the secret that this is the fingerprint of still good?"""
        return any(fingerprint(encoded) == print_ for encoded in self.hashes)

    def identity(self, address: str) -> Identity:
        return Identity(self.principal, address, self.networks, self.robot)


def fingerprint(encoded: str) -> str:
    """Tells the stored hashes apart in a token, without telling them."""
    return hmac.digest(_fingerprint_key(), encoded.encode(), "sha256")[:9].hex()


@functools.cache
def _fingerprint_key() -> bytes:
    return hashlib.sha256(b"breakwater fingerprints\0" + settings.SECRET_KEY.encode()).digest()


# Stands for a robot that is not there: refused as fast as one whose secret is wrong.
NO_ROBOT = Account(ANONYMOUS, robot=RobotGrants(), disabled=True)


def user_account(row: Mapping[str, Any]) -> Account:
    is_admin = row["sysadmin_flag"] or row["admin_by_group"]
    principal = Principal(row["username"], "user", f"u:{row['id']}", is_admin)
    networks = tuple(_parsed(row["networks"]))
    return Account(principal, (row["password"],), networks, disabled=row["suspended"])


def robot_account(row: Mapping[str, Any], prefix: str) -> Account:
    return Account(
        Principal(prefix + row["name"], "robot", f"r:{row['id']}"),
        tuple(h for h in (row["secret_hash"], row["second_secret_hash"]) if h),
        tuple(_parsed(row["networks"])),
        parse_robot_grants(row["level"], _parsed(row["permissions"])),
        row["disable"],
        math.inf if row["expires_at"] == Robot.NEVER else row["expires_at"],
    )


def _parsed(value: Any) -> Any:
    """A hot read gives JSON as text."""
    return json.loads(value) if isinstance(value, str) else value


def find(name: str) -> Account | None:
    """The account behind a name that signs in; a user's e-mail is a name too (contract 1.4)."""
    prefix = configuration.get("robot_name_prefix")
    if name.startswith(prefix):
        row = Robot.objects.filter(name=name.removeprefix(prefix)).values(*ROBOT_COLUMNS).first()
        return robot_account(row, prefix) if row else NO_ROBOT
    users = User.objects.living().values(*USER_COLUMNS)
    user = users.filter(username=name).first() or users.filter(email=name).first()
    return user_account(user) if user else None


async def find_hot(name: str) -> Account | None:
    """`find` for `/v2`."""
    prefix = await configuration.fetch("robot_name_prefix")
    if name.startswith(prefix):
        row = await hot_reads.fetchrow(_SQL_ROBOT, name.removeprefix(prefix))
        return robot_account(row, prefix) if row else NO_ROBOT
    row = await hot_reads.fetchrow(_SQL_USER, name)
    return user_account(row) if row else None


def find_by_subject(subject: str) -> Account | None:
    """The living account of `u:<id>` or `r:<id>` (a session's, a token's)."""
    kind, _, number = subject.partition(":")
    if kind == "r":
        row = Robot.objects.filter(pk=int(number)).values(*ROBOT_COLUMNS).first()
        return robot_account(row, configuration.get("robot_name_prefix")) if row else None
    row = User.objects.living().filter(pk=int(number)).values(*USER_COLUMNS).first()
    return user_account(row) if row else None
