"""The progress bar of `rnpc attack`: stage, epoch, loss, accuracy and time left, on a terminal only."""

from __future__ import annotations

import math
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as RichProgress

if TYPE_CHECKING:
    from rnpc.victims.loop import Progress


class Bar:
    """A context that draws on standard error where that is a terminal, and nothing otherwise."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[facts]}"))
        self._shown = RichProgress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task = self._shown.add_task("data", total=None, facts="")

    def __enter__(self) -> Bar:
        self._shown.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._shown.stop()

    def update(self, event: Progress) -> None:
        """Show where the run is."""
        if event.stage not in ("train", "clean"):
            self._shown.update(self._task, description=event.stage, total=None, facts="")
            return
        facts = f"epoch {event.epoch}/{event.epochs}  loss {event.loss:.3f}  accuracy {event.accuracy:.1%}  {left(event.seconds_left)} left"
        stage = "clean model" if event.stage == "clean" else event.stage
        self._shown.update(self._task, description=stage, total=event.steps, completed=event.step, facts=facts)


def left(seconds: float) -> str:
    """Minutes and seconds."""
    return "?" if math.isnan(seconds) else f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
