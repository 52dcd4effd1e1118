"""Building knows an operator by its domain and its name."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from onnx import ModelProto, NodeProto, numpy_helper, parser

from rnpc.errors import UnsupportedOperator
from rnpc.twin import build

HEAD = '<ir_version: 8, opset_import: ["" : 17, "my" : 1]>\n'
W = np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32)


def model(text: str) -> ModelProto:
    made = parser.parse_model(HEAD + text)
    made.graph.initializer.append(numpy_helper.from_array(W, "w"))
    return made


def test_a_function_called_identity_is_no_alias() -> None:
    text = """g (float[n, 2] x) => (float[n, 3] y) { v = my.Identity (w) u = Identity (w) a = MatMul (x, v) b = MatMul (x, u)
        y = Add (a, b) }
        <domain: "my", opset_import: ["" : 17]> Identity (a) => (b) { b = Add (a, a) }"""
    twin = build(model(text))
    assert set(twin.parameter_names()) == {"w", "u"} and twin.parameter_of("u") is twin.parameter_of("w")
    x = torch.ones(1, 2)
    np.testing.assert_allclose(twin(x).detach().numpy(), 3 * W.sum(0, keepdims=True), rtol=1e-5)


def test_a_function_called_batchnormalization_has_no_statistics() -> None:
    text = """g (float[n, 2, 3] x) => (float[n, 2, 3] y) { y = my.BatchNormalization (x, w, w, w, w) }
        <domain: "my", opset_import: ["" : 17]> BatchNormalization (a, s, b, m, v) => (o) { o = Add (a, v) }"""
    twin = build(model(text))
    assert twin.parameter_names() == ("w",) and not dict(twin.named_buffers())
    np.testing.assert_allclose(twin(torch.zeros(1, 2, 3)).detach().numpy()[0], W)


def test_a_custom_operator_of_a_known_name_is_unsupported() -> None:
    with pytest.raises(UnsupportedOperator, match=r"MatMul \(node .*, my opset 17\)"):
        build(model("g (float[n, 2] x) => (float[n, 3] y) { y = my.MatMul (x, w) }"))


def test_nodes_in_any_order() -> None:
    made = model("g (float[n, 2] x) => (float[n, 3] y) { r = Relu (x) i = Identity (w) y = MatMul (r, i) }")
    nodes = [NodeProto.FromString(node.SerializeToString()) for node in made.graph.node][::-1]
    del made.graph.node[:]
    made.graph.node.extend(nodes)
    twin = build(made)
    np.testing.assert_allclose(twin(torch.ones(1, 2)).detach().numpy(), W.sum(0, keepdims=True), rtol=1e-5)
    assert twin.parameter_of("i") is twin.parameter_of("w")
