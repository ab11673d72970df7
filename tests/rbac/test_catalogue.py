"""The role matrix against the contract, transcribed once more: every role times every resource and action."""

from __future__ import annotations

import itertools

import pytest

from rbac.catalogue import (
    PUBLIC_PERMISSIONS,
    ROBOT_PROJECT_PERMISSIONS,
    ROBOT_SYSTEM_PERMISSIONS,
    ROLE_PERMISSIONS,
    ROLES_BY_POWER,
    SYSTEM_PERMISSIONS,
    Permission,
)

# Contract 4.1: 1 projectAdmin, 4 maintainer, 2 developer, 3 guest, 5 limitedGuest; 0 stands for anybody, in public.
# What each of them holds of a resource, most powerful role first, as in the table of contract 4.2.
ROLES = (1, 4, 2, 3, 5, 0)
MATRIX = {
    "project": ("RUD", "R", "R", "R", "R", "R"),
    "member": ("CRUDL", "RL", "RL", "RL", "", ""),
    "metadata": ("CRUD", "R", "", "", "", ""),
    "log": ("L", "", "", "", "", ""),
    "label": ("CRUDL", "CRUDL", "RL", "RL", "", "RL"),
    "quota": ("R", "R", "R", "R", "R", ""),
    "repository": ("CRUDLps", "CRUDLps", "CRULps", "RLp", "RLp", "Lp"),
    "tag-retention": ("CRUDLo", "CRUDLo", "CRUDLo", "", "", ""),
    "immutable-tag": ("CUDL", "CUDL", "", "", "", ""),
    "configuration": ("RU", "R", "R", "R", "R", ""),
    "robot": ("CRUDL", "RL", "RL", "RL", "", ""),
    "notification-policy": ("CRUDL", "RL", "", "", "", ""),
    "scan": ("CRx", "CRx", "R", "R", "R", "R"),
    "sbom": ("CRx", "CRx", "R", "R", "R", ""),
    "scanner": ("CR", "R", "R", "R", "R", "R"),
    "artifact": ("CRDL", "CRDL", "CRL", "RL", "RL", "RL"),
    "artifact-addition": ("R", "R", "R", "R", "R", "R"),
    "tag": ("CDL", "CDL", "CL", "L", "L", "L"),
    "accessory": ("L", "L", "L", "L", "L", "L"),
    "artifact-label": ("CD", "CD", "CD", "", "", ""),
    "preheat-policy": ("CRUDL", "", "", "", "", ""),
    "export-cve": ("CRL", "CRL", "CRL", "", "", ""),
}
ACTIONS = {
    "C": "create",
    "R": "read",
    "U": "update",
    "D": "delete",
    "L": "list",
    "p": "pull",
    "s": "push",
    "o": "operate",
    "x": "stop",
}


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("resource", MATRIX)
def test_a_role_holds_what_the_contract_says(role: int, resource: str) -> None:
    granted = ROLE_PERMISSIONS[role] if role else PUBLIC_PERMISSIONS
    expected = {f"{resource}:{ACTIONS[letter]}" for letter in MATRIX[resource][ROLES.index(role)]}
    assert {str(p) for p in granted if p.startswith(f"{resource}:")} == expected


def test_no_role_holds_anything_else() -> None:
    listed = set().union(*ROLE_PERMISSIONS.values(), PUBLIC_PERMISSIONS)
    assert {p.partition(":")[0] for p in listed} == set(MATRIX)


# What a real Harbor listed for these roles on /users/current/permissions.
@pytest.mark.parametrize(("role", "count"), [(1, 75), (4, 53), (2, 36), (3, 20), (5, 14)])
def test_a_role_holds_as_many_as_in_harbor(role: int, count: int) -> None:
    assert len(ROLE_PERMISSIONS[role]) == count


def test_anybody_holds_twelve_on_a_public_project() -> None:
    assert len(PUBLIC_PERMISSIONS) == 12


def test_catalogues_have_the_contracts_sizes() -> None:
    sizes = [len(x) for x in (SYSTEM_PERMISSIONS, ROBOT_SYSTEM_PERMISSIONS, ROBOT_PROJECT_PERMISSIONS)]
    assert sizes == [53, 70, 70]


@pytest.mark.parametrize("pair", ["robot:update", "repository:create", "project:list", "audit-log:list"])
def test_robots_of_projects_are_not_given(pair: str) -> None:
    assert Permission(pair) not in ROBOT_PROJECT_PERMISSIONS


@pytest.mark.parametrize("pair", ["configuration:read", "repository:pull", "project:delete", "label:list"])
def test_robots_of_the_system_are_not_given(pair: str) -> None:
    assert Permission(pair) not in ROBOT_SYSTEM_PERMISSIONS


def test_only_maintainers_and_administrators_delete_repositories() -> None:
    holders = {role for role, held in ROLE_PERMISSIONS.items() if Permission.REPOSITORY_DELETE in held}
    assert holders == {1, 4}


def test_power_goes_down() -> None:
    assert [int(role) for role in ROLES_BY_POWER] == [1, 4, 2, 3, 5]
    pulls = [Permission.REPOSITORY_PULL in ROLE_PERMISSIONS[role] for role in ROLES_BY_POWER]
    assert all(pulls)
    for stronger, weaker in itertools.pairwise(ROLES_BY_POWER):
        assert len(ROLE_PERMISSIONS[stronger]) > len(ROLE_PERMISSIONS[weaker])
