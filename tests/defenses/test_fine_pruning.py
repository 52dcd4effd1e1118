"""Fine-Pruning: dormant channels first, one by one until accuracy has lost the limit, and held while the rest is tuned."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from rnpc.defenses import fine_pruning
from rnpc.defenses.base import Nothing, Weights
from rnpc.defenses.fine_pruning import FinePruning, accuracies, activated, activity_of, ranked, rest_of
from rnpc.passes.facts.view import View
from rnpc.program import FilterSite
from rnpc.study.case import Case, Shares, draw
from rnpc.study.subject import Split
from rnpc.study.surgery import edits_of
from rnpc.twin import build

DORMANT = {36, 37, 38, 39}
"""What smooth images leave silent: the planted channels and two that answer to nothing."""


@pytest.fixture
def parted(case: Case) -> Case:
    """The planted network with images to choose by."""
    images = (torch.cat([case.learn.pixels(), case.judge.pixels()]) * 255).round().byte().permute(0, 2, 3, 1).numpy()
    labels = torch.cat([case.learn.labels, case.judge.labels]).numpy()
    return draw(case.subject, images, labels, Shares(learn=0.35, choose=0.25), 0, 0.05)


def test_dormant_channels_come_first(case: Case) -> None:
    site = case.subject.sites[-1]
    order = ranked(site, activity_of(case, site))
    assert {channel.index for channel in order[:4]} == DORMANT and len(order) == 40
    scores = [channel.score for channel in order]
    assert scores == sorted(scores, reverse=True) and scores[0] == 1 and scores[-1] == 0
    assert {channel.value for channel in order} == {0.0}


def test_a_decision(parted: Case) -> None:
    found = FinePruning(epochs=2).defend(parted, None)
    assert isinstance(found, Weights) and found.channels == found.ranking[: len(found.channels)]
    assert {channel.index for channel in found.channels} >= DORMANT and len(found.channels) < 40
    assert set(found.tensors) <= {"w", "b", "v", "u"} and found.tensors
    assert [panel.title for panel in found.panels] == ["Accuracy while channels fall", "Mean activations", "Course of tuning"]
    assert "channels of the last convolution are dormant" in found.reasons[0]


def test_without_epochs_it_only_prunes(parted: Case) -> None:
    found = FinePruning(epochs=0).defend(parted, None)
    assert isinstance(found, Weights) and found.channels


def test_the_limit_says_where_it_ends(parted: Case) -> None:
    few, many = (FinePruning(limit=limit, epochs=0).defend(replace(parted, max_drop=0.99), None) for limit in (0.0, 0.4))
    assert isinstance(few, Weights) and isinstance(many, Weights) and len(few.channels) < len(many.channels)


def test_the_curve_is_that_of_the_whole_network(parted: Case) -> None:
    site = parted.subject.sites[-1]
    order = ranked(site, activity_of(parted, site))
    curve = accuracies(parted, site, order, limit=1.0)
    assert len(curve) == 40
    for count in (0, 1, 20, 39):
        right = parted.subject.predict(parted.choose, edits_of(parted.subject, order[:count])) == parted.choose.labels
        assert curve[count] == pytest.approx(float(right.float().mean()))


def test_where_no_images_choose_the_judged_ones_are_not_looked_at(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, before = list[Split](), fine_pruning.behind

    def spy(case: Case, site: FilterSite, data: Split) -> Any:
        seen.append(data)
        return before(case, site, data)

    monkeypatch.setattr(fine_pruning, "behind", spy)
    FinePruning(epochs=0).defend(case, None)
    assert seen == [case.learn]


def test_without_a_convolution_there_is_nothing_to_do(case: Case) -> None:
    bare = replace(case, subject=replace(case.subject, sites=()))
    found = FinePruning().defend(bare, None)
    assert isinstance(found, Nothing) and "no convolution" in found.why


def graph(*nodes: tuple[str, list[str], str]) -> onnx.ModelProto:
    """A graph of these nodes."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2, 4, 4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2, 4, 4])
    made = [helper.make_node(kind, inputs, [output]) for kind, inputs, output in nodes]
    return helper.make_model(helper.make_graph(made, "g", [x], [y], []), opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_the_activation_is_looked_for_through_additions() -> None:
    residual = graph(("Neg", ["x"], "a"), ("Add", ["a", "x"], "b"), ("Relu", ["b"], "y"))
    gated = graph(("Neg", ["x"], "a"), ("Sigmoid", ["a"], "s"), ("Mul", ["a", "s"], "y"))
    without = graph(("Neg", ["x"], "a"), ("GlobalAveragePool", ["a"], "y"))
    assert [activated(View(model), "a") for model in (residual, gated, without)] == ["y", "y", "a"]


def test_the_rest_of_a_graph_reads_what_it_needs() -> None:
    model = graph(("Neg", ["x"], "a"), ("Abs", ["x"], "b"), ("Add", ["a", "b"], "c"), ("Relu", ["c"], "y"))
    rest, names = rest_of(model, "a")
    assert names == ["a", "b"] and [node.op_type for node in rest.graph.node] == ["Add", "Relu"]
    a, b = (torch.tensor(np.random.default_rng(k).normal(size=(3, 2, 4, 4)), dtype=torch.float32) for k in range(2))
    assert torch.allclose(build(rest).evaluate([a, b])[0][0], (a + b).clamp_min(0))
