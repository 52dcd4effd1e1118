"""The progress line of `rnpc harden`: the stage, accuracy where one is known, and time; on a terminal only."""

from __future__ import annotations

import sys
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

# Share of a typical run's time that is behind us when a stage begins; only for the bar and the time left.
BEGINS = {
    "load images": 0.0,
    "prove the twin": 0.03,
    "twin": 0.05,
    "labels": 0.06,
    "unlearn": 0.06,
    "unlearn and invert triggers": 0.08,
    "recover": 0.4,
    "rank channels": 0.5,
    "write and measure": 0.97,
}


class Progress:
    """A context manager that is also the progress callback of `rnpc.api`."""

    def __init__(self, hidden: bool = False) -> None:
        console = Console(stderr=True)
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
        self._bar = Bar(*columns, console=console, transient=True, disable=hidden or not sys.stderr.isatty())
        self._task = self._bar.add_task("start", total=1.0)

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.stop()

    def __call__(self, stage: str, share: float | None, accuracy: float | None) -> None:
        name = stage.partition(":")[0]
        begin = BEGINS.get(name, 0.5)  # the rounds of a cut come again and again
        after = min((b for b in BEGINS.values() if b > begin), default=1.0)
        shown = stage if accuracy is None else f"{stage}, accuracy {accuracy:.1%}"
        self._bar.update(self._task, description=shown, completed=begin + (share or 0.0) * (after - begin))
