"""The contract is no test module of its own: its asserts are to tell what they saw all the same."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("tests.contracts.payments_contract")
