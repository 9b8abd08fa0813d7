"""Stacks of their own for the end-to-end tests: built, deployed and called as on AWS, with IAM enforced.

With `-n 2 --dist loadgroup` one process tests on the common stack; another does the rest, which has its own stacks.

E2E_TEMPLATE names another template to deploy, for a look at what these tests would notice.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from local import Stack, running_stack
from local.paths import TEMPLATE


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of one stack stay in one process, in their order."""
    for item in items:
        common = isinstance(item, pytest.Function) and "stack" in item.fixturenames
        item.add_marker(pytest.mark.xdist_group("on the common stack" if common else "on other stacks"))


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """The deployed stack. Its users may have up to eight devices of any kind.

    Most of its clients acknowledge nothing: each push would come three times, and the emulator is slow enough.
    """
    template = Path(os.environ.get("E2E_TEMPLATE", TEMPLATE))
    parameters = {"SignInPolicy": "multi", "RedeliverAfterSeconds": "0"}
    with running_stack(template=template, parameters=parameters, tell=print) as running:
        yield running


@pytest.fixture(scope="session")
def chaos_stack() -> Iterator[Stack]:
    """Another one, whose functions can be held up, misled and killed through `chaos`. Calm at the end of each test."""
    template = Path(os.environ.get("E2E_TEMPLATE", TEMPLATE))
    parameters = {"SignInPolicy": "multi"}
    with running_stack(template=template, parameters=parameters, chaos=True, tell=print) as running:
        yield running
