"""The storage driver of this process, opened once from BREAKWATER_STORAGE."""

from __future__ import annotations

import functools

from django.conf import settings

from registry_core import errors
from registry_core.storage.driver import (
    Driver,
    NotDurable,
    ObjectDamaged,
    StorageError,
    StorageUnavailable,
    open_driver,
)


@functools.cache
def driver() -> Driver:
    return open_driver(settings.STORAGE)


def as_registry_error(e: StorageError) -> errors.RegistryError:
    """A store that is full, away or damaged, as the client hears of it."""
    if isinstance(e, ObjectDamaged):
        return errors.Damaged("the bytes kept of this upload are damaged; begin again", {"cause": str(e)})
    if isinstance(e, StorageUnavailable) and e.full:
        return errors.InsufficientStorage(e.component)
    if isinstance(e, NotDurable):
        return errors.Unavailable(
            "the registry's storage could not keep the bytes; try again",
            {"component": e.component, "fix": "begin the upload again with POST"},
        )
    component = e.component if isinstance(e, StorageUnavailable) else "storage"
    return errors.Unavailable(
        f"the registry's {component} cannot be used now; try again",
        {"component": component, "who": "the operator of the registry, if it stays so"},
    )
