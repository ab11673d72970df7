"""Fixtures of the content tests."""

from __future__ import annotations

from hypothesis import settings

# A loaded machine is no defect, and examples are not kept between runs.
settings.register_profile("suite", deadline=None, database=None)
settings.load_profile("suite")
