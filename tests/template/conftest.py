"""The house, for what only running code can tell."""

from __future__ import annotations

from tests.integration.conftest import house

__all__ = ["house"]
