"""One cell: harden a victim's file as a user would, then measure what the user has.

A cell is named by the digest of all that decides its result: settings, the victim and its files, the data, and the code. Hardening runs
first in its process, before anything else of the bench is even imported, so that seconds and peak memory are its own.
"""

from __future__ import annotations

import re
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnpc.bench import source, store
from rnpc.bench.draw import Drawn, pick
from rnpc.bench.hardening import DEFAULT, Request, resolve
from rnpc.bench.store import Store
from rnpc.data import contents, datasets
from rnpc.program import Preprocessing

if TYPE_CHECKING:
    from rnpc.attacks.base import Target
    from rnpc.bench.measure import Attacked
    from rnpc.bench.spec import Cell
    from rnpc.data.datasets import Dataset
    from rnpc.runtime import Device

SCHEMA = "rnpc.bench.cell/2"


@dataclass(frozen=True)
class Settings:
    """How cells are run, whichever they are. All of it can change a result, so all of it is part of the key."""

    device: Device = "auto"
    threads: int = 1
    harden: str = DEFAULT

    def settled(self) -> Settings:
        """With the device that `auto` means here: one key must not stand for results of two kinds of device. Raises SurroundingsError."""
        from rnpc import runtime

        return replace(self, device=runtime.resolve(self.device))


@dataclass(frozen=True)
class VictimFile:
    """What a cell hardens and how it is judged: the model's file and its digest, how it reads images, the trigger's file, the target, and
    the labels of the test images that count for ASR (None, None and none of them for a clean victim)."""

    model: Path
    sha256: str
    pre: Preprocessing
    trigger: Path | None
    target: Target | None
    counted: tuple[int, ...]

    def document(self) -> dict[str, Any]:
        """What of it decides the result."""
        return {
            "model": self.sha256,
            "input": {key: value for key, value in asdict(self.pre).items() if key != "sources"},
            "trigger": None if self.trigger is None else contents.of_file(self.trigger),
            "target": self.target,
            "counted": list(self.counted),
        }


def identity(cell: Cell, settings: Settings, victim: VictimFile, data: Dataset, drawn: Drawn) -> dict[str, Any]:
    """All that decides the result."""
    assert settings.device != "auto", "the device is settled before anything is kept under it"
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
        **victim.document(),
        "defense": drawn.sha256,
        "data": data.digest,
        "code": source.cell_digest(settings.harden.partition(":")[0]),
    }


def task_of(cell: Cell, who: dict[str, Any], victim: VictimFile, drawn: Drawn, place: Store, data_root: Path | None) -> dict[str, Any]:
    """The cell as plain JSON values for a process of its own."""
    return {
        "kind": "cell",
        "key": store.key_of(who),
        "identity": who,
        "number": cell.number,
        "victim": cell.victim.document(),
        "model": str(victim.model),
        "trigger": None if victim.trigger is None else str(victim.trigger),
        "defense": drawn.document(),
        "rows": drawn.rows,
        "out": str(place.root),
        "data_root": None if data_root is None else str(data_root),
    }


def run(task: dict[str, Any], tell: Callable[[str], None]) -> dict[str, Any]:
    """Do a task, and return the result to be written. `tell` takes a text about where it is. Raises what the defense raises."""
    who = task["identity"]
    data = datasets.load(task["victim"]["dataset"], None if task["data_root"] is None else Path(task["data_root"]))
    function, images = resolve(who["harden"]), pick(data, task["rows"])
    with tempfile.TemporaryDirectory(prefix="rnpc-bench-") as scratch:
        request = Request(Path(task["model"]), images, Path(scratch), who["method"], who["seed"], who["device"], who["threads"], tell=tell)
        started = time.monotonic()
        hardened = function(request)
        cost = {"seconds": round(time.monotonic() - started, 1), "peak_mb": peak_mb(), "stages": hardened.seconds}
        tell("measure")
        from rnpc.bench.judging import judged

        numbers = judged(request, function, hardened, attacked(task, data), Store(Path(task["out"])).answers)
    return {**head(task), "status": "done", "defense": task["defense"], **numbers, "cost": cost}


def attacked(task: dict[str, Any], data: Dataset) -> Attacked:
    """What the files of a task are measured on."""
    from rnpc.bench.measure import Attacked

    who = task["identity"]
    stated: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in who["input"].items()}
    trigger = None if task["trigger"] is None else Path(task["trigger"]).read_bytes()
    return Attacked(data, Preprocessing(**stated), trigger, who["target"], tuple(who["counted"]), who["device"], who["threads"])


def head(task: dict[str, Any]) -> dict[str, Any]:
    """What a result says about its cell, whether or not it succeeded. The victim's number is the SPEC's matter, not the cell's."""
    return {"schema": SCHEMA, "key": task["key"], "identity": task["identity"], "victim": task["victim"]}


def peak_mb() -> float:
    """Largest resident memory of this process so far, in MB (10^6 bytes).

    Linux hands getrusage's figure on from the process that started this one; the kernel's own mark begins anew with each program.
    """
    try:
        mark = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    except OSError:
        mark = None
    if mark is not None:
        return round(int(mark[1]) * 1024 / 1e6, 1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak * (1 if sys.platform == "darwin" else 1024) / 1e6, 1)
