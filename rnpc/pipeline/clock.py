"""Passes progress on and sums up seconds by stage."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol, runtime_checkable

from rnpc.stage import Stage, Tell, untold


@runtime_checkable
class Expectant(Protocol):
    """A Tell that shows how long a run will take."""

    visible: bool

    def expect(self, seconds: float) -> None:
        """Show it."""


class Clock:
    """A Tell. `finish` gives the seconds of each stage, in the order in which they began."""

    def __init__(self, tell: Tell | None) -> None:
        self.tell: Tell = tell or untold
        self.stage: Stage | None = None
        self.since, self.seconds = time.perf_counter(), dict[Stage, float]()

    def __call__(self, stage: Stage, share: float | None, accuracy: float | None) -> None:
        self.mark(stage)
        self.tell(stage, share, accuracy)

    def expect(self, estimate: Callable[[], float]) -> None:
        """Pass an estimate on to one that shows it; where there is none, it is not made."""
        if isinstance(self.tell, Expectant) and self.tell.visible:
            self.tell.expect(estimate())

    def mark(self, stage: Stage | None) -> None:
        """Close the stage before."""
        now = time.perf_counter()
        if self.stage is not None:
            self.seconds[self.stage] = self.seconds.get(self.stage, 0.0) + now - self.since
        self.stage, self.since = stage, now

    def finish(self) -> dict[str, float]:
        """Seconds by stage."""
        self.mark(None)
        return {stage.value: seconds for stage, seconds in self.seconds.items()}
