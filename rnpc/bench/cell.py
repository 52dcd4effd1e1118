"""One cell: harden a victim's file as a user would, then measure what the user has.

A cell is named by the digest of all that decides its result: settings, the victim and its files, the data, and the code. Hardening runs
first in its process, before anything else of the bench is even imported, so that seconds and peak memory are its own.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnpc.bench import source, store
from rnpc.bench.draw import Defense, pick
from rnpc.bench.hardening import DEFAULT, Task, resolve
from rnpc.bench.store import Store
from rnpc.data import datasets
from rnpc.data.datasets import Dataset

if TYPE_CHECKING:
    from rnpc.bench.spec import Cell
    from rnpc.runtime import Device

SCHEMA = "rnpc.bench.cell/1"


@dataclass(frozen=True)
class Settings:
    """How cells are run, whichever they are. All of it can change a result, so all of it is part of the key."""

    device: Device = "auto"
    threads: int = 1
    harden: str = DEFAULT


def identity(cell: Cell, settings: Settings, files: dict[str, Any], data: Dataset, defense: Defense) -> dict[str, Any]:
    """All that decides the result. `files` is that of the victim's measured.json."""
    trigger = files.get("trigger.onnx")
    return {
        "schema": SCHEMA,
        "form": cell.form,
        "images": cell.images,
        "seed": cell.seed,
        "method": cell.method,
        "device": settings.device,
        "threads": settings.threads,
        "harden": settings.harden,
        "victim": cell.victim.key,
        "model": files[f"{cell.form}.onnx"]["sha256"],
        "trigger": trigger and trigger["sha256"],
        "defense": defense.sha256,
        "data": data.digest,
        "code": source.cell_digest(settings.harden.partition(":")[0]),
    }


def job(cell: Cell, who: dict[str, Any], defense: Defense, place: Store, data_root: Path | None) -> dict[str, Any]:
    """The cell as plain JSON values for a process of its own."""
    return {
        "kind": "cell",
        "key": store.key_of(who),
        "identity": who,
        "number": cell.number,
        "victim": cell.victim.document(),
        "folder": str(place.victim(cell.victim)),
        "defense": defense.document(),
        "rows": defense.rows,
        "out": str(place.root),
        "data_root": None if data_root is None else str(data_root),
    }


def run(task: dict[str, Any], tell: Callable[[str], None]) -> dict[str, Any]:
    """Do a job, and return the result to be written. `tell` takes a text about where it is. Raises what the defense raises."""
    who = task["identity"]
    data = datasets.load(task["victim"]["dataset"], None if task["data_root"] is None else Path(task["data_root"]))
    model, function, defense = Path(task["folder"]) / f"{who['form']}.onnx", resolve(who["harden"]), pick(data, task["rows"])
    with tempfile.TemporaryDirectory(prefix="rnpc-bench-") as scratch:
        asked = Task(model, defense, Path(scratch), who["method"], who["seed"], who["device"], who["threads"], tell=tell)
        started = time.monotonic()
        hardened = function(asked)
        cost = {"seconds": round(time.monotonic() - started, 1), "peak_mb": peak_mb()}
        tell("measure")
        from rnpc.bench.judging import judged

        found = judged(asked, function, hardened, task["victim"], data, Store(Path(task["out"])).answers)
    return {**head(task), "status": "done", "defense": task["defense"], **found, "cost": cost}


def head(task: dict[str, Any]) -> dict[str, Any]:
    """What a result says about its cell, whether or not it succeeded. The victim's number is the SPEC's matter, not the cell's."""
    return {"schema": SCHEMA, "key": task["key"], "identity": task["identity"], "victim": task["victim"]}


def peak_mb() -> float:
    """Largest resident memory of this process so far, in MB (10^6 bytes)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak * (1 if sys.platform == "darwin" else 1024) / 1e6, 1)
