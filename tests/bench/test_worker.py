"""The process of one task: its life line, and code that is not what the bench started with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from rnpc.bench import locks, source, store, worker
from rnpc.bench.engines.local import LocalEngine
from rnpc.bench.store import Store
from rnpc.errors import InputRefused

HERE = str(Path(__file__).parent)


def task(out: Path, code: str) -> dict[str, Any]:
    """A cell on digits whose fake defense may sleep."""
    who = {"harden": "fakes:harden", "code": code, "form": "folded", "method": "auto", "seed": 1, "device": "cpu", "threads": 1}
    return {
        "kind": "cell", "key": "k", "name": "a cell", "identity": who, "victim": {"dataset": "mnist"},
        "model": str(out / "none.onnx"), "trigger": None,
        "defense": {}, "rows": list(range(20)), "out": str(out), "data_root": None, "failed_at": None, "path": [HERE],
    }  # fmt: skip


def test_life_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker ends when its bench is gone, whatever it is doing, and its lock does not count any more."""
    pytest.importorskip("mlxtend")
    monkeypatch.syspath_prepend(HERE)
    command = [sys.executable, "-P", "-m", "rnpc.bench.worker"]
    surroundings = {**os.environ, "FAKE_SECONDS": "3600"}
    worker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=surroundings)
    assert worker.stdin is not None
    worker.stdin.write(json.dumps(task(tmp_path, source.cell_digest("fakes"))) + "\n")
    worker.stdin.close()
    assert worker.wait(timeout=120) == 137
    assert not locks.is_held(Store(tmp_path).lock("cell-k"))


def test_stale(tmp_path: Path) -> None:
    """Results of other code than the bench's would be kept under the wrong name."""
    engine = LocalEngine(1, 1)
    engine.start(task(tmp_path, "other"))
    assert not engine.free()
    event = engine.next(120)
    assert event is not None and event.kind == "stale" and engine.running() == 0
    assert not (tmp_path / "cells").exists()


def test_a_worker_whose_lock_was_taken_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another host took this one for dead: one of the two must go, or a task is done twice."""
    said: list[str] = []
    monkeypatch.setattr(os, "_exit", lambda code: said.append(f"ended {code}"))
    monkeypatch.setattr(locks, "BEAT", 0.02)
    with locks.held(tmp_path / "a.lock", lambda: worker.leave(lambda event: said.append(event))):
        (tmp_path / "a.lock").write_text("someone else's")
        for _ in range(500):
            time.sleep(0.01)
            if len(said) == 2:
                break
    assert said == ["busy", "ended 1"]


def test_what_is_there(tmp_path: Path) -> None:
    place = tmp_path / "k.json"
    assert not worker.is_there(place, None)
    store.write(place, {"status": "failed"})
    seen = place.stat().st_mtime_ns
    assert worker.is_there(place, None) and not worker.is_there(place, seen) and worker.is_there(place, seen - 1)
    store.write(place, {"status": "done"})
    assert worker.is_there(place, place.stat().st_mtime_ns)


def test_words() -> None:
    assert worker.describe(ValueError("a\n b")) == "ValueError: a b"
    assert worker.describe(InputRefused("no", where="x", todo="y")).startswith("x: no")
