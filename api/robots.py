"""Tag robot (contract 4.5)."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet

from api import addressing, query
from api.dispatch import Answer, Call, created, listed
from projects.models import Project
from rbac import robots
from rbac.catalogue import Permission
from rbac.models import Robot
from rbac.permissions import absent_project, require
from registry_core import configuration, errors

FIELDS = query.FieldMap(
    [
        query.Field("id", "id", "integer"),
        query.Field("name"),
        query.Field("description"),
        query.Field("duration", kind="integer"),
        query.Field("expires_at", kind="integer", go="ExpiresAt"),
        query.Field("disabled", "disable", "boolean"),
        query.Field("creation_time", "created_at", "time"),
        query.Field("update_time", "updated_at", "time"),
    ],
    default=("name",),
)


def present_robots(rows: list[Robot]) -> list[dict[str, Any]]:
    prefix = configuration.get("robot_name_prefix")
    return [
        {
            "id": row.pk,
            "name": prefix + row.name,
            "description": row.description,
            "level": row.level,
            "duration": row.duration,
            "editable": row.editable,
            "disable": row.disable,
            "expires_at": row.expires_at,
            "permissions": permissions,
            "creator_type": row.creator_type,
            "creator_ref": row.creator_ref,
            "creation_time": row.created_at,
            "update_time": row.updated_at,
        }
        for row, permissions in zip(rows, robots.shown_permissions(rows), strict=True)
    ]


def list_robot(call: Call) -> Answer:
    """Of the system, or of the project that q names with Level and ProjectID, written exactly so."""
    matches = query.parse(call.query.get("q") or "")
    rows = _robots_of(call, _text(matches.pop("Level", None)), _text(matches.pop("ProjectID", None)))
    order = FIELDS.order(query.parse_sort(call.query.get("sort") or ""))
    return listed(call, rows.filter(FIELDS.conditions(matches)).order_by(*order), present_robots)


def _text(match: query.Match | None) -> str | None:
    """The plain value of a key; a value of another form fits none of them."""
    return None if match is None else match.value if isinstance(match, query.Exact) else ""


def _robots_of(call: Call, level: str | None, project_id: str | None) -> QuerySet[Robot]:
    if level is None or level == Robot.Level.SYSTEM:
        call.require(Permission.ROBOT_LIST)
        return Robot.objects.filter(level=Robot.Level.SYSTEM)
    if level != Robot.Level.PROJECT:
        raise errors.BadRequest("bad request error level input")
    if project_id is None:
        raise errors.BadRequest("must with project ID when to query project robots")
    if not (project_id.isascii() and project_id.isdigit() and 0 < int(project_id) < 2**63):
        raise errors.BadRequest("ProjectID must be a positive integer")
    project = Project.objects.select_related("namespace").filter(pk=int(project_id)).first()
    if project is None and not call.identity.principal.is_admin:
        raise absent_project(call.identity, Permission.ROBOT_LIST, project_id)
    if project is not None:
        require(call.identity, Permission.ROBOT_LIST, project)
    return Robot.objects.filter(level=Robot.Level.PROJECT, project=int(project_id))


def create_robot(call: Call) -> Answer:
    body = call.body
    robots.check_name(body.get("name", ""))
    request = _read(call, Permission.ROBOT_CREATE, 0)
    require(call.identity, Permission.ROBOT_CREATE, request.project)
    robot, secret = robots.create(
        call.identity, body["name"], request, description=body.get("description", "")
    )
    shown = {
        "id": robot.pk,
        "name": robots.full_name(robot),
        "secret": secret,
        "creation_time": robot.created_at,
        "expires_at": robot.expires_at,
    }
    return created(call, robot.pk, shown)


def _read(call: Call, permission: Permission, duration: int) -> robots.Request:
    """The body. Which projects there are is told to who sees them all; others hear what they hear of hidden ones."""
    body = call.body
    level = body.get("level", "")
    try:
        return robots.parse_request(level, body.get("duration", duration), body.get("permissions"))
    except errors.NotFound:
        if call.identity.principal.is_admin:
            raise
        if level == Robot.Level.SYSTEM:
            call.require(permission)
            raise robots.too_much(call.identity) from None
        if permission == Permission.ROBOT_UPDATE:
            raise errors.BadRequest(robots.OTHER_PROJECT) from None
        name = str(body["permissions"][0].get("namespace") or "")
        raise absent_project(call.identity, permission, name) from None


def _get(call: Call, permission: Permission) -> Robot:
    """The robot of the path; that there is none is told to who may see those of the system."""
    number = call.path["robot_id"]
    absent = errors.NotFound(f"robot {number} not found")
    robot = Robot.objects.select_related("project__namespace").filter(pk=number).first()
    if robot is not None and robot.project is not None:
        addressing.require_by_id(call, permission, robot.project, absent)
        return robot
    call.require(permission)
    if robot is None:
        raise absent
    return robot


def get_robot_by_id(call: Call) -> Answer:
    return Answer(present_robots([_get(call, Permission.ROBOT_READ)])[0])


def update_robot(call: Call) -> Answer:
    robot = _get(call, Permission.ROBOT_UPDATE)
    body = call.body
    request = _read(call, Permission.ROBOT_UPDATE, robot.duration)
    if body.get("name") != robots.full_name(robot) or request.level != robot.level:
        raise errors.BadRequest("cannot update the level or name of robot")
    robots.update(
        call.identity,
        robot,
        request,
        description=body.get("description", ""),
        disable=body.get("disable", False),
    )
    return Answer()


def refresh_sec(call: Call) -> Answer:
    """A secret that was chosen is not repeated; a random one is shown this once."""
    robot = _get(call, Permission.ROBOT_UPDATE)
    chosen = call.body.get("secret", "")
    secret = robots.renew_secret(call.identity, robot, chosen)
    return Answer({} if chosen else {"secret": secret})


def delete_robot(call: Call) -> Answer:
    robots.delete(call.identity, _get(call, Permission.ROBOT_DELETE))
    return Answer()
