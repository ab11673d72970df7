from __future__ import annotations

import pytest

from registry_core.storage.driver import Driver, open_driver
from tests.storage_suite import StorageDriverSuite, store


class TestMemoryDriver(StorageDriverSuite):
    examples = 20

    @pytest.fixture
    def driver(self) -> Driver:
        return open_driver("memory://")

    def test_it_has_neither_files_nor_urls(self, driver: Driver) -> None:
        key = store(driver, b"x")
        assert (driver.name, driver.minimum_chunk) == ("memory", None)
        assert driver.local_path(key) is None
        assert driver.presigned_url(key, seconds=60, content_type="text/plain") is None
