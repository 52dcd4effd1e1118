"""The progress of `rnpc bench`: a bar and a line for each running task on a terminal, elsewhere a plain line for each that ended."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

if TYPE_CHECKING:
    from rnpc.bench.run import Change

ENDS = {"kept": "there", "done": "done", "failed": "FAILED"}


class Board:
    """A context that shows a run on standard error. `failed` counts the tasks that failed."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False, soft_wrap=True)
        columns = (TextColumn("{task.description}"), BarColumn(20), MofNCompleteColumn(), TimeRemainingColumn())
        self.bars = RichProgress(*columns, console=self.console, transient=True, disable=not self.console.is_terminal)
        self.all = self.bars.add_task("bench", total=None)
        self.rows: dict[str, TaskID] = {}
        self.failed = 0

    def __enter__(self) -> Board:
        self.bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.bars.stop()

    def show(self, change: Change) -> None:
        """One change of a run."""
        self.bars.update(self.all, completed=change.finished, total=change.total)
        if change.kind in ENDS:
            self.end(change)
        elif self.console.is_terminal:
            if change.name not in self.rows:
                self.rows[change.name] = self.bars.add_task("", total=None)
            self.bars.update(self.rows[change.name], description=escape(f"{change.name}  {change.text}"))

    def end(self, change: Change) -> None:
        """A task has ended; what was there already is not worth a line."""
        self.failed += change.kind == "failed"
        row = self.rows.pop(change.name, None)
        if row is not None:
            self.bars.remove_task(row)
        if change.kind != "kept":
            text = f": {change.text}" if change.text else ""
            self.console.print(f"{change.finished}/{change.total}  {ENDS[change.kind]}  {change.name}{text}", markup=False)
