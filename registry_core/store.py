"""The storage driver of this process, opened once from BREAKWATER_STORAGE."""

from __future__ import annotations

import functools

from django.conf import settings

from registry_core.storage.driver import Driver, open_driver


@functools.cache
def driver() -> Driver:
    return open_driver(settings.STORAGE)
