"""The way of the data: where it is studied, and what is refused before the work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from rnpc import frontends, runtime
from rnpc.errors import InputRefused, SurroundingsError
from rnpc.pipeline import harden
from rnpc.pipeline.document import document_of
from rnpc.pipeline.settings import Settings

Decides = Callable[..., list[Any]]
SETTINGS = Settings(threads=1, device="cpu")


def test_a_hardened_file_is_refused(toy_file: Path, toy_data: Path) -> None:
    model = onnx.load(toy_file)
    helper.set_model_props(model, {"rnpc.plan": "{}"})
    onnx.save(model, toy_file)
    with pytest.raises(InputRefused, match="already hardened by rnpc; harden the original instead"):
        harden.run(frontends.load(toy_file), toy_data, SETTINGS)


def test_it_is_studied_and_judged_exactly_where_the_device_resolves_to(
    toy_file: Path, toy_data: Path, decides: Decides, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`auto` is CUDA only where onnxruntime starts it too, and TF32 is off while anything is judged."""
    inside: list[str] = []

    @contextmanager
    def exact(device: str) -> Iterator[None]:
        inside.append(device)
        yield
        assert decided and measured

    cases, decided, measured = decides("clean"), [], []
    decide, measure = harden.decide, harden.measure
    monkeypatch.setattr(harden, "resolve", lambda device: {"auto": "cpu"}[device])
    monkeypatch.setattr(harden, "exact", exact)
    monkeypatch.setattr(harden, "decide", lambda *given: decided.append(list(inside)) or decide(*given))
    monkeypatch.setattr(harden, "measure", lambda *given: measured.append(list(inside)) or measure(*given))
    harden.run(frontends.load(toy_file), toy_data, Settings(threads=1))
    assert cases[0].device == "cpu" and decided == measured == [["cpu"]]


@pytest.mark.skipif(runtime.cuda_possible(), reason="this machine has CUDA")
def test_a_device_that_is_not_there(toy_file: Path, toy_data: Path) -> None:
    with pytest.raises(SurroundingsError, match="--device cuda"):
        harden.run(frontends.load(toy_file), toy_data, Settings(threads=1, device="cuda"))


def test_a_warning_is_said_once(toy_file: Path, toy_data: Path, decides: Decides) -> None:
    """The notes repeated it."""
    decides("clean")
    model = onnx.load(toy_file)
    model.graph.initializer.append(TensorProto(name="left", data_type=1, dims=[1], raw_data=np.zeros(1, np.float32).tobytes()))
    onnx.save(model, toy_file)
    found = document_of(harden.run(frontends.load(toy_file), toy_data, SETTINGS, folder=toy_file.parent), None)
    assert found["warnings"] == ["unused initializers: left"] and found["notes"] == []
