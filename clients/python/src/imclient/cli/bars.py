"""Progress bars of long work."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn


class Bars:
    """One progress bar a phase, with its rate, on the standard error output; nothing when that is no terminal."""

    def __init__(self, phases: Mapping[str, str]) -> None:
        """`phases`: how each is called."""
        self._phases = phases
        console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description:<10}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]:>10}"),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}
        self._began: dict[str, float] = {}

    def __enter__(self) -> Self:
        """Start drawing."""
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop drawing; what is drawn stays."""
        self._progress.stop()

    def update(self, phase: str, done: int, total: int) -> None:
        """Draw that `done` of `total` are done in a phase."""
        now = time.perf_counter()
        if phase not in self._tasks:
            self._tasks[phase] = self._progress.add_task(self._phases.get(phase, phase), total=total, rate="")
            self._began[phase] = now
        elapsed = now - self._began[phase]
        rate = f"{done / elapsed:,.0f}/s" if elapsed > 0 else ""
        self._progress.update(self._tasks[phase], completed=done, total=total, rate=rate)
