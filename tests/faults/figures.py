"""How much was tried: a file for each test in .local/reports/faults, and the sums of all.

`python -m tests.faults.figures` prints them.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / ".local" / "reports" / "faults"


def take_down(test: str, what: str, outcomes: Counter[str]) -> None:
    """Write down what came of all that one test has tried, in place of what came of it the last time."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    name = re.sub(r"\W+", "-", test).strip("-")
    (FOLDER / f"{name}.json").write_text(json.dumps({"test": test, "what": what, "outcomes": dict(outcomes)}))
    print(f"{outcomes.total()} {what}: {dict(outcomes.most_common())}")


def main() -> None:
    """Print one line for each kind of what was tried."""
    sums: dict[str, Counter[str]] = defaultdict(Counter)
    for path in sorted(FOLDER.glob("*.json")):
        told = json.loads(path.read_text())
        sums[told["what"]] += Counter(told["outcomes"])
    for what, outcomes in sums.items():
        print(
            f"{outcomes.total():,} {what}: {', '.join(f'{count:,} {name}' for name, count in outcomes.most_common())}"
        )


if __name__ == "__main__":
    main()
