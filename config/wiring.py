"""Who reacts to what: the one page that fills the seams of registry_core/hooks.py."""

from __future__ import annotations

from rbac import oci
from registry_core import hooks


def connect() -> None:
    hooks.authenticate = oci.authenticate
    hooks.authorize = oci.authorize
    hooks.authorize_catalog = oci.authorize_catalog
    hooks.find_pull_grant = oci.find_pull_grant
