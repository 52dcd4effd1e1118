"""What is started, waited for, kept and given up, with an engine that only says what it is told to."""

from __future__ import annotations

import os
import time
from collections import deque
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rnpc.bench import locks, schedule, store
from rnpc.bench.engines.base import Event, Task
from rnpc.bench.schedule import Change, Schedule
from rnpc.bench.store import Store
from rnpc.errors import SurroundingsError

Says = dict[str, list[str]]


class Spoken:
    """An engine whose tasks say what `says` holds for them, one list of kinds a start."""

    def __init__(self, says: Says) -> None:
        self.says, self.events, self.started = says, deque[Event](), list[str]()
        self.open = 0

    def start(self, task: Task) -> None:
        self.started.append(task["key"])
        self.open += 1
        self.events.extend(Event(task, kind) for kind in self.says[task["key"]].pop(0).split())  # type: ignore[arg-type]

    def next(self, timeout: float) -> Event | None:
        if not self.events:
            time.sleep(0.01)
            return None
        event = self.events.popleft()
        self.open -= event.kind != "progress"
        return event

    def free(self) -> bool:
        return self.open < 2

    def running(self) -> int:
        return self.open

    def close(self) -> None:
        pass


@pytest.fixture
def bench(tmp_path: Path) -> Any:
    """A bench of two victims, the first of which is there, with two cells each."""
    there = {1: True, 2: False}
    victims = {n: {"kind": "victim", "key": f"v{n}", "number": n, "name": f"v{n}", "identity": {}, "victim": {}} for n in there}

    def cell_tasks(number: int) -> list[Task]:
        keys = [f"c{number}{i}" for i in "ab"] if there[number] else []
        return [{"kind": "cell", "key": key, "name": key, "identity": {}, "victim": {}, "refused": ""} for key in keys]

    made = SimpleNamespace(store=Store(tmp_path), cell_tasks=cell_tasks, there=there, count=lambda number: 2)
    made.victim_task, made.measured = victims.__getitem__, lambda number: {} if there[number] else None
    return made


def run(bench: Any, engine: Spoken, train: bool = True) -> list[tuple[str, str]]:
    """What is told, and that the counts end right."""
    told: list[Change] = []
    Schedule(bench, engine, [1, 2], train, told.append).run()
    assert told[-1].finished == told[-1].total
    return [(change.kind, change.name) for change in told if change.kind != "started"]


def test_victims_first_then_their_cells(bench: Any) -> None:
    engine = Spoken({"c1a": ["done"], "c1b": ["progress failed"], "v2": ["progress done"], "c2a": ["done"], "c2b": ["kept"]})
    start = engine.start

    def trained(task: Task) -> None:
        start(task)
        bench.there[2] = bench.there[2] or task["key"] == "v2"

    engine.start = trained  # type: ignore[method-assign]
    told = run(bench, engine)
    assert [name for kind, name in told if kind != "progress"] == ["c1a", "c1b", "v2", "c2a", "c2b"]
    assert ("failed", "c1b") in told and ("kept", "c2b") in told


def test_a_victim_that_failed_leaves_its_cells_out(bench: Any) -> None:
    engine = Spoken({"c1a": ["done"], "c1b": ["died"], "v2": ["failed"]})
    assert run(bench, engine) == [("done", "c1a"), ("failed", "c1b"), ("failed", "v2")]
    failure = store.read(bench.store.cell("c1b"))
    assert failure is not None and failure["status"] == "failed"
    assert run(bench, Spoken({"c1a": ["done"], "c1b": ["done"]}), train=False) == [("done", "c1a"), ("done", "c1b")]


def test_what_another_process_holds_is_waited_for(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it was taken between looking and starting, and where its owner is on another host and dies."""
    held, bench.there[2] = bench.store.lock("cell-c1a"), True
    held.parent.mkdir()
    owner = locks.Owner("another host", os.getpid(), "1", "t")
    assert locks.make(held, owner)
    monkeypatch.setattr(locks, "LEASE", 0.5)
    engine = Spoken({"c1a": ["done"], "c1b": ["busy", "done"], "c2a": ["done"], "c2b": ["done"]})
    told = [name for _, name in run(bench, engine)]
    assert told[-1] == "c1a" and sorted(told) == ["c1a", "c1b", "c2a", "c2b"] and engine.started.count("c1b") == 2


def test_results_that_appear_meanwhile_are_kept(bench: Any) -> None:
    store.write(bench.store.cell("c1a"), {"status": "done"})
    engine = Spoken({"c1b": ["done"]})
    assert run(bench, engine, train=False) == [("kept", "c1a"), ("done", "c1b")]


def test_other_code_ends_the_run(bench: Any) -> None:
    with pytest.raises(SurroundingsError, match="source code of rnpc changed"):
        run(bench, Spoken({"c1a": ["stale"], "c1b": ["done"]}), train=False)


def test_a_failure_is_tried_again_once_a_run(tmp_path: Path) -> None:
    place = tmp_path / "k.json"
    assert schedule.failed_at(place) is None
    store.write(place, {"status": "failed"})
    assert schedule.failed_at(place) == place.stat().st_mtime_ns
    store.write(place, {"status": "done"})
    assert schedule.failed_at(place) is None
