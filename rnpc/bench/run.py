"""Runs a SPEC: victims first where they are missing, each one's cells as soon as it is there, then the tables.

Everything that is done lies in the bench's folder under a name made from its content. So a run is a loop over what is missing: it can be
killed anywhere, and several can work on one folder, each leaving alone what another holds the lock of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rnpc.bench import cell as cells
from rnpc.bench import forms, spec, store
from rnpc.bench.cell import Settings, VictimFile
from rnpc.bench.draw import draw
from rnpc.bench.engines.base import Engine, Task
from rnpc.bench.schedule import Change, Schedule, Tell
from rnpc.bench.spec import BenchSpec, Cell
from rnpc.bench.store import Store
from rnpc.data import datasets
from rnpc.data.datasets import Dataset
from rnpc.errors import InputRefused, UsageError
from rnpc.victims.spec import VictimSpec
from rnpc.victims.train import finished

__all__ = ["Bench", "Change", "Result", "Tell"]


@dataclass(frozen=True)
class Result:
    """A cell of the SPEC with its result; None where it has not been run (its victim is not there, or --only left it out)."""

    cell: Cell
    document: dict[str, Any] | None


class Bench:
    """One run of one SPEC on one folder."""

    def __init__(self, bench: BenchSpec, data_root: Path | None, out: Path, settings: Settings, path: Sequence[str] = ()) -> None:
        """Raises InputRefused without data, UsageError where a victim does not fit them, SurroundingsError without the device."""
        self.spec, self.data_root, self.store, self.path = bench, data_root, Store(out), list(path)
        self.data = {name: datasets.load(name, data_root) for name in sorted({v.dataset for v in bench.victims})}
        for number, victim in enumerate(bench.victims, 1):
            spec.check_data(bench, number, self.data[victim.dataset])
        self.settings = settings.settled()

    def run(self, engine: Engine, only: Sequence[int] = (), train: bool = True, tell: Tell = lambda change: None) -> None:
        """Do all that is missing of the victims `only` (their numbers; all by default); without `train` a missing victim stays so.

        Raises SurroundingsError where the source code changes meanwhile: results would be kept under the wrong name.
        """
        Schedule(self, engine, only or self.numbers(), train, tell).run()

    def results(self) -> list[Result]:
        """A result for each cell of the SPEC, in its order."""
        tasks = {number: self.cell_tasks(number) for number in self.numbers()}
        keys = {(number, *place_of(task["identity"])): task["key"] for number, each in tasks.items() for task in each}
        places = ((each, keys.get((each.number, *place_of(vars(each))))) for each in self.spec.cells())
        return [Result(each, None if key is None else store.read(self.store.cell(key))) for each, key in places]

    def numbers(self) -> range:
        """Numbers of the victims."""
        return range(1, len(self.spec.victims) + 1)

    def count(self, number: int) -> int:
        """How many cells a victim has."""
        return sum(each.number == number for each in self.spec.cells())

    def victim(self, number: int) -> VictimSpec:
        """The victim of that number."""
        return self.spec.victims[number - 1]

    def measured(self, number: int) -> dict[str, Any] | None:
        """What the finished victim's folder says of it; None where it is not finished."""
        return finished(self.victim(number), self.store.victim(self.victim(number)))

    def cell_tasks(self, number: int) -> list[Task]:
        """The cells of a victim that is there; none of one that is not. One whose form cannot be had says why under `refused`."""
        if self.measured(number) is None:
            return []
        victim = self.victim(number)
        data = self.data[victim.dataset]
        drawn = {seed: draw(data, victim, self.spec.images, seed) for seed in self.spec.seeds}
        made = {form: self.file_of(victim, form, data) for form in self.spec.forms}
        tasks = []
        for each in (c for c in self.spec.cells() if c.number == number):
            file, refused = made[each.form]
            who = cells.identity(each, self.settings, file, data, drawn[each.seed])
            task = cells.task_of(each, who, file, drawn[each.seed], self.store, self.data_root)
            tasks.append({**task, "name": cell_name(each), "path": self.path, "refused": refused})
        return tasks

    def file_of(self, victim: VictimSpec, form: str, data: Dataset) -> tuple[VictimFile, str]:
        """The victim's file in a form, and why it cannot be had ("" where it can)."""
        folder, attack, refused = self.store.victim(victim), victim.create(), ""
        try:
            model = forms.model(victim, folder, form, data)
            sha256 = forms.digest(model)
        except (InputRefused, UsageError) as error:
            model, sha256, refused = folder / form, "", str(error)
        pre = forms.preprocessing(data, form)
        if attack.name == "none":
            return VictimFile(model, sha256, pre, None, None, ()), refused
        labels = np.asarray(data.test_labels)
        counted = tuple(int(label) for label in np.unique(labels[attack.counted(labels)]))
        return VictimFile(model, sha256, pre, folder / "trigger.onnx", attack.target, counted), refused

    def victim_task(self, number: int) -> Task:
        """The training of a victim."""
        victim = self.victim(number)
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


def place_of(cell: dict[str, Any]) -> tuple[Any, ...]:
    """A cell's place among its victim's."""
    return tuple(cell[key] for key in ("form", "seed", "method"))


def victim_name(number: int, victim: VictimSpec) -> str:
    """A victim for people."""
    goal = "" if victim.attack == "none" else f" to {victim.create().target}"
    return f"{number} {victim.attack}{goal}, {victim.dataset}, {victim.arch} w{victim.width}, seed {victim.seed}"


def cell_name(cell: Cell) -> str:
    """A cell for people."""
    return f"{victim_name(cell.number, cell.victim)}: {cell.form}, {cell.method}, data {cell.seed}"
