"""The progress of `rnpc bench`: a bar and a line for each running task on a terminal, elsewhere a plain line for each that ended."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from rnpc.bench.run import Change

ENDS = {"kept": "there", "done": "done", "failed": "FAILED"}


class Board:
    """A context that shows a run on standard error. `failed` counts the tasks that failed."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False, soft_wrap=True)
        self.bar = Progress(TextColumn("bench"), BarColumn(30), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("left"))
        self.tasks = Progress(TimeElapsedColumn(), TextColumn("{task.description}"))
        self.all = self.bar.add_task("", total=None)
        self.rows: dict[str, TaskID] = {}
        self.live = Live(Group(self.tasks, self.bar), console=self.console, transient=True)
        self.failed = 0

    def __enter__(self) -> Board:
        if self.console.is_terminal:
            self.live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.live.stop()

    def show(self, change: Change) -> None:
        """One change of a run."""
        self.bar.update(self.all, completed=change.finished, total=change.total)
        if change.kind in ENDS:
            return self.end(change)
        if change.name not in self.rows:
            self.rows[change.name] = self.tasks.add_task("", total=None)
        self.tasks.update(self.rows[change.name], description=escape(f"{change.name}  {change.text}"))

    def end(self, change: Change) -> None:
        """A task has ended; what was there already is not worth a line."""
        self.failed += change.kind == "failed"
        row = self.rows.pop(change.name, None)
        if row is not None:
            self.tasks.remove_task(row)
        if change.kind != "kept":
            text = f": {change.text}" if change.text else ""
            self.console.print(f"{change.finished}/{change.total}  {ENDS[change.kind]}  {change.name}{text}", markup=False)
