"""The one decision: may this principal do this here, and if not, why (design 2.7, 2.8, 5).

`held` is pure: an Identity and its Standing in a project in, permissions out. The REST side fills a Standing
from models, `/v2` from a hot read (rbac/oci.py); both ask the same function.
"""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from projects.models import Project
from projects.policies import pull
from rbac.catalogue import (
    BY_NAME,
    EVERY_PERMISSION,
    PUBLIC_PERMISSIONS,
    ROLE_NAMES,
    ROLE_PERMISSIONS,
    ROLES_BY_POWER,
    Permission,
)
from rbac.models import Member, Robot
from registry_core import errors
from registry_core.hooks import ANONYMOUS, Principal

# -- who asks, and where


@dataclass(frozen=True, slots=True)
class RobotGrants:
    """A robot's permissions by the place they hold in: the system, every project, or a namespace by id."""

    system: frozenset[Permission] = frozenset()
    everywhere: frozenset[Permission] | None = None
    namespaces: Mapping[int, frozenset[Permission]] = field(default_factory=dict)

    @property
    def has_project(self) -> bool:
        return self.everywhere is not None or bool(self.namespaces)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who asks, from where; `networks` are the CIDRs that the credential is good from, none = anywhere."""

    principal: Principal = ANONYMOUS
    address: str = ""
    networks: tuple[str, ...] = ()
    robot: RobotGrants | None = None

    @property
    def is_anonymous(self) -> bool:
        return not self.principal.subject


@dataclass(frozen=True, slots=True)
class Standing:
    """What an identity is to a project, and the project's pull policies that are on."""

    namespace_id: int
    public: bool
    networks: tuple[str, ...] = ()
    roles: tuple[int, ...] = ()
    policies: frozenset[str] = frozenset()


NOBODY = Identity()


def parse_robot_grants(level: str, permissions: Iterable[Mapping[str, Any]]) -> RobotGrants:
    """Of a Robot's stored list. What the catalogue does not know (any more) grants nothing."""
    system: frozenset[Permission] = frozenset()
    everywhere: frozenset[Permission] | None = None
    namespaces: dict[int, frozenset[Permission]] = {}
    for entry in permissions:
        granted = _granted(entry["access"])
        if entry["kind"] == "system":
            system |= granted
            continue
        if level == Robot.Level.PROJECT and Permission.REPOSITORY_PUSH in granted:
            granted |= {Permission.REPOSITORY_PULL}
        if entry["namespace"] == "*":
            everywhere = (everywhere or frozenset()) | granted
        else:
            namespace = entry["namespace_id"]
            namespaces[namespace] = namespaces.get(namespace, frozenset()) | granted
    return RobotGrants(system, everywhere, namespaces)


def _granted(access: Iterable[Mapping[str, str]]) -> frozenset[Permission]:
    allowed: set[Permission] = set()
    denied: set[Permission] = set()
    for one in access:
        permission = BY_NAME.get(f"{one['resource']}:{one['action']}")
        if permission:
            (denied if one.get("effect") == "deny" else allowed).add(permission)
    return frozenset(allowed - denied)


@functools.lru_cache(maxsize=1024)
def _parsed(networks: tuple[str, ...]) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    return tuple(ipaddress.ip_network(text, strict=False) for text in networks)


def is_from(networks: tuple[str, ...], address: str) -> bool:
    """Does the address lie in one of the networks? An unknown address lies in none."""
    if not networks:
        return True
    try:
        ip = ipaddress.ip_address(address)
        if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped:
            ip = ip.ipv4_mapped
        return any(ip in network for network in _parsed(networks))
    except ValueError:
        return False


# -- the decision


def held(identity: Identity, standing: Standing) -> frozenset[Permission]:
    """Everything that this identity may do in this project, wherever it calls from."""
    if identity.principal.is_admin:
        return EVERY_PERMISSION
    robot = identity.robot
    if robot is not None:
        own = robot.namespaces.get(standing.namespace_id, frozenset()) | (robot.everywhere or frozenset())
        return own | PUBLIC_PERMISSIONS if standing.public and robot.has_project else own
    granted = PUBLIC_PERMISSIONS if standing.public else frozenset()
    return granted.union(*(ROLE_PERMISSIONS.get(role, frozenset()) for role in standing.roles))


def held_in_system(identity: Identity) -> frozenset[Permission]:
    if identity.principal.is_admin:
        return EVERY_PERMISSION
    return identity.robot.system if identity.robot else frozenset()


def standing_in(identity: Identity, project: Project) -> Standing:
    return Standing(
        project.namespace_id,
        project.public,
        tuple(project.networks),
        tuple(roles_in(identity, project)),
        pull.in_force(project.metadata),
    )


def roles_in(identity: Identity, project: Project) -> list[int]:
    """The roles that a user holds in the project, the most powerful first (contract 4.1)."""
    kind, _, number = identity.principal.subject.partition(":")
    if kind != "u":
        return []
    roles = set(Member.objects.of_user(int(number)).filter(project=project).values_list("role", flat=True))
    return [role for role in ROLES_BY_POWER if role in roles]


def can(identity: Identity, permission: Permission, project: Project | None = None) -> bool:
    """May this identity do this in the project, or in the system when there is no project?"""
    if not is_from(identity.networks, identity.address):
        return False
    if project is None:
        return permission in held_in_system(identity)
    standing = standing_in(identity, project)
    # A system administrator must be able to mend a project's network limit from elsewhere.
    if not (identity.principal.is_admin or is_from(standing.networks, identity.address)):
        return False
    return permission in held(identity, standing)


def require(identity: Identity, permission: Permission, project: Project | None = None) -> None:
    """Unauthorized for anonymous, Forbidden for others (contract 1.4); the detail explains (design 2.8)."""
    if can(identity, permission, project):
        return
    detail = refusal(identity.principal, permission, project.name if project else None)
    if identity.is_anonymous:
        raise errors.Unauthorized(detail=detail)
    raise errors.Forbidden(identity.principal.name if project is None else "", detail)


def absent_project(identity: Identity, permission: Permission, name: str) -> errors.RegistryError:
    """To raise for a project that is not there: only who sees every project learns that (contract 1.4)."""
    if identity.principal.is_admin:
        return errors.NotFound(f"project {name} not found")
    detail = refusal(identity.principal, permission, name)
    return errors.Unauthorized(detail=detail) if identity.is_anonymous else errors.Forbidden(detail=detail)


# -- saying why


def refusal(principal: Principal, permission: Permission, project: str | None) -> dict[str, str]:
    """Rule, principal as seen, what would mend it and who can: the same for absent and hidden projects."""
    if project is None:
        fix = f"a system administrator, or a robot with the system permission {permission}, may do this"
        return _refusal(f"{permission} in the system", principal, fix, "a system administrator")
    roles = [ROLE_NAMES[role] for role in ROLES_BY_POWER if permission in ROLE_PERMISSIONS[role]]
    fix = (
        f"a role in project {project} that holds {permission}: {', '.join(roles)}"
        if roles
        else "no role holds it"
    )
    if principal.kind == "robot":
        fix = f"add {permission} for project {project} to the robot's permissions"
    if principal.kind == "anonymous":
        fix = f"sign in as somebody with {fix}"
    who = f"an administrator of project {project}, if there is such a project, or a system administrator"
    return _refusal(f"{permission} in project {project}", principal, fix, who)


def _refusal(rule: str, principal: Principal, fix: str, who: str) -> dict[str, str]:
    return {"rule": rule, "principal": shown(principal), "fix": fix, "who": who}


def network_refusal(principal: Principal, address: str, whose: str) -> dict[str, str]:
    """`whose` limit it is: `the credential` or `project <name>`."""
    rule = (
        f"{whose} may be used from certain networks only, and {address or 'this address'} is in none of them"
    )
    who = f"who administers {whose.removeprefix('the ')}, or a system administrator"
    return _refusal(rule, principal, "call from one of these networks, or have this one added", who)


def shown(principal: Principal) -> str:
    return "anonymous" if principal.kind == "anonymous" else f"{principal.kind} {principal.name}"
