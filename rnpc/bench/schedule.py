"""What of a run is ready, what waits for another process, and what has ended."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rnpc.bench import locks, store, worker
from rnpc.bench.engines.base import Engine, Event, Task
from rnpc.errors import SurroundingsError

if TYPE_CHECKING:
    from rnpc.bench.run import Bench

POLL = 1.0
"""Seconds between looks at what another process has locked."""


@dataclass(frozen=True)
class Change:
    """What a run tells: a task's `name` for people, what happened to it, and how many tasks of all are finished."""

    name: str
    kind: str
    text: str
    finished: int
    total: int


Tell = Callable[[Change], None]


class Schedule:
    """One run of a bench on an engine."""

    def __init__(self, bench: Bench, engine: Engine, only: Sequence[int], train: bool, tell: Tell) -> None:
        self.bench, self.engine, self.tell = bench, engine, tell
        self.ready: deque[Task] = deque()
        self.waiting: list[Task] = []
        self.finished = self.total = 0
        for number in only:
            cells = bench.cell_tasks(number)
            if cells or train:
                self.total += len(cells) or 1 + bench.count(number)
                self.ready.extend(self.failures_noted(cells) or [bench.victim_task(number)])

    def failures_noted(self, tasks: list[Task]) -> list[Task]:
        """Tasks with the time of the failure that an earlier run left, if one did: that one is tried again, a newer one is not."""
        return [{**task, "failed_at": failed_at(self.bench.store.cell(task["key"]))} for task in tasks]

    def run(self) -> None:
        """Until nothing is ready, running or waiting."""
        while self.ready or self.waiting or self.engine.running():
            while self.ready and self.engine.free():
                self.begin(self.ready.popleft())
            event = self.engine.next(POLL) if self.engine.running() or self.waiting else None
            if event is not None:
                self.take(event)
            self.wake()

    def begin(self, task: Task) -> None:
        """Start a task, unless its result is there, another process is at it, or it cannot be done at all."""
        if self.is_done(task):
            self.end(task, "kept")
        elif task.get("refused"):
            self.fail(task, task["refused"])
        elif locks.is_held(self.lock(task)):
            self.waiting.append(task)
        else:
            self.say(task, "started")
            self.engine.start(task)

    def wake(self) -> None:
        """Tasks that no other process holds any more are ready again, to be seen as done or to be done here."""
        free = [task for task in self.waiting if not locks.is_held(self.lock(task))]
        self.waiting = [task for task in self.waiting if task not in free]
        self.ready.extend(free)

    def take(self, event: Event) -> None:
        """One event of the engine. Raises SurroundingsError for a task that another code would do."""
        task = event.task
        if event.kind == "progress":
            return self.say(task, "progress", event.text)
        if event.kind == "stale":
            todo = "start it again; what is done is kept (an installed copy of rnpc does not change under a long run)"
            raise SurroundingsError("the source code of rnpc changed while the bench ran", where="bench", todo=todo)
        if event.kind == "busy":
            self.waiting.append(task)
            return None
        if event.kind == "died":
            return self.fail(task, event.text)
        return self.end(task, event.kind, event.text)

    def fail(self, task: Task, text: str) -> None:
        """A task that left no result of its own."""
        if task["kind"] == "cell":
            store.write(self.bench.store.cell(task["key"]), worker.failure(task, text))
        self.end(task, "failed", text)

    def end(self, task: Task, kind: str, text: str = "") -> None:
        """A task has ended; a victim's cells come next. Those of a victim that failed are left out."""
        self.finished += 1
        if task["kind"] == "victim":
            cells = self.failures_noted(self.bench.cell_tasks(task["number"]))
            self.ready.extendleft(reversed(cells))
            self.finished += 0 if cells else self.bench.count(task["number"])
        self.say(task, kind, text)

    def say(self, task: Task, kind: str, text: str = "") -> None:
        """Tell about a task."""
        self.tell(Change(task["name"], kind, text, self.finished, self.total))

    def is_done(self, task: Task) -> bool:
        """Whether the task's result is there: done, or failed by a process that worked beside this one."""
        if task["kind"] == "victim":
            return self.bench.measured(task["number"]) is not None
        return worker.is_there(self.bench.store.cell(task["key"]), task["failed_at"])

    def lock(self, task: Task) -> Path:
        """The task's lock."""
        return self.bench.store.lock(worker.name_of(task))


def failed_at(place: Path) -> int | None:
    """When the result there was written, if it is a failure."""
    result = store.read(place)
    return place.stat().st_mtime_ns if result is not None and result["status"] == "failed" else None
