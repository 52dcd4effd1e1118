"""The process of one task: its life line, and code that is not what the bench started with."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from rnpc.bench import locks, source
from rnpc.bench.engines.local import LocalEngine, cause
from rnpc.bench.store import Store

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


def test_close(tmp_path: Path) -> None:
    engine = LocalEngine(1, 1)
    engine.start(task(tmp_path, "other"))
    engine.close()
    assert engine.running() == 0


def test_cause() -> None:
    with tempfile.TemporaryFile() as printed:
        printed.write(b"Traceback\nValueError: x\n\n")
        assert cause(1, printed) == "its process ended with code 1: ValueError: x"
        assert "SIGKILL" in cause(-signal.SIGKILL, printed) and "memory" in cause(-signal.SIGKILL, printed)
