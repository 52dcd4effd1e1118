"""A victim's folder that several processes work on, or that was damaged."""

from __future__ import annotations

import hashlib
import json
import threading
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rnpc.victims.loop import Trainer
from rnpc.victims.spec import VictimSpec
from rnpc.victims.train import MEASURED, finished


def test_a_finished_victim_is_believed_by_its_bytes(tmp_path: Path) -> None:
    """Its size alone says little: a file that was damaged, or put in its place, had the same."""
    spec = VictimSpec("none", dataset="mnist")
    (tmp_path / "folded.onnx").write_bytes(b"network")
    entry = {"bytes": 7, "sha256": hashlib.sha256(b"network").hexdigest()}
    (tmp_path / MEASURED).write_text(json.dumps({"spec": json.loads(spec.to_json()), "files": {"folded.onnx": entry}}))
    assert finished(spec, tmp_path) is not None and finished(VictimSpec("none"), tmp_path) is None
    (tmp_path / "folded.onnx").write_bytes(b"NETWORK")
    assert finished(spec, tmp_path) is None
    (tmp_path / "folded.onnx").unlink()
    assert finished(spec, tmp_path) is None


class Still:
    """A loop with nothing to keep."""

    def state(self) -> dict[str, Any]:
        """Nothing."""
        return {}


def trainer(checkpoint: Path) -> Trainer:
    """A trainer of something tiny."""
    made = Trainer.__new__(Trainer)
    made.spec, made.checkpoint, made.model = VictimSpec("none", dataset="mnist"), checkpoint, nn.Linear(1, 1)
    made.loop, made.generator = Still(), torch.Generator()  # type: ignore[assignment]
    return made


def test_two_trainers_of_one_victim_write_beside_each_other(tmp_path: Path, monkeypatch: Any) -> None:
    """With one name for both, one moved the other's half-written checkpoint into place, and the other found nothing to move."""
    names: list[str] = []
    save, both = torch.save, threading.Barrier(2, timeout=30)

    def slow(state: Any, place: Path) -> None:
        names.append(Path(place).name)
        save(state, place)
        both.wait()

    monkeypatch.setattr(torch, "save", slow)
    errors: list[BaseException] = []

    def work() -> None:
        made = trainer(tmp_path / "checkpoint.pt")
        try:
            made.save(torch.optim.SGD(made.model.parameters()), 1)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors and len(set(names)) == 2 and [p.name for p in tmp_path.iterdir()] == ["checkpoint.pt"]
