"""The operations of the contract that are built, by Harbor's name for them; the others answer 404 (errors.NotBuilt)."""

from __future__ import annotations

from collections.abc import Mapping

from django.urls import path, re_path

from api import (
    accessories,
    additions,
    artifact_tags,
    artifacts,
    auditing,
    auditlogs,
    configurations,
    copying,
    cve_allowlists,
    health,
    icons,
    labels,
    landing,
    ldap,
    login,
    members,
    metrics,
    oidc,
    pages,
    permissions,
    ping,
    project_metadata,
    project_scanners,
    projects,
    quotas,
    repositories,
    robots,
    search,
    statistics,
    systeminfo,
    token,
    usergroups,
    users,
)
from api.dispatch import ContractView, View

OPERATIONS: Mapping[str, View] = {
    # health, ping, systeminfo
    "getHealth": health.get_health,
    "getPing": ping.get_ping,
    "getSystemInfo": systeminfo.get_system_info,
    "getVolumes": systeminfo.get_volumes,
    "getCert": systeminfo.get_cert,
    # configure
    "getInternalconfig": configurations.get_internalconfig,
    "getConfigurations": configurations.get_configurations,
    "updateConfigurations": configurations.update_configurations,
    # search, statistic
    "search": search.search,
    "getStatistic": statistics.get_statistic,
    # Ldap
    "pingLdap": ldap.ping_ldap,
    "searchLdapUser": ldap.search_ldap_user,
    "importLdapUser": ldap.import_ldap_user,
    # oidc
    "pingOIDC": oidc.ping_oidc,
    "searchLdapGroup": ldap.search_ldap_group,
    # user
    "listUsers": users.list_users,
    "searchUsers": users.search_users,
    "createUser": users.create_user,
    "getCurrentUserInfo": users.get_current_user_info,
    "getCurrentUserPermissions": users.get_current_user_permissions,
    "getUser": users.get_user,
    "updateUserProfile": users.update_user_profile,
    "updateUserPassword": users.update_user_password,
    "setUserSysAdmin": users.set_user_sysadmin,
    "setCliSecret": users.set_cli_secret,
    "deleteUser": users.delete_user,
    # project, projectMetadata
    "listProjects": projects.list_projects,
    "headProject": projects.head_project,
    "createProject": projects.create_project,
    "getProject": projects.get_project,
    "updateProject": projects.update_project,
    "deleteProject": projects.delete_project,
    "getProjectDeletable": projects.get_project_deletable,
    "getProjectSummary": projects.get_project_summary,
    "getScannerOfProject": project_scanners.get_scanner_of_project,
    "listScannerCandidatesOfProject": project_scanners.list_scanner_candidates_of_project,
    "setScannerOfProject": project_scanners.set_scanner_of_project,
    "listProjectMetadatas": project_metadata.list_project_metadatas,
    "addProjectMetadatas": project_metadata.add_project_metadatas,
    "getProjectMetadata": project_metadata.get_project_metadata,
    "updateProjectMetadata": project_metadata.update_project_metadata,
    "deleteProjectMetadata": project_metadata.delete_project_metadata,
    # member
    "listProjectMembers": members.list_project_members,
    "createProjectMember": members.create_project_member,
    "getProjectMember": members.get_project_member,
    "updateProjectMember": members.update_project_member,
    "deleteProjectMember": members.delete_project_member,
    # usergroup
    "listUserGroups": usergroups.list_user_groups,
    "searchUserGroups": usergroups.search_user_groups,
    "createUserGroup": usergroups.create_user_group,
    "getUserGroup": usergroups.get_user_group,
    "updateUserGroup": usergroups.update_user_group,
    "deleteUserGroup": usergroups.delete_user_group,
    # robot, permissions
    "ListRobot": robots.list_robot,
    "CreateRobot": robots.create_robot,
    "GetRobotByID": robots.get_robot_by_id,
    "UpdateRobot": robots.update_robot,
    "RefreshSec": robots.refresh_sec,
    "DeleteRobot": robots.delete_robot,
    "getPermissions": permissions.get_permissions,
    # quota
    "listQuotas": quotas.list_quotas,
    "getQuota": quotas.get_quota,
    "updateQuota": quotas.update_quota,
    # SystemCVEAllowlist
    "getSystemCVEAllowlist": cve_allowlists.get_system_cve_allowlist,
    "putSystemCVEAllowlist": cve_allowlists.put_system_cve_allowlist,
    # repository
    "listAllRepositories": repositories.list_all_repositories,
    "listRepositories": repositories.list_repositories,
    "getRepository": repositories.get_repository,
    "updateRepository": repositories.update_repository,
    "deleteRepository": repositories.delete_repository,
    # artifact
    "listArtifacts": artifacts.list_artifacts,
    "listArtifactsOfProject": artifacts.list_artifacts_of_project,
    "CopyArtifact": copying.copy_artifact,
    "getArtifact": artifacts.get_artifact,
    "deleteArtifact": artifacts.delete_artifact,
    "listTags": artifact_tags.list_tags,
    "createTag": artifact_tags.create_tag,
    "deleteTag": artifact_tags.delete_tag,
    "listAccessories": accessories.list_accessories,
    "getVulnerabilitiesAddition": additions.get_vulnerabilities_addition,
    "getAddition": additions.get_addition,
    "addLabel": labels.add_label,
    "removeLabel": labels.remove_label,
    # auditlog
    "listAuditLogs": auditlogs.list_audit_logs,
    "listAuditLogExts": auditlogs.list_audit_log_exts,
    "listAuditLogEventTypes": auditlogs.list_audit_log_event_types,
    "getLogs": auditlogs.get_logs,
    "getLogExts": auditlogs.get_log_exts,
    # icon
    "getIcon": icons.get_icon,
    # label
    "ListLabels": labels.list_labels,
    "CreateLabel": labels.create_label,
    "GetLabelByID": labels.get_label_by_id,
    "UpdateLabel": labels.update_label,
    "DeleteLabel": labels.delete_label,
}

contract_view = ContractView.as_view(operations=OPERATIONS, note_failure=auditing.note_failure)

urlpatterns = [
    re_path(r"^api/v2\.0(?:/|$)", contract_view),
    path("api/version", pages.version),
    path("c/login", login.log_in),
    path("c/log_out", login.log_out),
    re_path(r"^c/oidc/(?:login|callback|logout|onboard)$", oidc.page),
    path("c/authproxy/redirect", oidc.auth_proxy),
    path("c/userExists", login.user_exists),
    path("service/token", token.service_token),
    path("metrics", metrics.page),
    path("", landing.page),
    re_path(r"", pages.elsewhere, {"contract_view": contract_view}),
]
