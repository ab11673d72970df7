"""Who reacts to what: the one page that fills the seams of registry_core/hooks.py."""

from __future__ import annotations

from projects.policies import pull, quota
from rbac import oci, sessions
from registry_core import hooks


def connect() -> None:
    hooks.authenticate = oci.authenticate
    hooks.authorize = oci.authorize
    hooks.authorize_catalog = oci.authorize_catalog
    hooks.known_grant = oci.known_grant
    hooks.find_pull_grant = oci.find_pull_grant
    hooks.forget_unused[:] = [sessions.forget_unused]
    hooks.pull_checks[:] = [pull.check]
    hooks.push_checks[:] = [hooks.PushCheck(quota.FULL, quota.check_push, quota.COUNT)]
    hooks.upload_checks[:] = [hooks.UploadCheck(quota.LIMITED, quota.check_upload)]
    hooks.bytes_freed[:] = [quota.give_back]
