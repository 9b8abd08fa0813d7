"""Red packets that end soon, on a stack whose packets live for a day."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from local import Stack
from local.chaos.workers import functions_of
from tests.e2e.claimers import CLAIMS

LIFE = "RED_PACKET_LIFE_SECONDS"


@contextmanager
def packets_live(stack: Stack, seconds: int) -> Iterator[None]:
    """Packets that are sent in this context live for so many seconds, as after a deployment with another parameter."""
    functions = stack.cloud.client("lambda")
    names = functions_of(stack.cloud, stack.name).names
    (name,) = (name for name, logical in names.items() if logical == CLAIMS)
    before: dict[str, Any] = functions.get_function_configuration(FunctionName=name)["Environment"]
    variables = before["Variables"] | {LIFE: str(seconds)}
    assert LIFE in before["Variables"]
    functions.update_function_configuration(FunctionName=name, Environment={"Variables": variables})
    try:
        yield
    finally:
        functions.update_function_configuration(FunctionName=name, Environment=before)
