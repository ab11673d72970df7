"""The people, settings and cheap passwords of the REST tests, for the tests that try to get what is not theirs."""

from __future__ import annotations

from tests.api.conftest import admin, anonymous, quick_passwords, seeded
from tests.builders import library

__all__ = ["admin", "anonymous", "library", "quick_passwords", "seeded"]
