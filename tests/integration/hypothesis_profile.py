"""How many examples property tests try: IM_EXAMPLES=10 means ten times as many. On CI they are always the same ones."""

from __future__ import annotations

import os

from hypothesis import settings
from hypothesis.internal.conjecture import providers


def load() -> None:
    """Make this the profile of the session."""
    settings.register_profile(
        "im", print_blob=True, deadline=None, derandomize="CI" in os.environ, max_examples=examples(100)
    )
    settings.load_profile("im")
    if "CI" in os.environ:
        # Hypothesis draws at times a number or a text that stands in the modules that are loaded: histories would be
        # others after any change of the product, and whenever another test has loaded something first.
        providers._get_local_constants = lambda: providers._local_constants


def examples(usual: int) -> int:
    """`usual`, times IM_EXAMPLES."""
    return round(usual * float(os.environ.get("IM_EXAMPLES", "1")))
