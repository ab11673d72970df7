"""Every permission there is, and who holds it: the role matrix and the catalogue of robots (contract 4)."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from rbac.models import Member


class Permission(StrEnum):
    """`resource:action`; the same name is asked of a project and, without one, of the system."""

    PROJECT_CREATE = "project:create"
    PROJECT_READ = "project:read"
    PROJECT_UPDATE = "project:update"
    PROJECT_DELETE = "project:delete"
    PROJECT_LIST = "project:list"
    MEMBER_CREATE = "member:create"
    MEMBER_READ = "member:read"
    MEMBER_UPDATE = "member:update"
    MEMBER_DELETE = "member:delete"
    MEMBER_LIST = "member:list"
    METADATA_CREATE = "metadata:create"
    METADATA_READ = "metadata:read"
    METADATA_UPDATE = "metadata:update"
    METADATA_DELETE = "metadata:delete"
    METADATA_LIST = "metadata:list"
    LOG_LIST = "log:list"
    LABEL_CREATE = "label:create"
    LABEL_READ = "label:read"
    LABEL_UPDATE = "label:update"
    LABEL_DELETE = "label:delete"
    LABEL_LIST = "label:list"
    QUOTA_READ = "quota:read"
    QUOTA_UPDATE = "quota:update"
    QUOTA_LIST = "quota:list"
    REPOSITORY_CREATE = "repository:create"
    REPOSITORY_READ = "repository:read"
    REPOSITORY_UPDATE = "repository:update"
    REPOSITORY_DELETE = "repository:delete"
    REPOSITORY_LIST = "repository:list"
    REPOSITORY_PULL = "repository:pull"
    REPOSITORY_PUSH = "repository:push"
    TAG_RETENTION_CREATE = "tag-retention:create"
    TAG_RETENTION_READ = "tag-retention:read"
    TAG_RETENTION_UPDATE = "tag-retention:update"
    TAG_RETENTION_DELETE = "tag-retention:delete"
    TAG_RETENTION_LIST = "tag-retention:list"
    TAG_RETENTION_OPERATE = "tag-retention:operate"
    IMMUTABLE_TAG_CREATE = "immutable-tag:create"
    IMMUTABLE_TAG_UPDATE = "immutable-tag:update"
    IMMUTABLE_TAG_DELETE = "immutable-tag:delete"
    IMMUTABLE_TAG_LIST = "immutable-tag:list"
    CONFIGURATION_READ = "configuration:read"
    CONFIGURATION_UPDATE = "configuration:update"
    ROBOT_CREATE = "robot:create"
    ROBOT_READ = "robot:read"
    ROBOT_UPDATE = "robot:update"
    ROBOT_DELETE = "robot:delete"
    ROBOT_LIST = "robot:list"
    NOTIFICATION_POLICY_CREATE = "notification-policy:create"
    NOTIFICATION_POLICY_READ = "notification-policy:read"
    NOTIFICATION_POLICY_UPDATE = "notification-policy:update"
    NOTIFICATION_POLICY_DELETE = "notification-policy:delete"
    NOTIFICATION_POLICY_LIST = "notification-policy:list"
    SCAN_CREATE = "scan:create"
    SCAN_READ = "scan:read"
    SCAN_STOP = "scan:stop"
    SBOM_CREATE = "sbom:create"
    SBOM_READ = "sbom:read"
    SBOM_STOP = "sbom:stop"
    SCANNER_CREATE = "scanner:create"
    SCANNER_READ = "scanner:read"
    SCANNER_UPDATE = "scanner:update"
    SCANNER_DELETE = "scanner:delete"
    SCANNER_LIST = "scanner:list"
    ARTIFACT_CREATE = "artifact:create"
    ARTIFACT_READ = "artifact:read"
    ARTIFACT_DELETE = "artifact:delete"
    ARTIFACT_LIST = "artifact:list"
    ARTIFACT_ADDITION_READ = "artifact-addition:read"
    TAG_CREATE = "tag:create"
    TAG_DELETE = "tag:delete"
    TAG_LIST = "tag:list"
    ACCESSORY_LIST = "accessory:list"
    ARTIFACT_LABEL_CREATE = "artifact-label:create"
    ARTIFACT_LABEL_DELETE = "artifact-label:delete"
    PREHEAT_POLICY_CREATE = "preheat-policy:create"
    PREHEAT_POLICY_READ = "preheat-policy:read"
    PREHEAT_POLICY_UPDATE = "preheat-policy:update"
    PREHEAT_POLICY_DELETE = "preheat-policy:delete"
    PREHEAT_POLICY_LIST = "preheat-policy:list"
    EXPORT_CVE_CREATE = "export-cve:create"
    EXPORT_CVE_READ = "export-cve:read"
    EXPORT_CVE_LIST = "export-cve:list"
    CATALOG_READ = "catalog:read"
    AUDIT_LOG_LIST = "audit-log:list"
    USER_CREATE = "user:create"
    USER_READ = "user:read"
    USER_UPDATE = "user:update"
    USER_DELETE = "user:delete"
    USER_LIST = "user:list"
    USER_GROUP_CREATE = "user-group:create"
    USER_GROUP_READ = "user-group:read"
    USER_GROUP_UPDATE = "user-group:update"
    USER_GROUP_DELETE = "user-group:delete"
    USER_GROUP_LIST = "user-group:list"
    REGISTRY_CREATE = "registry:create"
    REGISTRY_READ = "registry:read"
    REGISTRY_UPDATE = "registry:update"
    REGISTRY_DELETE = "registry:delete"
    REGISTRY_LIST = "registry:list"
    REPLICATION_CREATE = "replication:create"
    REPLICATION_READ = "replication:read"
    REPLICATION_UPDATE = "replication:update"
    REPLICATION_DELETE = "replication:delete"
    REPLICATION_LIST = "replication:list"
    DISTRIBUTION_CREATE = "distribution:create"
    DISTRIBUTION_READ = "distribution:read"
    DISTRIBUTION_UPDATE = "distribution:update"
    DISTRIBUTION_DELETE = "distribution:delete"
    DISTRIBUTION_LIST = "distribution:list"
    GARBAGE_COLLECTION_CREATE = "garbage-collection:create"
    GARBAGE_COLLECTION_READ = "garbage-collection:read"
    GARBAGE_COLLECTION_UPDATE = "garbage-collection:update"
    GARBAGE_COLLECTION_DELETE = "garbage-collection:delete"
    GARBAGE_COLLECTION_LIST = "garbage-collection:list"
    GARBAGE_COLLECTION_STOP = "garbage-collection:stop"
    SCAN_ALL_CREATE = "scan-all:create"
    SCAN_ALL_READ = "scan-all:read"
    SCAN_ALL_UPDATE = "scan-all:update"
    SCAN_ALL_DELETE = "scan-all:delete"
    SCAN_ALL_LIST = "scan-all:list"
    SCAN_ALL_STOP = "scan-all:stop"
    SYSTEM_VOLUMES_READ = "system-volumes:read"
    LDAP_USER_CREATE = "ldap-user:create"
    LDAP_USER_LIST = "ldap-user:list"
    JOBSERVICE_MONITOR_READ = "jobservice-monitor:read"
    JOBSERVICE_MONITOR_LIST = "jobservice-monitor:list"
    JOBSERVICE_MONITOR_STOP = "jobservice-monitor:stop"
    SECURITY_HUB_READ = "security-hub:read"
    SECURITY_HUB_LIST = "security-hub:list"
    PREHEAT_INSTANCE_CREATE = "preheat-instance:create"
    PREHEAT_INSTANCE_READ = "preheat-instance:read"
    PREHEAT_INSTANCE_UPDATE = "preheat-instance:update"
    PREHEAT_INSTANCE_DELETE = "preheat-instance:delete"
    PREHEAT_INSTANCE_LIST = "preheat-instance:list"
    REPLICATION_POLICY_CREATE = "replication-policy:create"
    REPLICATION_POLICY_READ = "replication-policy:read"
    REPLICATION_POLICY_UPDATE = "replication-policy:update"
    REPLICATION_POLICY_DELETE = "replication-policy:delete"
    REPLICATION_POLICY_LIST = "replication-policy:list"
    REPLICATION_ADAPTER_LIST = "replication-adapter:list"
    PURGE_AUDIT_CREATE = "purge-audit:create"
    PURGE_AUDIT_READ = "purge-audit:read"
    PURGE_AUDIT_UPDATE = "purge-audit:update"
    PURGE_AUDIT_LIST = "purge-audit:list"
    PURGE_AUDIT_STOP = "purge-audit:stop"


_LETTERS = {"C": "create", "R": "read", "U": "update", "D": "delete", "L": "list"}


def _row(resource: str, cell: str) -> set[Permission]:
    """The contract's shorthand: letters for create, read, update, delete, list; other actions in full."""
    words = cell.split()
    actions = [_LETTERS[letter] for w in words if w.isupper() for letter in w] + [
        w for w in words if w.islower()
    ]
    return {Permission(f"{resource}:{action}") for action in actions}


def _table(text: str) -> frozenset[Permission]:
    rows = (line.split(maxsplit=1) for line in text.strip().splitlines())
    return frozenset().union(*(_row(resource, cell) for resource, cell in rows))


# Contract 4.2: projectAdmin, maintainer, developer, guest, limitedGuest, anybody on a public project.
_MATRIX = """
project             | RUD             | R               | R              | R       | R       | R
member              | CRUDL           | RL              | RL             | RL      |         |
metadata            | CRUD            | R               |                |         |         |
log                 | L               |                 |                |         |         |
label               | CRUDL           | CRUDL           | RL             | RL      |         | RL
quota               | R               | R               | R              | R       | R       |
repository          | CRUDL pull push | CRUDL pull push | CRUL pull push | RL pull | RL pull | L pull
tag-retention       | CRUDL operate   | CRUDL operate   | CRUDL operate  |         |         |
immutable-tag       | CUDL            | CUDL            |                |         |         |
configuration       | RU              | R               | R              | R       | R       |
robot               | CRUDL           | RL              | RL             | RL      |         |
notification-policy | CRUDL           | RL              |                |         |         |
scan                | CR stop         | CR stop         | R              | R       | R       | R
sbom                | CR stop         | CR stop         | R              | R       | R       |
scanner             | CR              | R               | R              | R       | R       | R
artifact            | CRDL            | CRDL            | CRL            | RL      | RL      | RL
artifact-addition   | R               | R               | R              | R       | R       | R
tag                 | CDL             | CDL             | CL             | L       | L       | L
accessory           | L               | L               | L              | L       | L       | L
artifact-label      | CD              | CD              | CD             |         |         |
preheat-policy      | CRUDL           |                 |                |         |         |
export-cve          | CRL             | CRL             | CRL            |         |         |
"""
_CELLS = [[cell.strip() for cell in line.split("|")] for line in _MATRIX.strip().splitlines()]


def _column(number: int) -> frozenset[Permission]:
    return frozenset().union(*(_row(cells[0], cells[number]) for cells in _CELLS))


ROLE_PERMISSIONS: Mapping[int, frozenset[Permission]] = {
    Member.Role.PROJECT_ADMIN: _column(1),
    Member.Role.MAINTAINER: _column(2),
    Member.Role.DEVELOPER: _column(3),
    Member.Role.GUEST: _column(4),
    Member.Role.LIMITED_GUEST: _column(5),
}
ROLE_NAMES: Mapping[int, str] = {
    Member.Role.PROJECT_ADMIN: "projectAdmin",
    Member.Role.MAINTAINER: "maintainer",
    Member.Role.DEVELOPER: "developer",
    Member.Role.GUEST: "guest",
    Member.Role.LIMITED_GUEST: "limitedGuest",
}
PUBLIC_PERMISSIONS = _column(6)
# Who is asked first when several roles are held (contract 4.1).
ROLES_BY_POWER = tuple(ROLE_PERMISSIONS)

# Contract 4.3: what a system administrator is told to hold; the checks ask for the flag alone.
SYSTEM_PERMISSIONS = _table("""
catalog R
audit-log L
project CRUDL
user CRUDL
user-group CRUDL
registry CRUDL
replication CRUDL
distribution CRUDL
garbage-collection CRUDL
scan-all CRUDL stop
system-volumes R
ldap-user CL
configuration RU
jobservice-monitor RL stop
security-hub RL
""")
# Contract 4.5: what a robot may be given, of the system and of a project.
ROBOT_SYSTEM_PERMISSIONS = _table("""
audit-log L
preheat-instance CRUDL
project CL
replication-policy CRUDL
replication CRL
replication-adapter L
registry CRUDL
scan-all CRU stop
system-volumes R
garbage-collection CRUL stop
purge-audit CRUL stop
jobservice-monitor L stop
scanner CRUDL
label CRUD
security-hub RL
catalog R
quota RUL
robot CRDL
user CRUDL
ldap-user CL
user-group CRUDL
""")
ROBOT_PROJECT_PERMISSIONS = _table("""
log L
project RUD
metadata CRUDL
repository RUDL pull push
artifact CRDL
scan CR stop
sbom CR stop
tag CDL
accessory L
artifact-addition R
artifact-label CD
scanner CR
preheat-policy CRUDL
immutable-tag CUDL
notification-policy CRUDL
tag-retention CRUDL
label CRUDL
quota R
robot CRDL
export-cve CR
member CRUDL
""")
EVERY_PERMISSION = frozenset(Permission)
BY_NAME: Mapping[str, Permission] = {permission.value: permission for permission in Permission}
