"""The probe finds the convention that a network was made for, or refuses."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from rnpc.data import classes, probe
from rnpc.data.images import ImageSet, build
from rnpc.errors import InputRefused
from rnpc.pipeline import inputs
from rnpc.program import Preprocessing
from rnpc.runtime import Session, predict

Toy = Callable[..., onnx.ModelProto]
Bright = Callable[..., np.ndarray]


def run(model: onnx.ModelProto, data: ImageSet, channels: int = 3) -> Preprocessing:
    session = Session(model.SerializeToString(), device="cpu", threads=1)
    orders = classes.candidates(data.classes or (), 9, None, "data")
    return probe.probe(data, Preprocessing(8, 8), channels, orders, lambda x, pre: predict(session, x, pre), "data")


def make(bright: Bright, count: int = 180, channels: int = 3) -> ImageSet:
    labels = np.arange(count) % 9
    return build(bright(labels, 9, channels=channels), [str(i) for i in labels], tuple(map(str, range(count))), (), "test")


@pytest.mark.parametrize(
    ("mean", "std", "name"),
    [(0.0, 1.0, "[0, 1]"), (0.5, 0.5, "[-1, 1]"), (0.0, 1 / 255, "0..255"), (0.449, 0.226, "ImageNet mean and std")],
)
def test_conventions_are_told_apart(toy: Toy, bright: Bright, mean: float, std: float, name: str) -> None:
    found = run(toy(9, mean, std), make(bright))
    source = dict(found.sources)["mean"]
    assert source.startswith(f"probe: {name}, right on")


def test_grey_models_have_their_own_conventions(toy: Toy, bright: Bright) -> None:
    found = run(toy(9, 0.1307, 0.3081, channels=1), make(bright, channels=1), channels=1)
    assert found.mean == (0.1307,) and found.std == (0.3081,)


def test_a_network_that_does_not_know_the_images_is_refused(toy: Toy, bright: Bright) -> None:
    data = make(bright)
    random = np.random.default_rng(0).integers(0, 9, len(data))
    with pytest.raises(InputRefused, match="no common preprocessing classifies these images"):
        run(toy(9), build(data.images, [str(i) for i in random], data.names, (), "test"))


def test_a_small_margin_is_refused(bright: Bright) -> None:
    # Two conventions are right on different halves of the images: accuracy ties, predictions differ.
    data = make(bright, 120)
    assert data.labels is not None
    labels = data.labels

    def score(x: np.ndarray, pre: Preprocessing) -> np.ndarray:
        n = len(x)
        half = np.arange(n) % 2 == (0 if pre.scale == 1.0 else 1)
        rows = probe.spaced(len(data), n)
        found = np.where(half, labels[rows], (labels[rows] + 1) % 9)
        return np.eye(9, dtype=np.float32)[found]

    orders = classes.candidates(data.classes or (), 9, None, "data")
    with pytest.raises(InputRefused, match="cannot be told from accuracy"):
        probe.probe(data, Preprocessing(8, 8), 3, orders, score, "data")


def test_rows_are_spread_over_all_images() -> None:
    assert probe.spaced(1000, 3).tolist() == [0, 500, 999] and probe.spaced(2, 96).tolist() == [0, 1]


def colours(bias: float = 0.0, channels: int = 3) -> onnx.ModelProto:
    """A network of ReLUs without biases, whose answer is the strongest colour: no scale of its input changes it. `bias` adds one."""
    w = np.eye(channels, dtype=np.float32).reshape(channels, channels, 1, 1)
    tensors = {"w": w, "b": np.full(channels, bias, np.float32), "fc": np.eye(channels, dtype=np.float32)}
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("MatMul", ["f", "fc"], ["scores"]),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", channels, 8, 8])
    y = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", channels])
    graph = helper.make_graph(nodes, "colours", [x], [y], [numpy_helper.from_array(v, k) for k, v in tensors.items()])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def coloured(count: int = 180) -> ImageSet:
    """Grey noise with more of the class's colour."""
    labels = np.arange(count) % 3
    pixels = np.random.default_rng(0).integers(20, 120, (count, 8, 8, 3))
    pixels[np.arange(count), :, :, labels] += 60
    return build(pixels.astype(np.uint8), [str(i) for i in labels], tuple(map(str, range(count))), (), "test")


def test_a_larger_scale_wins_nothing() -> None:
    """Whatever classifies alike, the plain scale is taken, and the others are handed on to be judged under."""
    session, data = Session(colours().SerializeToString(), device="cpu", threads=1), coloured()
    orders = classes.candidates(data.classes or (), 3, None, "data")
    found = probe.probe_all(data, Preprocessing(8, 8), 3, orders, lambda x, pre: predict(session, x, pre), "data")
    assert (found.chosen.mean, found.chosen.std, found.chosen.scale) == ((0.0,) * 3, (1.0,) * 3, 1 / 255)
    assert any(pre.scale == 1.0 and pre.channel_order == "RGB" for pre in found.alike) and found.chosen not in found.alike
    assert "alike in effect: " in dict(found.chosen.sources)["mean"] and "0..255" in dict(found.chosen.sources)["mean"]
    assert probe.probe(data, Preprocessing(8, 8), 3, orders, lambda x, pre: predict(session, x, pre), "data") == found.chosen


@pytest.mark.parametrize("gain", [1e-3, 1.0, 255.0, 1e4])
def test_the_scale_of_the_scores_tells_nothing(gain: float) -> None:
    """The same network with its scores multiplied: the same choice, though the larger scores have the smaller plain cross-entropy."""
    logits = np.random.default_rng(0).normal(size=(300, 5))
    labels = np.where(np.random.default_rng(1).random(300) < 0.9, logits.argmax(1), 0)
    np.testing.assert_allclose(probe.cross_entropy(gain * logits, labels), probe.cross_entropy(logits, labels))


def test_bytes_are_taken_where_nothing_else_fits(toy: Toy, bright: Bright) -> None:
    found = run(toy(9, 0.0, 1 / 255), make(bright))
    assert found.scale == 1.0


def trial(place: int, loss: float, scale: float = 1 / 255) -> probe.Trial:
    """A convention all of whose images have about one cross-entropy."""
    right = np.ones(50, bool)
    return probe.Trial(place, str(place), Preprocessing(8, 8, scale=scale), right.astype(int), right, loss + np.linspace(-1e-3, 1e-3, 50))


def test_evidence_outweighs_the_order_but_never_for_bytes() -> None:
    assert probe.preferred([trial(0, 0.2), trial(1, 0.1)]).place == 1
    assert probe.preferred([trial(0, 0.105), trial(1, 0.1)]).place == 0
    assert probe.preferred([trial(0, 0.2), trial(5, 0.01, scale=1.0)]).place == 0
    assert probe.preferred([trial(5, 0.01, scale=1.0)]).place == 5


SHARED = Path(__file__).parents[2].parent / "shared"
FAULT = SHARED / "faults" / "probe-0-255" / "dd_mnist_trigger_pattern_all_to_one_logits.onnx"
DIGITS = SHARED / "faults" / "softmax-hides-backdoor" / "clean"


@pytest.mark.skipif(not (FAULT.is_file() and DIGITS.is_dir()) and os.environ.get("CI") != "true", reason="the shared fault is not here")
def test_a_public_network_of_digits() -> None:
    """Its authors feed x / 255; 0..255 and MNIST's own mean and std classify the images just as well."""
    found = inputs.resolve(FAULT, DIGITS, device="cpu", threads=1)
    assert (found.pre.mean, found.pre.std, found.pre.scale) == ((0.0,), (1.0,), 1 / 255)
