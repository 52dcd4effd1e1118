"""The progress line of `rnpc harden`: the stage, accuracy where one is known, and time; on a terminal only."""

from __future__ import annotations

import sys
from itertools import accumulate
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from rnpc.cli.inspect_tables import duration
from rnpc.stage import Stage

TYPICAL: dict[Stage, float] = {
    Stage.LOAD_MODEL: 0.01,
    Stage.LOAD_IMAGES: 0.02,
    Stage.PROVE: 0.02,
    Stage.UNLEARN: 0.03,
    Stage.RECOVER: 0.10,
    Stage.LABELS: 0.06,
    Stage.INVERT: 0.24,
    Stage.WITNESS: 0.04,
    Stage.STRONGEST: 0.08,
    Stage.RANK: 0.08,
    Stage.CUT: 0.14,
    Stage.AGAIN: 0.10,
    Stage.REPAIR: 0.03,
    Stage.JUDGE: 0.02,
    Stage.WRITE: 0.01,
    Stage.MEASURE: 0.02,
}
"""Share of a typical run's time that a stage takes; only for the bar and the time left."""
BEHIND: dict[Stage, float] = {
    stage: round(end - TYPICAL[stage], 6) for stage, end in zip(Stage, accumulate(TYPICAL[stage] for stage in Stage), strict=True)
}
"""Share that is behind a run when a stage begins."""


class Progress:
    """A context manager that is also the `rnpc.stage.Tell` of a run."""

    def __init__(self, hidden: bool = False, console: Console | None = None) -> None:
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
        hidden = hidden or (console is None and not sys.stderr.isatty())
        self.visible, self._about = not hidden, ""
        self._bar = Bar(*columns, console=console or Console(stderr=True), transient=True, disable=hidden)
        self._task = self._bar.add_task("start", total=1.0)
        self._reached = 0.0

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.stop()

    def __call__(self, stage: Stage, share: float | None = None, accuracy: float | None = None) -> None:
        """Show a stage. Rounds of a cut come again and again: the bar waits there, and never goes back."""
        self._reached = max(self._reached, done(stage, share))
        self._bar.update(self._task, description=f"{shown(stage, accuracy)}{self._about}", completed=self._reached)

    def expect(self, seconds: float) -> None:
        """Say how long the run will take, from here on."""
        self._about = f" (about {duration(seconds)} in all)"
        self._bar.update(self._task, description=f"{shown(Stage.PROVE, None)}{self._about}")


def done(stage: Stage, share: float | None) -> float:
    """Share of a run's time that is behind it, `share` of the stage being done."""
    return BEHIND[stage] + min(max(share or 0.0, 0.0), 1.0) * TYPICAL[stage]


def shown(stage: Stage, accuracy: float | None) -> str:
    """The stage in words, and the accuracy on judged images where one is known."""
    return stage.value if accuracy is None else f"{stage.value}, accuracy {accuracy:.1%}"
