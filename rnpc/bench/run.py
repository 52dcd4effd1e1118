"""Runs a SPEC: victims first where they are missing, each one's cells as soon as it is there, then the tables.

Everything that is done lies in the bench's folder under a name made from its content. So a run is a loop over what is missing: it can be
killed anywhere, and several can work on one folder, each leaving alone what another holds the lock of.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rnpc.bench import cell as cells
from rnpc.bench import locks, spec, store, worker
from rnpc.bench.cell import Settings
from rnpc.bench.draw import draw
from rnpc.bench.engines.base import Engine, Event
from rnpc.bench.spec import BenchSpec, Cell
from rnpc.bench.store import Store
from rnpc.data import datasets
from rnpc.errors import SurroundingsError
from rnpc.victims.train import finished

Task = dict[str, Any]
Tell = Callable[["Change"], None]
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


@dataclass(frozen=True)
class Result:
    """A cell of the SPEC with its result; None where it has not been run (its victim is not there, or --only left it out)."""

    cell: Cell
    found: dict[str, Any] | None


class Bench:
    """One run of one SPEC on one folder."""

    def __init__(self, bench: BenchSpec, data_root: Path | None, out: Path, settings: Settings, path: Sequence[str] = ()) -> None:
        self.spec, self.data_root, self.store, self.settings, self.path = bench, data_root, Store(out), settings, list(path)
        self.data = {name: datasets.load(name, data_root) for name in sorted({v.dataset for v in bench.victims})}
        for number, victim in enumerate(bench.victims, 1):
            spec.check_data(bench, number, self.data[victim.dataset])

    def run(self, engine: Engine, only: Sequence[int] = (), train: bool = True, tell: Tell = lambda change: None) -> None:
        """Do all that is missing of the victims `only` (their numbers; all by default); without `train` a missing victim stays so.

        Raises SurroundingsError where the source code changes meanwhile: results would be kept under the wrong name.
        """
        Schedule(self, engine, only or self.numbers(), train, tell).run()

    def results(self) -> list[Result]:
        """A result for each cell of the SPEC, in its order."""
        tasks = {number: self.cell_tasks(number) for number in self.numbers()}
        keys = {(n, *place_of(task["identity"])): task["key"] for n, found in tasks.items() for task in found}
        places = ((each, keys.get((each.number, *place_of(vars(each))))) for each in self.spec.cells())
        return [Result(each, None if key is None else store.read(self.store.cell(key))) for each, key in places]

    def numbers(self) -> range:
        """Numbers of the victims."""
        return range(1, len(self.spec.victims) + 1)

    def cell_tasks(self, number: int) -> list[Task]:
        """The cells of a victim that is there; none of one that is not."""
        victim = self.spec.victims[number - 1]
        measured = finished(victim, self.store.victim(victim))
        if measured is None:
            return []
        data = self.data[victim.dataset]
        drawn = {seed: draw(data, victim, self.spec.images, seed) for seed in self.spec.seeds}
        tasks = []
        for each in (c for c in self.spec.cells() if c.number == number):
            who = cells.identity(each, self.settings, measured["files"], data, drawn[each.seed])
            job = cells.job(each, who, drawn[each.seed], self.store, self.data_root)
            tasks.append({**job, "name": cell_name(each), "path": self.path})
        return tasks

    def victim_task(self, number: int) -> Task:
        """The training of a victim."""
        victim = self.spec.victims[number - 1]
        return {
            "kind": "victim",
            "key": victim.key,
            "number": number,
            "name": victim_name(number, victim),
            "victim": victim.document(),
            "folder": str(self.store.victim(victim)),
            "out": str(self.store.root),
            "data_root": None if self.data_root is None else str(self.data_root),
            "threads": self.settings.threads,
            "device": self.settings.device,
        }


class Schedule:
    """What is ready, what waits for another process, and what has ended, of one run."""

    def __init__(self, bench: Bench, engine: Engine, only: Sequence[int], train: bool, tell: Tell) -> None:
        self.bench, self.engine, self.tell = bench, engine, tell
        self.ready: deque[Task] = deque()
        self.waiting: list[Task] = []
        self.finished = self.total = 0
        for number in only:
            found = bench.cell_tasks(number)
            if found or train:
                self.total += len(found) or 1 + sum(c.number == number for c in bench.spec.cells())
                self.ready.extend(self.failures_noted(found) or [bench.victim_task(number)])

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
        """Start a task, unless its result is there or another process is at it."""
        if self.is_done(task):
            self.end(task, "kept")
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
        """One event of the engine."""
        task = event.task
        if event.kind == "progress":
            return self.say(task, "progress", event.text)
        if event.kind == "stale":
            todo = "start it again; what is done is kept (an installed copy of rnpc does not change under a long run)"
            raise SurroundingsError("the source code of rnpc changed while the bench ran", where="bench", todo=todo)
        if event.kind == "busy":
            self.waiting.append(task)
            return None
        if event.kind == "died" and task["kind"] == "cell":
            store.write(self.bench.store.cell(task["key"]), worker.failure(task, event.text))
        self.end(task, "failed" if event.kind == "died" else event.kind, event.text)
        return None

    def end(self, task: Task, kind: str, text: str = "") -> None:
        """A task has ended; a victim's cells come next. Those of a victim that failed are left out."""
        self.finished += 1
        if task["kind"] == "victim":
            found = self.failures_noted(self.bench.cell_tasks(task["number"]))
            self.ready.extendleft(reversed(found))
            self.finished += 0 if found else sum(c.number == task["number"] for c in self.bench.spec.cells())
        self.say(task, kind, text)

    def say(self, task: Task, kind: str, text: str = "") -> None:
        """Tell about a task."""
        self.tell(Change(task["name"], kind, text, self.finished, self.total))

    def is_done(self, task: Task) -> bool:
        """Whether the task's result is there: done, or failed by a process that worked beside this one."""
        if task["kind"] == "victim":
            victim = self.bench.spec.victims[task["number"] - 1]
            return finished(victim, self.bench.store.victim(victim)) is not None
        place = self.bench.store.cell(task["key"])
        found = store.read(place)
        return found is not None and (found["status"] == "done" or place.stat().st_mtime_ns != task["failed_at"])

    def lock(self, task: Task) -> Path:
        """The task's lock."""
        return self.bench.store.lock(worker.name_of(task))


def place_of(cell: dict[str, Any]) -> tuple[Any, ...]:
    """A cell's place among its victim's."""
    return tuple(cell[key] for key in ("form", "seed", "method"))


def failed_at(place: Path) -> int | None:
    """When the result there was written, if it is a failure."""
    found = store.read(place)
    return place.stat().st_mtime_ns if found is not None and found["status"] == "failed" else None


def victim_name(number: int, victim: Any) -> str:
    """A victim for people."""
    goal = "" if victim.attack == "none" else f" to {victim.target if victim.target is not None else victim.create().target}"
    return f"{number} {victim.attack}{goal}, {victim.dataset}, {victim.arch} w{victim.width}, seed {victim.seed}"


def cell_name(cell: Cell) -> str:
    """A cell for people."""
    return f"{victim_name(cell.number, cell.victim)}: {cell.form}, {cell.method}, data {cell.seed}"
