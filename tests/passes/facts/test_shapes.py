"""Shapes by inference, without the weights."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from onnx import ModelProto, NodeProto

from rnpc.passes.facts.shapes import ranks, shapes, without_weights


def test_sizes(net: ModelProto) -> None:
    found = shapes(net, outputs=True)
    assert found["a"] == [None, 4, 6, 6] and found["f"] == [None, 6] and found["y"] == [None, 5]
    assert "y" not in shapes(net)


def test_nodes_in_any_order(net: ModelProto) -> None:
    nodes = [NodeProto.FromString(node.SerializeToString()) for node in net.graph.node][::-1]
    del net.graph.node[:]
    net.graph.node.extend(nodes)
    assert ranks(net)["a"] == 4 and ranks(net)["y"] == 2


def test_outputs_by_inference_whatever_is_stated(net: ModelProto) -> None:
    net.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 9
    assert shapes(net, outputs=True)["y"] == [None, 5]


def test_large_tensors_stay_at_home(make: Callable[..., ModelProto]) -> None:
    light = without_weights(make("g (float[N,40] x) => (float[N,40] y) { y = MatMul (x, w) }", {"w": np.ones((40, 40), np.float32)}))
    assert not light.graph.initializer and [value.name for value in light.graph.input] == ["x", "w"]
    assert shapes(make("g (float[N,40] x) => (float[N,40] y) { y = own.Odd (x) }", {})) == {"x": [None, 40]}
