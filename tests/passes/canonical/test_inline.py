"""Local functions: what they compute counts, not what they are called."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import ModelProto, numpy_helper, parser

from rnpc.errors import InputRefused
from rnpc.passes.canonical.batchnorm import FoldNorms
from rnpc.passes.canonical.canonical import canonical
from rnpc.passes.canonical.inline import Inline
from rnpc.passes.driver import apply

TEXT = """<ir_version: 8, opset_import: ["" : 17, "my" : 1]>
g (float[N,3,6,6] x) => (float[N,2] y) {
    c = Conv (x, w)
    n = my.BatchNormalization (c, s, b, m, v)
    p = GlobalAveragePool (n)
    f = Flatten (p)
    y = Gemm (f, u)
}
<domain: "my", opset_import: ["" : 17]>
BatchNormalization (c, s, b, m, v) => (n) { r = Relu (c)  t = Mul (r, s)  n = Sub (t, b) }
"""


@pytest.fixture
def named(random: Callable[..., np.ndarray]) -> ModelProto:
    """A function that bears a standard operator's name and does something else."""
    model = parser.parse_model(TEXT)
    tensors = {"w": random(4, 3, 1, 1), **{name: random(4, 1, 1) for name in "sbm"}, "v": np.abs(random(4, 1, 1)), "u": random(4, 2)}
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in tensors.items())
    return model


def test_a_function_with_an_operators_name_is_not_folded(named: ModelProto, run: Callable[..., dict[str, np.ndarray]]) -> None:
    x = np.random.default_rng(0).normal(size=(3, 3, 6, 6)).astype(np.float32)
    studied = canonical(named)
    assert not studied.functions and "BatchNormalization" not in {node.op_type for node in studied.graph.node}
    np.testing.assert_array_equal(run(studied, x, ["y"])["y"], run(named, x, ["y"])["y"])


def test_inlining_is_told(named: ModelProto) -> None:
    result = apply([Inline()], named)
    assert result.edits == ({"pass": "inline", "kind": "inline", "node": "n", "function": "BatchNormalization"},)
    assert "n" in {name for node in result.model.graph.node for name in node.output}


def test_folding_wants_functions_inlined(named: ModelProto) -> None:
    with pytest.raises(InputRefused, match="pass fold_norms: function BatchNormalization is not inlined"):
        apply([FoldNorms()], named)


def test_a_function_of_another_opset_is_converted(named: ModelProto) -> None:
    named.functions[0].opset_import[0].version = 13
    assert [node.op_type for node in apply([Inline()], named).model.graph.node][1:4] == ["Relu", "Mul", "Sub"]


def test_no_functions_nothing_done(net: ModelProto) -> None:
    assert apply([Inline()], net).model == net and isinstance(net, onnx.ModelProto)
