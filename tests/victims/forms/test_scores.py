"""Each form is valid ONNX and gives the scores of the folded file within its bound, and the same bytes each time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from rnpc.runtime import Session
from rnpc.twin import build
from rnpc.victims import forms

REWRITES = [name for name, form in forms.FORMS.items() if form.rewrite is not None]
RUNS = [name for name in REWRITES if forms.FORMS[name].runs]


def scale(scores: np.ndarray) -> float:
    """The scores' scale."""
    return max(1.0, float(np.abs(scores).max()))


@pytest.mark.parametrize("name", RUNS)
def test_rewritten(name: str, demo: Any, load: Callable[[forms.Files], onnx.ModelProto], tmp_path: Path) -> None:
    form = forms.find(name)
    files = forms.files(demo.folded, name, demo.given)
    model = load(files)
    if form.valid:
        onnx.checker.check_model(str(tmp_path / "model.onnx"), full_check=True)
    wanted = form.scores(demo.scores)
    found = Session(model.SerializeToString(), device="cpu", threads=1).run(form.feed(demo.images, demo.given))
    assert np.abs(found - wanted).max() <= form.bound * scale(wanted)
    assert (found.argmax(1) == demo.scores.argmax(1)).all()
    assert forms.files(demo.folded, name, demo.given) == files


def test_bfloat16_has_no_kernels_on_the_cpu_but_a_twin(demo: Any) -> None:
    model = onnx.load_from_string(forms.rewrite(demo.folded, "bf16"))
    onnx.checker.check_model(model, full_check=True)
    kinds = {tensor.data_type for tensor in model.graph.initializer}
    assert kinds <= {onnx.TensorProto.BFLOAT16, onnx.TensorProto.INT64} and len(kinds) == 2
    with torch.no_grad():
        found = build(model)(torch.from_numpy(demo.images)).numpy()
    assert np.abs(found - demo.scores).max() <= forms.find("bf16").bound * scale(demo.scores)


@pytest.mark.parametrize("name", [name for name in RUNS if forms.FORMS[name].bound < 1e-3])
def test_bounds_are_tight_enough_to_see_one_filter_lost(name: str, demo: Any) -> None:
    model = onnx.load_from_string(demo.folded)
    weight = next(tensor for tensor in model.graph.initializer if tensor.name == "stages.0.0.conv1.weight")
    value = onnx.numpy_helper.to_array(weight).copy()
    value[0] = 0
    weight.CopyFrom(onnx.numpy_helper.from_array(value, weight.name))
    broken = Session(model.SerializeToString(), device="cpu", threads=1).run(demo.images)
    wanted, found = forms.find(name).scores(demo.scores), forms.find(name).scores(broken)
    assert np.abs(found - wanted).max() > forms.find(name).bound * scale(wanted)
