"""The probe finds the convention that a network was made for, or refuses."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest

from rnpc.data import classes, probe
from rnpc.data.images import ImageSet, build
from rnpc.errors import InputRefused
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
