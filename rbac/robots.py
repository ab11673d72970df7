"""Robots: what a request for one must look like, and the verbs that change one (contract 4.5)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models.functions import Now
from django.utils import timezone

from projects.models import Project
from rbac.authn import local, robot
from rbac.catalogue import ROBOT_PROJECT_PERMISSIONS, ROBOT_SYSTEM_PERMISSIONS
from rbac.models import Robot
from rbac.permissions import Identity, parse_robot_grants
from registry_core import audit, configuration, epochs, errors
from registry_core.models import Namespace

MAX_DAYS = 2147483646
MAX_DESCRIPTION = 1024
MAX_NAME = 190  # with its project's, as stored; see setting_items.MAX_PREFIX
_NAME = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*")
_CATALOGUE = {
    "system": {str(permission) for permission in ROBOT_SYSTEM_PERMISSIONS},
    "project": {str(permission) for permission in ROBOT_PROJECT_PERMISSIONS},
}
OTHER_PROJECT = "cannot update the project id of robot"
RULE = local.RULE.replace("password or secret", "secret")

Permissions = Sequence[Mapping[str, Any] | None]


@dataclass(frozen=True, slots=True)
class Request:
    """A checked request. `project` is the one of a project's robot; `permissions` are as they are stored."""

    level: str
    duration: int
    project: Project | None
    permissions: list[dict[str, Any]]


def check_name(name: str) -> None:
    if not _NAME.fullmatch(name) or len(name) > MAX_NAME:
        raise errors.BadRequest("robot name is not in lower case or contains illegal characters")


def parse_request(level: str, duration: int, permissions: Permissions | None) -> Request:
    """BadRequest or NotFound for the first fault, in the contract's order (the name is checked before)."""
    if duration != Robot.NEVER and not 1 <= duration <= MAX_DAYS:
        raise errors.BadRequest(
            f"bad request error duration input: {duration}, duration must be either -1(Never) or a positive integer"
        )
    if level not in Robot.Level.values:
        raise errors.BadRequest(f"bad request error level input: {level}")
    entries = [entry for entry in permissions or () if entry]
    if not entries or len(entries) != len(permissions or ()):
        raise errors.BadRequest("bad request empty permission")
    if not all(entry.get("access") and all(entry["access"]) for entry in entries):
        raise errors.BadRequest("bad request empty access")
    if level == Robot.Level.PROJECT and len(entries) > 1:
        raise errors.BadRequest("bad request permission")
    for entry in entries:
        _check_catalogue(entry)
    projects = [_find_place(level, entry) for entry in entries]
    stored = [_stored(entry, project) for entry, project in zip(entries, projects, strict=True)]
    return Request(level, duration, projects[0] if level == Robot.Level.PROJECT else None, stored)


def _check_catalogue(entry: Mapping[str, Any]) -> None:
    kind = entry.get("kind") or ""
    if kind not in _CATALOGUE:
        raise errors.BadRequest(f"bad request permission level: {kind}")
    for one in entry["access"]:
        pair = f"{one.get('resource', '')}:{one.get('action', '')}"
        if pair not in _CATALOGUE[kind]:
            raise errors.BadRequest(f"bad request permission: {pair}", {"kind": kind, "permission": pair})


def _find_place(level: str, entry: Mapping[str, Any]) -> Project | None:
    """The project that an entry names; None for the system and for all projects."""
    namespace = entry.get("namespace") or ""
    if level == Robot.Level.SYSTEM and entry["kind"] == "system":
        if namespace != "/":
            raise errors.BadRequest("unknown namespace")
        return None
    if level == Robot.Level.SYSTEM and namespace == "*":
        return None
    project = Project.objects.named(namespace).select_related("namespace").first()
    if project is None:
        raise errors.NotFound(f"project {namespace} not found")
    return project


def _stored(entry: Mapping[str, Any], project: Project | None) -> dict[str, Any]:
    access: list[dict[str, str]] = []
    for one in entry["access"]:
        kept = {k: one[k] for k in ("resource", "action", "effect") if one.get(k)}
        if kept not in access:
            access.append(kept)
    stored = {"kind": entry["kind"], "namespace": entry["namespace"], "access": access}
    return stored | {"namespace_id": project.namespace_id} if project else stored


# -- what others see


def full_name(robot_row: Robot) -> str:
    """With the prefix of the moment: changing the setting renames all robots at once."""
    return f"{configuration.get('robot_name_prefix')}{robot_row.name}"


def shown_permissions(rows: Iterable[Robot]) -> list[list[dict[str, Any]]]:
    """Each robot's permissions as clients see them; entries of projects that are gone are left out."""
    lists = [row.permissions for row in rows]
    ids = {entry["namespace_id"] for entries in lists for entry in entries if "namespace_id" in entry}
    names = dict(Namespace.objects.filter(pk__in=ids).values_list("pk", "name"))
    return [[shown for entry in entries if (shown := _shown(entry, names))] for entries in lists]


def _shown(entry: Mapping[str, Any], names: Mapping[int, str]) -> dict[str, Any] | None:
    namespace = entry["namespace"]
    if "namespace_id" in entry:
        namespace = names.get(entry["namespace_id"])
    return {"kind": entry["kind"], "namespace": namespace, "access": entry["access"]} if namespace else None


# -- verbs


@transaction.atomic
def create(by: Identity, name: str, request: Request, *, description: str = "") -> tuple[Robot, str]:
    """The robot and its secret, which is never shown again."""
    check_name(name)
    _check_description(description)
    _check_lesser(by, request)
    secret, now = robot.new_secret(), timezone.now()
    kind, _, number = by.principal.subject.partition(":")
    row = Robot(
        name=_stored_name(name, request.project),
        level=request.level,
        project=request.project,
        description=description,
        duration=request.duration,
        expires_at=_expiry(now.timestamp(), request.duration),
        secret_hash=robot.hash_generated(secret),
        permissions=request.permissions,
        creator_type="robot" if kind == "r" else "local",
        creator_ref=int(number),
        created_at=now,
        updated_at=now,
    )
    try:
        with transaction.atomic():
            row.save(force_insert=True)
    except IntegrityError as e:
        place = request.project.pk if request.project else 0
        raise errors.Conflict(f"robot account {place}:{name} already exists") from e
    _record(by, audit.CREATE, row)
    return row, secret


@transaction.atomic
def update(by: Identity, row: Robot, request: Request, *, description: str, disable: bool) -> None:
    """Replace what the robot may do; its name, level and project stay."""
    if not row.editable:
        raise errors.Forbidden("the robot is not editable")
    if request.project and request.project.pk != row.project_id:
        raise errors.BadRequest(OTHER_PROJECT)
    _check_description(description)
    _check_lesser(by, request)
    Robot.objects.filter(pk=row.pk).update(
        description=description,
        disable=disable,
        duration=request.duration,
        expires_at=_expiry(row.created_at.timestamp(), request.duration),
        permissions=request.permissions,
        updated_at=Now(),
    )
    _changed(by, audit.UPDATE, row)


@transaction.atomic
def renew_secret(by: Identity, row: Robot, secret: str = "", *, keep_old: bool = False) -> str:
    """A new secret, random unless given; the old one ends, or lives on as the second one until the next time."""
    if secret and not local.is_acceptable(secret):
        raise errors.BadRequest(RULE)
    hashed = local.hash_secret(secret) if secret else ""
    if not secret:
        secret = robot.new_secret()
        hashed = robot.hash_generated(secret)
    old = row.secret_hash if keep_old else ""
    Robot.objects.filter(pk=row.pk).update(secret_hash=hashed, second_secret_hash=old, updated_at=Now())
    _changed(by, audit.UPDATE, row)
    return secret


@transaction.atomic
def delete(by: Identity, row: Robot) -> None:
    Robot.objects.filter(pk=row.pk).delete()
    _changed(by, audit.DELETE, row)


def _stored_name(name: str, project: Project | None) -> str:
    stored = f"{project.name}+{name}" if project else name
    if len(stored) > MAX_NAME:
        raise errors.BadRequest(f"the robot's name with its project's is longer than {MAX_NAME} characters")
    return stored


def _expiry(start: float, days: int) -> int:
    return Robot.NEVER if days == Robot.NEVER else int(start + timedelta(days=1).total_seconds() * days)


def _check_description(description: str) -> None:
    if len(description) > MAX_DESCRIPTION:
        raise errors.BadRequest(
            f"bad request: a description may be {MAX_DESCRIPTION} characters long", {"limit": MAX_DESCRIPTION}
        )


def _check_lesser(by: Identity, request: Request) -> None:
    """What a robot gives, it must hold itself."""
    if by.robot is None:
        return
    wanted = parse_robot_grants(Robot.Level.SYSTEM, request.permissions)
    everywhere = by.robot.everywhere or frozenset()
    within = (
        wanted.system <= by.robot.system
        and (wanted.everywhere or frozenset()) <= everywhere
        and all(
            granted <= by.robot.namespaces.get(place, frozenset()) | everywhere
            for place, granted in wanted.namespaces.items()
        )
    )
    if not within:
        raise too_much(by)


def too_much(by: Identity) -> errors.Denied:
    return errors.Denied(
        "permission scope is invalid. It must be equal to or more restrictive than the creator robot's "
        f"permissions: {by.principal.name}"
    )


def _changed(by: Identity, operation: str, row: Robot) -> None:
    epochs.raise_epoch(row.subject)
    _record(by, operation, row)


def _record(by: Identity, operation: str, row: Robot) -> None:
    namespace = row.project.namespace_id if row.project else None
    audit.record(
        by.principal.name, operation, "robot", full_name(row), namespace_id=namespace, address=by.address
    )
