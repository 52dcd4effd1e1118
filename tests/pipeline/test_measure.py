"""What the written file does, in onnxruntime: in pairs with the original, and under every convention that fits as well."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from rnpc.data.infer import Flags
from rnpc.errors import InputRefused
from rnpc.frontends import onnx_file
from rnpc.pipeline.inputs import Inputs, settle
from rnpc.pipeline.measure import check_alike, in_words, measure
from rnpc.pipeline.settings import Settings
from rnpc.program import Preprocessing
from rnpc.runtime import Session

SETTINGS = Settings(device="cpu", threads=1)
ROWS = np.arange(0, 60, 2)


@pytest.fixture
def inputs(toy_file: Path, toy_data: Path) -> Inputs:
    """The brightness network with its 60 images."""
    return settle(onnx_file.program("toy", toy_file.read_bytes()), toy_file.parent, toy_data, Flags(), "cpu", threads=1)


def changed(inputs: Inputs, name: str, change: Callable[[np.ndarray], np.ndarray]) -> bytes:
    """The file with one tensor changed."""
    model = onnx.load_model_from_string(inputs.program.source)
    (tensor,) = [t for t in model.graph.initializer if t.name == name]
    tensor.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(tensor)), name))
    return bytes(model.SerializeToString())


def test_the_original_is_measured_at_the_rows_alone(inputs: Inputs) -> None:
    found = measure(inputs, ROWS, inputs.program.source, SETTINGS)
    assert found.after is found.before and found.before.shape == (30,) and found.before.all()
    assert found.provider == "CPUExecutionProvider"


def test_without_an_output_nothing_is_measured_of_it(inputs: Inputs) -> None:
    assert measure(inputs, ROWS, None, SETTINGS).after is None


def test_an_edited_file_is_measured_itself(inputs: Inputs) -> None:
    broken = changed(inputs, "bias", lambda bias: np.where(np.arange(5) == 2, -100, bias).astype(np.float32))
    found = measure(inputs, ROWS, broken, SETTINGS)
    assert found.after is not None and np.array_equal(found.after, inputs.labels[ROWS] != 2) and found.before.all()


def test_a_loss_under_another_convention_that_fits_is_refused(inputs: Inputs) -> None:
    other = replace(inputs.pre, mean=(0.25,) * 3, std=(0.25,) * 3)  # twice the contrast
    broken = changed(inputs, "bias", lambda bias: bias - 100 * (np.arange(5) == 4).astype(np.float32))
    session, alike = Session(broken, device="cpu", threads=1), replace(inputs, alike=(inputs.pre, other))
    with pytest.raises(InputRefused, match=r"which the cut would ruin .mean 0.5 std 0.5: 100.0% -> 80.0%"):
        check_alike(alike, np.arange(60), session, 0.02)
    check_alike(alike, np.arange(60), session, 0.25)
    check_alike(replace(inputs, alike=()), np.arange(60), session, 0.0)


def test_conventions_are_said_as_the_command_takes_them() -> None:
    assert in_words(Preprocessing(8, 8, mean=(0.5,) * 3, std=(0.25,) * 3)) == "mean 0.5 std 0.25"
    assert in_words(Preprocessing(8, 8, scale=1.0, mean=(127.5,), std=(255.0,), channel_order="BGR")) == "BGR, mean 0.5 std 1"
    assert in_words(Preprocessing(8, 8, mean=(0.4, 0.5, 0.6), std=(1.0,) * 3)) == "mean 0.4,0.5,0.6 std 1"
