from __future__ import annotations

import pytest

from registry_core.storage.driver import Driver, open_driver
from registry_core.storage.paths import new_key
from tests.components.seaweedfs import SeaweedFS, seaweedfs
from tests.storage_suite import StorageDriverSuite

__all__ = ["seaweedfs"]


class TestS3Driver(StorageDriverSuite):
    examples = 12

    @pytest.fixture
    def driver(self, seaweedfs: SeaweedFS, monkeypatch: pytest.MonkeyPatch) -> Driver:
        for name, value in seaweedfs.credentials.items():
            monkeypatch.setenv(name, value)
        return open_driver(seaweedfs.url(new_key()))
