"""The JavaScript session, over scripted connections: runs clients/js/tests/sdk.test.js, one test a test there."""

import functools
import re
import subprocess
from pathlib import Path

import pytest

from tests.node import node

TESTS = Path(__file__).parents[3] / "clients" / "js" / "tests" / "sdk.test.js"
NAMES = re.findall(r'^test\("(.+?)", ', TESTS.read_text("utf-8"), re.MULTILINE)


@functools.cache
def outcome() -> dict[str, str]:
    """What came of each test: empty, or why it failed."""
    done = subprocess.run(
        [node(), "--test", "--test-timeout=20000", "--test-reporter=tap", TESTS],
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )
    came: dict[str, str] = {}
    for report in re.split(r"^(?=(?:not )?ok \d+ - )", done.stdout, flags=re.MULTILINE)[1:]:
        said = re.match(r"(not )?ok \d+ - (.*)", report)
        assert said is not None
        came[said[2]] = report if said[1] else ""
    assert came, done.stdout + done.stderr
    return came


def test_every_test_is_known() -> None:
    assert set(outcome()) == set(NAMES)
    assert len(NAMES) > 20


@pytest.mark.parametrize("name", NAMES)
def test_in_javascript(name: str) -> None:
    assert outcome()[name] == ""
