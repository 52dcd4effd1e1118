"""Nodes in any order come out in one."""

from __future__ import annotations

import random

import pytest
from onnx import ModelProto, NodeProto, helper

from rnpc.errors import InputRefused
from rnpc.passes.canonical.order import Order
from rnpc.passes.driver import apply
from rnpc.passes.facts.view import order, unsorted


def shuffled(model: ModelProto, seed: int) -> ModelProto:
    nodes = [NodeProto.FromString(node.SerializeToString()) for node in model.graph.node]
    random.Random(seed).shuffle(nodes)
    copy = ModelProto()
    copy.CopyFrom(model)
    del copy.graph.node[:]
    copy.graph.node.extend(nodes)
    return copy


@pytest.mark.parametrize("seed", range(5))
def test_a_shuffled_graph_is_the_graph(net: ModelProto, seed: int) -> None:
    assert apply([Order()], shuffled(net, seed)).model == net


def test_what_is_in_order_stays(net: ModelProto) -> None:
    result = apply([Order()], net)
    assert result.model == net and result.edits == ()


def test_bodies_are_readers(net: ModelProto) -> None:
    inner = helper.make_graph([helper.make_node("Neg", ["late"], ["o"])], "b", [], [helper.make_tensor_value_info("o", 1, None)])
    branch = helper.make_node("If", ["c"], ["z"], name="gate", then_branch=inner, else_branch=inner)
    nodes = [branch, helper.make_node("Abs", ["x"], ["late"])]
    assert order(nodes) == [1, 0]
    model = helper.make_model(helper.make_graph(nodes, "g", [], []))
    assert unsorted(model) == "node gate (If) reads late before it is made"


def test_a_circle_is_refused() -> None:
    nodes = [helper.make_node("Abs", ["b"], ["a"], name="one"), helper.make_node("Neg", ["a"], ["b"], name="two")]
    model = helper.make_model(helper.make_graph(nodes, "g", [], [helper.make_tensor_value_info("b", 1, None)]))
    with pytest.raises(InputRefused, match=r"pass order: node one \(Abs\) lies on a circle"):
        apply([Order()], model)


def test_ten_thousand_nodes_backwards() -> None:
    nodes = [helper.make_node("Relu", [f"v{k}"], [f"v{k + 1}"]) for k in range(10_000)][::-1]
    assert order(nodes) == list(range(9_999, -1, -1))
