"""The backend, to compare documents with."""

from tests.integration.conftest import house

__all__ = ["house"]
