"""A cell's name holds all that decides its result."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rnpc import runtime
from rnpc.bench import cell, source, store
from rnpc.bench.cell import Settings, VictimFile
from rnpc.bench.draw import Drawn
from rnpc.bench.measure import Attacked
from rnpc.bench.spec import Cell
from rnpc.bench.store import Store
from rnpc.program import Preprocessing
from rnpc.victims.spec import VictimSpec

CELL = Cell(1, VictimSpec("badnets", dataset="mnist", target=3), "folded", 60, 1, "auto")
DRAWN = Drawn((1, 2), 0, 2, "drawn")


@pytest.fixture
def name(model: Path, brightness: Callable[..., Attacked]) -> Callable[..., str]:
    """Name of a cell, given what is other about it."""
    data = brightness().data

    def make(cell_: Cell = CELL, settings: Settings | None = None, drawn: Drawn = DRAWN, digest: str = "d", **file: Any) -> str:
        given = {"model": model, "sha256": "m", "pre": Preprocessing(8, 8), "trigger": model, "target": 3, "counted": (0, 1), **file}
        who = cell.identity(cell_, settings or Settings("cpu"), VictimFile(**given), replace(data, digest=digest), drawn)
        return store.key_of(who)

    return make


def test_everything_counts(name: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    others = [
        name(replace(CELL, form="batchnorm")), name(replace(CELL, images=61)), name(replace(CELL, seed=2)),
        name(replace(CELL, method="rnp")),
        name(settings=Settings("cuda")), name(settings=Settings("cpu", 2)), name(drawn=replace(DRAWN, sha256="e")), name(digest="e"),
        name(sha256="n"), name(trigger=None), name(target="next"), name(counted=(0,)), name(pre=Preprocessing(8, 8, layout="NHWC")),
    ]  # fmt: skip
    first = name()
    monkeypatch.setattr(source, "cell_digest", lambda defense: "other code")
    assert len({first, name(), *others}) == 2 + len(others)


def test_the_victims_number_and_where_sources_stand_do_not_count(name: Callable[..., str]) -> None:
    assert name(replace(CELL, number=2)) == name(pre=Preprocessing(8, 8, sources=(("mean", "x"),))) == name()


def test_auto_is_no_device(name: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    """One key would stand for results of a processor and of a card."""
    with pytest.raises(AssertionError):
        name(settings=Settings("auto"))
    monkeypatch.setattr(runtime, "resolve", lambda device: "cuda" if device == "auto" else device)
    assert Settings("auto", 3).settled() == Settings("cuda", 3) and Settings("cpu").settled() == Settings("cpu")


def test_a_task_becomes_what_is_measured_on(model: Path, brightness: Callable[..., Attacked], tmp_path: Path) -> None:
    on = brightness()
    pre = Preprocessing(8, 8, layout="NHWC", mean=(0.5,) * 3)
    file = VictimFile(model, "m", pre, model, "next", (0, 1))
    who = cell.identity(CELL, Settings("cpu"), file, on.data, DRAWN)
    task = cell.task_of(CELL, who, file, DRAWN, Store(tmp_path), None)
    import json

    back = cell.attacked(json.loads(json.dumps(task)), on.data)
    assert back == replace(on, pre=pre, trigger=model.read_bytes(), target="next", counted=(0, 1))


def test_peak_memory_is_the_processs_own() -> None:
    """getrusage would tell the peak of the process that started it, where that was larger."""
    code = "from rnpc.bench.cell import peak_mb; print(peak_mb())"
    big = (
        f"import subprocess, sys; x = bytearray(600_000_000); "
        f"print(subprocess.run([sys.executable, '-P', '-c', {code!r}], capture_output=True, text=True).stdout)"
    )
    done = subprocess.run([sys.executable, "-P", "-c", big], capture_output=True, text=True, check=True)
    assert 5 < float(done.stdout) < 500
