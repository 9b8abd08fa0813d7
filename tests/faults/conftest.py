"""One profile of property tests for all."""

from __future__ import annotations

from tests.integration.hypothesis_profile import load

load()
