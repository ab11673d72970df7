"""Who may what, transcribed from section 4 of Harbor's contract: not read from the product's own tables.

C create, R read, U update, D delete, L list; other actions in full.
"""

from __future__ import annotations

LETTERS = {"C": "create", "R": "read", "U": "update", "D": "delete", "L": "list"}

# 4.2: projectAdmin, maintainer, developer, guest, limitedGuest, and anybody on a public project.
ROLES = ("projectAdmin", "maintainer", "developer", "guest", "limitedGuest", "public")
MATRIX = """
project            | RUD             | R               | R              | R       | R       | R
member             | CRUDL           | RL              | RL             | RL      |         |
metadata           | CRUD            | R               |                |         |         |
log                | L               |                 |                |         |         |
label              | CRUDL           | CRUDL           | RL             | RL      |         | RL
quota              | R               | R               | R              | R       | R       |
repository         | CRUDL pull push | CRUDL pull push | CRUL pull push | RL pull | RL pull | L pull
configuration      | RU              | R               | R              | R       | R       |
robot              | CRUDL           | RL              | RL             | RL      |         |
artifact           | CRDL            | CRDL            | CRL            | RL      | RL      | RL
artifact-addition  | R               | R               | R              | R       | R       | R
tag                | CDL             | CDL             | CL             | L       | L       | L
accessory          | L               | L               | L              | L       | L       | L
artifact-label     | CD              | CD              | CD             |         |         |
scanner            | CR              | R               | R              | R       | R       | R
"""

# 4.5: what a robot may be given, in the system and in a project.
SYSTEM_CATALOGUE = """
audit-log L; preheat-instance CRUDL; project CL; replication-policy CRUDL; replication CRL; replication-adapter L;
registry CRUDL; scan-all CRU stop; system-volumes R; garbage-collection CRUL stop; purge-audit CRUL stop;
jobservice-monitor L stop; scanner CRUDL; label CRUD; security-hub RL; catalog R; quota RUL; robot CRDL; user CRUDL;
ldap-user CL; user-group CRUDL
"""
PROJECT_CATALOGUE = """
log L; project RUD; metadata CRUDL; repository RUDL pull push; artifact CRDL; scan CR stop; sbom CR stop; tag CDL;
accessory L; artifact-addition R; artifact-label CD; scanner CR; preheat-policy CRUDL; immutable-tag CUDL;
notification-policy CRUDL; tag-retention CRUDL; label CRUDL; quota R; robot CRDL; export-cve CR; member CRUDL
"""


def _pairs(resource: str, cell: str) -> set[str]:
    words = cell.split()
    actions = [LETTERS[letter] for word in words if word.isupper() for letter in word]
    return {f"{resource}:{action}" for action in [*actions, *(word for word in words if word.islower())]}


def _column(number: int) -> set[str]:
    rows = ([cell.strip() for cell in line.split("|")] for line in MATRIX.strip().splitlines())
    return {pair for row in rows for pair in _pairs(row[0], row[number])}


def _catalogue(text: str) -> set[str]:
    entries = (entry.split(maxsplit=1) for entry in text.split(";"))
    return {pair for resource, cell in entries for pair in _pairs(resource, cell)}


HELD: dict[str, set[str]] = {role: _column(number) for number, role in enumerate(ROLES, start=1)}
ROBOT_IN_SYSTEM = _catalogue(SYSTEM_CATALOGUE)
ROBOT_IN_PROJECT = _catalogue(PROJECT_CATALOGUE)

CALLERS = (
    "anonymous", "outsider", *ROLES[:-1], "admin of another project", "robot", "robot that pulls",
    "robot of another project", "system robot", "expired robot", "system admin",
)  # fmt: skip
# An expired robot is nobody (1.4).
UNKNOWN = {"anonymous", "expired robot"}


def holds(caller: str, permission: str, place: str) -> bool:
    """In a project: `mine`, where the roles are, `other`, `public`; or in the system."""
    if caller == "system admin":
        return True
    if place == "system":
        return caller == "system robot" and permission in ROBOT_IN_SYSTEM
    held = set(HELD["public"]) if place == "public" else set()
    if caller in HELD:
        held |= HELD[caller] if place == "mine" else set()
    elif caller == "admin of another project":
        held |= HELD["projectAdmin"] if place == "other" else set()
    elif caller == "robot that pulls":
        held |= {"repository:pull"} if place == "mine" else set()
    elif caller in ("robot", "robot of another project"):
        home = "mine" if caller == "robot" else "other"
        held |= ROBOT_IN_PROJECT if place == home else set()
    elif caller == "system robot":
        held |= ROBOT_IN_PROJECT
    return permission in held
