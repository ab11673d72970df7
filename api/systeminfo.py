"""Tag systeminfo: what this registry is; more for who is signed in (contract 6.10)."""

from __future__ import annotations

import os
import urllib.parse
from datetime import UTC, datetime

from django.conf import settings

from api import routing
from api.dispatch import Answer, Call
from rbac.catalogue import Permission
from registry_core import configuration, errors
from registry_core.store import driver

# Harbor's clients read from it what the server can do.
HARBOR_LEVEL = "v2.16.0"


def get_system_info(call: Call) -> Answer:
    info = {
        "auth_mode": configuration.get("auth_mode"),
        "primary_auth_mode": configuration.get("primary_auth_mode"),
        "self_registration": configuration.get("self_registration"),
        "banner_message": configuration.get("banner_message"),
        "oidc_provider_name": configuration.get("oidc_name"),
    }
    if not call.identity.is_anonymous:
        external_url = routing.external_url(call.request.META)
        info |= {
            "harbor_version": f"{HARBOR_LEVEL}-breakwater.{settings.VERSION}",
            "external_url": external_url,
            "registry_url": urllib.parse.urlsplit(external_url).netloc,
            "has_ca_root": False,
            "project_creation_restriction": configuration.get("project_creation_restriction"),
            "read_only": configuration.get("read_only"),
            "registry_storage_provider_name": driver().name,
            "notification_enable": configuration.get("notification_enable"),
            "current_time": datetime.now(UTC),
        }
    return Answer(info)


def get_volumes(call: Call) -> Answer:
    """Of files, what their file system has; a bucket has no end, and zeros are left out."""
    call.require(Permission.SYSTEM_VOLUMES_READ)
    path = urllib.parse.urlsplit(settings.STORAGE)
    storage = {}
    if path.scheme == "file":
        disk = os.statvfs(urllib.parse.unquote(path.path))
        storage = {"total": disk.f_blocks * disk.f_frsize, "free": disk.f_bavail * disk.f_frsize}
    return Answer({"storage": [storage]})


def get_cert(call: Call) -> Answer:
    raise errors.NotFound("resource not found: this registry has no certificate authority of its own")
