"""`python -m tests.faults.simulate --seeds 2000` plays many seeds; `--seed N` plays one again and shows all of it."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / "layers/common")]

from tests.faults.simulation import Outcome, stage  # noqa: E402 - it finds the functions' code by the line above


def main() -> int:
    """Exit status 1 when a seed failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.simulate", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first one")
    parser.add_argument("--seed", type=int, help="play only this one, and show everything")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--record", type=Path, help="write the recordings of --seed into this folder")
    asked = parser.parse_args()
    if asked.seed is not None:
        return _show(asked.seed, asked.record)
    started = time.monotonic()
    seeds = range(asked.first, asked.first + asked.seeds)
    failed, happened = 0, Counter[str]()
    with ProcessPoolExecutor(asked.processes) as pool:
        for wrong, counts in pool.map(_some, [seeds[i : i + 25] for i in range(0, len(seeds), 25)]):
            happened += counts
            for seed, lines in wrong:
                failed += 1
                print(f"seed {seed}: {lines[0][:300]}" + (f" (and {len(lines) - 1} more)" if lines[1:] else ""))
    _table(happened)
    print(f"{len(seeds)} seeds, {failed} failed, {time.monotonic() - started:.1f} s")
    return 1 if failed else 0


def _some(seeds: range) -> tuple[list[tuple[int, list[str]]], Counter[str]]:
    wrong: list[tuple[int, list[str]]] = []
    happened = Counter[str]()
    with stage() as here:
        for seed in seeds:
            outcome = here.play(seed)
            happened += outcome.happened
            if outcome.wrong:
                wrong.append((seed, outcome.wrong))
    return wrong, happened


def _show(seed: int, folder: Path | None) -> int:
    with stage() as here:
        outcome = here.play(seed, traced=True)
    print("\n".join(outcome.trace))
    _table(outcome.happened)
    for line in outcome.wrong:
        print(f"WRONG: {line}")
    if folder is not None:
        record(outcome, folder)
    return 1 if outcome.wrong else 0


def record(outcome: Outcome, folder: Path) -> None:
    """Write what the clients have recorded, and the tables, for `im check`."""
    from imclient.history import TABLES_FILE, write_tables  # noqa: PLC0415

    folder.mkdir(parents=True, exist_ok=True)
    for recording in outcome.recordings:
        recording.write(folder)
    write_tables(folder / TABLES_FILE, outcome.tables)


def _table(happened: Counter[str]) -> None:
    for name, count in sorted(happened.items()):
        print(f"{count:>9}  {name}")


if __name__ == "__main__":
    sys.exit(main())
