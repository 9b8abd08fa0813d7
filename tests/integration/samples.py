"""The events that functions get, as AWS sends them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

EVENTS = Path(__file__).resolve().parents[2] / "events"


def sample(name: str) -> dict[str, Any]:
    """A fresh copy of events/<name>.json."""
    return dict(json.loads((EVENTS / f"{name}.json").read_text()))
