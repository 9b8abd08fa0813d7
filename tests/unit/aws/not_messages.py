"""Bodies that are no message of any queue of ours."""

from __future__ import annotations

from typing import Final

NOT_MESSAGES: Final = {
    "nothing": "",
    "half an object": "{",
    "brackets": "[" * 100_000,
    "a list": "[]",
    "null": "null",
    "a number": "5",
    "a string": '"text"',
    "an empty object": "{}",
}
