"""Every operation that the matrix asks for: what it needs (contract, section 4), and what it answers to who holds that.

Names in braces are filled from a place of world.py. `others` are further objects behind the same route, each with what
is put in place of the present one and the status for who may; nobody else may be told them apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.security.world import ABSENT, ABSENT_DIGEST

ANSWERED = 0  # any status but a refusal
Others = dict[str, tuple[dict[str, str], int]]


@dataclass(frozen=True)
class Route:
    """`permission`: resource:action, or `sign-in`, or `nothing`, or `admin` for what only a system admin may."""

    operation: str
    method: str
    path: str
    permission: str
    ok: int = 200
    body: Any = None
    others: Others = field(default_factory=dict)
    needs_sign_in: bool = False
    of_nothing: int = 404  # an absent project, to who may know


ICON = "sha256:0048162a053eef4d4ce3fe7518615bef084403614f8bca43b40ae2e762e11e06"  # of an image
NO_UUID = "00000000-0000-0000-0000-000000000000"
_PROJECT = "/projects/{project}"
_REPOSITORY = _PROJECT + "/repositories/{repository}"
_ARTIFACT = _REPOSITORY + "/artifacts/{digest}"


def _absent(name: str, status: int = 404) -> Others:
    value = {"digest": ABSENT_DIGEST, "repository": "nothing"}.get(name, str(ABSENT))
    return {f"absent {name}": ({name: value}, status)}


def _repository(status: int = 404, *, second: int = 200) -> Others:
    return _absent("repository", status) | {"another repository": ({"repository": "app2"}, second)}


def _artifact(*, second: int = 200) -> Others:
    elsewhere = {"another repository": ({"repository": "app2", "digest": "v1"}, second)}
    return _absent("repository") | _absent("digest") | elsewhere


_ROBOT = {
    "level": "project", "duration": -1, "permissions": [
        {"kind": "project", "namespace": "{project}", "access": [{"resource": "repository", "action": "pull"}]}
    ],
}  # fmt: skip
_SYSTEM_ROBOT = {
    "level": "system", "duration": -1, "permissions": [
        {"kind": "system", "namespace": "/", "access": [{"resource": "label", "action": "read"}]}
    ],
}  # fmt: skip
_MEMBER = _PROJECT + "/members/{member}"

IN_PROJECTS = (
    Route("getProject", "GET", _PROJECT, "project:read"),
    Route("updateProject", "PUT", _PROJECT, "project:update", body={"metadata": {"auto_scan": "true"}}),
    Route("deleteProject", "DELETE", _PROJECT, "project:delete", 412),
    Route("getProjectDeletable", "GET", _PROJECT + "/_deletable", "project:delete"),
    Route("getProjectSummary", "GET", _PROJECT + "/summary", "project:read"),
    Route("listArtifactsOfProject", "GET", _PROJECT + "/artifacts", "artifact:list", needs_sign_in=True),
    Route("getLogs", "GET", _PROJECT + "/logs", "log:list"),
    Route("getLogExts", "GET", _PROJECT + "/auditlog-exts", "log:list"),
    Route("getScannerOfProject", "GET", _PROJECT + "/scanner", "scanner:read", needs_sign_in=True),
    Route("listScannerCandidatesOfProject", "GET", _PROJECT + "/scanner/candidates", "scanner:create"),
    Route("setScannerOfProject", "PUT", _PROJECT + "/scanner", "scanner:create", 200, {"uuid": NO_UUID}),
    # member
    Route("listProjectMembers", "GET", _PROJECT + "/members", "member:list"),
    Route("createProjectMember", "POST", _PROJECT + "/members", "member:create", 201,
          {"role_id": 3, "member_user": {"username": "{candidate}"}}),
    Route("getProjectMember", "GET", _MEMBER, "member:read", others=_absent("member")),
    Route("updateProjectMember", "PUT", _MEMBER, "member:update", 200, {"role_id": 2}, _absent("member", 200)),
    Route("deleteProjectMember", "DELETE", _MEMBER, "member:delete", others=_absent("member", 200)),
    # projectMetadata
    Route("listProjectMetadatas", "GET", _PROJECT + "/metadatas/", "metadata:list"),
    Route("addProjectMetadatas", "POST", _PROJECT + "/metadatas/", "metadata:create", body={"auto_scan": "true"}),
    Route("getProjectMetadata", "GET", _PROJECT + "/metadatas/public", "metadata:read"),
    Route("updateProjectMetadata", "PUT", _PROJECT + "/metadatas/public", "metadata:update", body={"public": "true"}),
    Route("deleteProjectMetadata", "DELETE", _PROJECT + "/metadatas/public", "metadata:delete"),
    # repository, artifact
    Route("listRepositories", "GET", _PROJECT + "/repositories", "repository:list"),
    Route("getRepository", "GET", _REPOSITORY, "repository:read", others=_repository()),
    Route("updateRepository", "PUT", _REPOSITORY, "repository:update", 200, {"description": "new"}, _repository()),
    Route("deleteRepository", "DELETE", _REPOSITORY, "repository:delete", others=_repository()),
    Route("listArtifacts", "GET", _REPOSITORY + "/artifacts", "artifact:list", others=_repository(200), of_nothing=200),
    Route("CopyArtifact", "POST", _PROJECT + "/repositories/copied/artifacts?from={project}/app:v1", "artifact:create",
          201),
    Route("getArtifact", "GET", _ARTIFACT, "artifact:read", others=_artifact()),
    Route("deleteArtifact", "DELETE", _ARTIFACT, "artifact:delete", others=_artifact()),
    Route("listTags", "GET", _ARTIFACT + "/tags", "tag:list", others=_artifact()),
    Route("createTag", "POST", _ARTIFACT + "/tags", "tag:create", 201, {"name": "v9"}, _artifact(second=201)),
    Route("deleteTag", "DELETE", _ARTIFACT + "/tags/v1", "tag:delete", others=_artifact()),
    Route("listAccessories", "GET", _ARTIFACT + "/accessories", "accessory:list", others=_artifact()),
    Route("getAddition", "GET", _ARTIFACT + "/additions/build_history", "artifact-addition:read", others=_artifact()),
    Route("getVulnerabilitiesAddition", "GET", _ARTIFACT + "/additions/vulnerabilities", "artifact-addition:read",
          others=_artifact()),
    Route("addLabel", "POST", _ARTIFACT + "/labels", "artifact-label:create", 200, {"id": "{free_label}"},
          _artifact() | _absent("free_label")),
    Route("removeLabel", "DELETE", _ARTIFACT + "/labels/{label}", "artifact-label:delete",
          others=_artifact(second=404) | _absent("label")),
    # label, robot
    Route("ListLabels", "GET", "/labels?scope=p&project_id={project_id}", "label:list", of_nothing=200),
    Route("CreateLabel", "POST", "/labels", "label:create", 201,
          {"name": "new", "scope": "p", "project_id": "{project_id}"}, of_nothing=201),
    Route("GetLabelByID", "GET", "/labels/{label}", "label:read"),
    Route("UpdateLabel", "PUT", "/labels/{label}", "label:update", body={"name": "renamed"}),
    Route("DeleteLabel", "DELETE", "/labels/{label}", "label:delete"),
    Route("ListRobot", "GET", "/robots?q=Level%3Dproject,ProjectID%3D{project_id}", "robot:list", of_nothing=200),
    Route("CreateRobot", "POST", "/robots", "robot:create", 201, _ROBOT | {"name": "new"}),
    Route("GetRobotByID", "GET", "/robots/{robot}", "robot:read"),
    Route("UpdateRobot", "PUT", "/robots/{robot}", "robot:update", 200,
          _ROBOT | {"name": "robot${robot_name}", "description": "new"}),
    Route("RefreshSec", "PATCH", "/robots/{robot}", "robot:update", 200, {}),
    Route("DeleteRobot", "DELETE", "/robots/{robot}", "robot:delete"),
)  # fmt: skip

_NOWHERE = {"ldap_url": "ldap://127.0.0.1:1", "ldap_base_dn": "dc=example,dc=org"}
_USER = {"username": "fresh", "email": "fresh@example.org", "realname": "fresh", "password": "Passw0rd-1x"}
_PROFILE = {"email": "renamed@example.org", "realname": "renamed", "comment": ""}

IN_SYSTEM = (
    Route("getHealth", "GET", "/health", "nothing"),
    Route("getPing", "GET", "/ping", "nothing"),
    Route("getSystemInfo", "GET", "/systeminfo", "nothing"),
    Route("getCert", "GET", "/systeminfo/getcert", "nothing", 404),
    Route("getVolumes", "GET", "/systeminfo/volumes", "system-volumes:read"),
    Route("getIcon", "GET", f"/icons/{ICON}", "nothing"),
    Route("search", "GET", "/search?q=mine", "nothing"),
    Route("getStatistic", "GET", "/statistics", "sign-in"),
    Route("listProjects", "GET", "/projects", "nothing"),
    Route("listAllRepositories", "GET", "/repositories", "nothing"),
    Route("headProject", "HEAD", "/projects?project_name=mine", "sign-in"),
    # auditlog: each sees what it may
    Route("listAuditLogExts", "GET", "/auditlog-exts", "sign-in"),
    Route("listAuditLogs", "GET", "/audit-logs", "sign-in"),
    Route("listAuditLogEventTypes", "GET", "/auditlog-exts/events", "audit-log:list"),
    # user
    Route("listUsers", "GET", "/users", "user:list"),
    Route("searchUsers", "GET", "/users/search?username=some", "sign-in"),
    Route("createUser", "POST", "/users", "user:create", 201, _USER),
    Route("getUser", "GET", "/users/{user}", "user:read", others=_absent("user")),
    Route("updateUserProfile", "PUT", "/users/{user}", "user:update", 200, _PROFILE, _absent("user")),
    Route("setUserSysAdmin", "PUT", "/users/{user}/sysadmin", "user:update", 200, {"sysadmin_flag": True},
          _absent("user")),
    Route("updateUserPassword", "PUT", "/users/{user}/password", "user:update", 200,
          {"new_password": "0ther-Passw0rd"}, _absent("user")),
    Route("deleteUser", "DELETE", "/users/{user}", "user:delete", others=_absent("user")),
    Route("setCliSecret", "PUT", "/users/{user}/cli_secret", "nothing", 412, {"secret": "Passw0rd-1x"}),
    Route("getCurrentUserPermissions", "GET", "/users/current/permissions?scope=/system", "sign-in"),
    # usergroup
    Route("listUserGroups", "GET", "/usergroups", "user-group:list"),
    Route("searchUserGroups", "GET", "/usergroups/search?groupname=people", "sign-in"),
    Route("createUserGroup", "POST", "/usergroups", "user-group:create", 201, {"group_name": "more", "group_type": 3}),
    Route("getUserGroup", "GET", "/usergroups/{group}", "user-group:read", others=_absent("group")),
    Route("updateUserGroup", "PUT", "/usergroups/{group}", "user-group:update", 200, {"group_name": "others"},
          _absent("group")),
    Route("deleteUserGroup", "DELETE", "/usergroups/{group}", "user-group:delete", others=_absent("group", 200)),
    # label, robot
    Route("ListLabels", "GET", "/labels?scope=g", "nothing"),
    Route("CreateLabel", "POST", "/labels", "label:create", 201, {"name": "new", "scope": "g"}),
    Route("GetLabelByID", "GET", "/labels/{label}", "label:read", others=_absent("label")),
    Route("UpdateLabel", "PUT", "/labels/{label}", "label:update", 200, {"name": "renamed"}, _absent("label")),
    Route("DeleteLabel", "DELETE", "/labels/{label}", "label:delete", others=_absent("label")),
    Route("ListRobot", "GET", "/robots", "robot:list"),
    Route("CreateRobot", "POST", "/robots", "robot:create", 201, _SYSTEM_ROBOT | {"name": "new"}),
    Route("GetRobotByID", "GET", "/robots/{robot}", "robot:read", others=_absent("robot")),
    Route("UpdateRobot", "PUT", "/robots/{robot}", "robot:update", 200,
          _SYSTEM_ROBOT | {"name": "robot${robot_name}", "description": "new"}, _absent("robot")),
    Route("RefreshSec", "PATCH", "/robots/{robot}", "robot:update", 200, {}, _absent("robot")),
    Route("DeleteRobot", "DELETE", "/robots/{robot}", "robot:delete", others=_absent("robot")),
    # Ldap, oidc: where nobody answers, whatever that comes to
    Route("pingLdap", "POST", "/ldap/ping", "admin", ANSWERED, _NOWHERE),
    Route("searchLdapUser", "GET", "/ldap/users/search?username=x", "ldap-user:list", ANSWERED),
    Route("importLdapUser", "POST", "/ldap/users/import", "ldap-user:create", ANSWERED, {"ldap_uid_list": ["x"]}),
    Route("searchLdapGroup", "GET", "/ldap/groups/search?groupname=x", "ldap-user:list", ANSWERED),
    Route("pingOIDC", "POST", "/system/oidc/ping", "admin", ANSWERED, {"url": "http://127.0.0.1:1"}),
    # quota, configure, SystemCVEAllowlist
    Route("listQuotas", "GET", "/quotas", "quota:list"),
    Route("getQuota", "GET", "/quotas/{quota}", "quota:read", others=_absent("quota")),
    Route("updateQuota", "PUT", "/quotas/{quota}", "quota:update", 200, {"hard": {"storage": 1048576}},
          _absent("quota")),
    Route("getConfigurations", "GET", "/configurations", "admin"),
    Route("updateConfigurations", "PUT", "/configurations", "admin", 200, {"session_timeout": 61}),
    Route("getSystemCVEAllowlist", "GET", "/system/CVEAllowlist", "sign-in"),
    Route("putSystemCVEAllowlist", "PUT", "/system/CVEAllowlist", "admin", 200, {"items": []}),
)  # fmt: skip

# Who gets what where it hangs on what the caller is, not on what it holds; everybody else gets the last one.
PEOPLE = ("outsider", "projectAdmin", "maintainer", "developer", "guest", "limitedGuest", "admin of another project",
          "system admin")  # fmt: skip
BY_CALLER: tuple[tuple[Route, Mapping[str, int], int], ...] = (
    (Route("createProject", "POST", "/projects", "", body={"project_name": "fresh"}),
     dict.fromkeys((*PEOPLE, "system robot"), 201), 403),
    (Route("getInternalconfig", "GET", "/internalconfig", ""), {}, 401),  # a back door that is not built
    (Route("getCurrentUserInfo", "GET", "/users/current", ""), dict.fromkeys(PEOPLE, 200), 412),
    (Route("getPermissions", "GET", "/permissions", ""),
     dict.fromkeys(("projectAdmin", "admin of another project", "system admin"), 200), 403),
)  # fmt: skip
