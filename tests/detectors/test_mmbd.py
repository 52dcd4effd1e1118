"""MM-BD: a label whose score rises far above all others is convicted; what could not be measured acquits nobody."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from rnpc.detectors import mmbd
from rnpc.detectors.mmbd import MmBd, margins, p_value
from rnpc.frontends import onnx_file
from rnpc.panel import Histogram, Table
from rnpc.program import Preprocessing
from rnpc.study.case import Case, Shares, draw
from rnpc.study.subject import prepare

K = 10
GREY = Preprocessing(4, 4, mean=(0.0,), std=(1.0,))


def linear(weight: np.ndarray) -> Case:
    """Scores that are linear in the pixels of 4 x 4 grey images; `weight` [K, 16]."""
    nodes = [
        helper.make_node("Conv", ["x", "half"], ["twice"]),  # a site, without which nothing is studied
        helper.make_node("Flatten", ["twice"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w"], ["scores"], transB=1),
    ]
    tensors = {"half": np.full((2, 1, 1, 1), 0.5), "w": np.tile(weight, 2)}
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1, 4, 4])
    y = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", len(weight)])
    graph = helper.make_graph(
        nodes, "linear", [x], [y], [numpy_helper.from_array(t.astype(np.float32), name) for name, t in tensors.items()]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    subject = prepare(onnx_file.program("linear", model.SerializeToString()), GREY, "cpu").exact()
    images = np.random.default_rng(0).integers(0, 256, (220, 4, 4, 1), dtype=np.uint8)
    return draw(subject, images, np.arange(220) % len(weight), Shares(), 0, 0.02)


def weights(strength: float, seed: int = 0) -> np.ndarray:
    """Natural labels, the third with more weight."""
    weight = np.random.default_rng(seed).normal(size=(K, 16))
    weight[3] *= strength
    return weight


def test_a_label_that_stands_out_is_accused() -> None:
    found = MmBd().detect(linear(weights(8.0)))
    assert found.verdict == "backdoored" and [suspect.label for suspect in found.accused] == [3]
    assert found.suspects[0].p_value == found.numbers["p_value"] < 0.01 and "label 3" in found.reasons[0]
    table, histogram = found.panels
    assert isinstance(table, Table) and len(table.rows) == K and table.rows[0][0] == 3 and table.accused == (0,)
    assert isinstance(histogram, Histogram) and len(histogram.values["other labels"]) == K - 1


def test_labels_of_one_kind_are_acquitted_with_their_p_value() -> None:
    found = MmBd().detect(linear(weights(1.0)))
    assert found.verdict == "clean" and found.accused == () and found.numbers["p_value"] > 0.05


def test_the_ascent_reaches_the_corner_that_is_best() -> None:
    weight = weights(1.0)
    corner = [max(np.min((weight[k] - weight) @ x) for x in [(weight[k] > weight.mean(0)).astype(float)]) for k in range(K)]
    found = margins(linear(weight), images=6, steps=300)
    assert found.shape == (K,) and (found >= 0.95 * np.array(corner)).all()


def test_a_seed_gives_the_same_margins_however_labels_are_parted(monkeypatch: pytest.MonkeyPatch) -> None:
    case = linear(weights(1.0))
    together = margins(case, 4, 40)
    monkeypatch.setattr(mmbd, "BATCH", 12)
    assert np.allclose(margins(case, 4, 40), together, rtol=1e-5)
    assert not np.array_equal(margins(replace(case, seed=1), 4, 40), together)


def test_three_labels_are_too_few(case: Case) -> None:
    found = MmBd().detect(case)
    assert found.verdict == "inconclusive" and "5 are needed" in found.reasons[0] and found.accused == ()


def test_scores_that_do_not_answer_are_inconclusive() -> None:
    found = MmBd(steps=5).detect(linear(np.zeros((K, 16))))
    assert found.verdict == "inconclusive" and "10 labels do not answer" in found.reasons[0]


@pytest.mark.parametrize("values", [[np.nan] * 3 + [1.0, 2.0], [np.inf, 1.0, 2.0, 3.0, 4.0]])
def test_what_is_no_number_is_inconclusive(values: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mmbd, "margins", lambda *_: np.array(values))
    assert MmBd().detect(linear(weights(1.0))).verdict == "inconclusive"


@pytest.mark.parametrize("values", [[2.0] * 6, [5.0, 1.0, 1.0, 1.0, 1.0], [3.0, 1.0, 2.0, -1.0, -2.0, 0.0], [-1.0] * 6])
def test_margins_that_follow_no_distribution_are_inconclusive(values: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mmbd, "margins", lambda *_: np.array(values))
    found = MmBd().detect(linear(weights(1.0)[: len(values)]))
    assert found.verdict == "inconclusive" and "no distribution" in found.reasons[0] and found.panels


def test_the_p_value_is_uniform_under_its_null_and_tiny_far_out() -> None:
    rng = np.random.default_rng(0)
    values = [p_value(rng.gamma(9.0, 2.0, 43))[1] for _ in range(200)]
    assert 0.02 <= np.mean(np.array(values) <= 0.05) <= 0.15 and 0.3 < np.mean(values) < 0.6
    label, p = p_value(np.append(rng.gamma(9.0, 2.0, 42), 150.0))
    assert label == 42 and 0 < p < 1e-8


def test_a_score_tail_changes_nothing(toy: Callable[..., onnx.ModelProto]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (220, 8, 8, 3), dtype=np.uint8)
    found = []
    for tail in (False, True):
        model = toy(classes=5)
        if tail:
            model.graph.node.append(helper.make_node("Softmax", ["scores"], ["shares"], axis=1))
            model.graph.output[0].name = "shares"
        subject = prepare(onnx_file.program("toy", model.SerializeToString()), Preprocessing(8, 8), "cpu").exact()
        found.append(margins(draw(subject, images, np.arange(220) % 5, Shares(), 0, 0.02), 2, 20))
    assert np.array_equal(found[0], found[1])
