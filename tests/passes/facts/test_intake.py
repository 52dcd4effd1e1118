"""The intake names what channel pruning cannot remove."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper

from rnpc.passes.facts.intake import warnings
from rnpc.passes.wire import provenance
from rnpc.plan import Plan


def test_a_plain_network_has_none(net: ModelProto) -> None:
    assert warnings(net) == []


def test_where_on_constants(make: Callable[..., ModelProto], random: Callable[..., np.ndarray]) -> None:
    text = "g (float[N,4] x, bool[N,4] c) => (float[N,4] y, float[N,4] z) { y = Where (c, x, k) z = Where (c, x, fill) }"
    (line,) = warnings(make(text, {"k": random(4), "fill": np.zeros(1, np.float32)}))
    assert line == "Where on constants: y; channel pruning does not remove logic"


def test_control_flow_and_custom_operators(make: Callable[..., ModelProto]) -> None:
    model = make("g (float[N,4] x, bool c) => (float[N,4] y) { u = own.Trick (x) y = Abs (u) }", {})
    branch = helper.make_graph([helper.make_node("Neg", ["x"], ["o"])], "b", [], [helper.make_tensor_value_info("o", 1, None)])
    model.graph.node.append(helper.make_node("If", ["c"], ["z"], name="gate", then_branch=branch, else_branch=branch))
    lines = warnings(model)
    assert lines == ["control flow: If (gate); channel pruning does not remove logic", "custom operators: own.Trick"]


def test_copies_unused_and_training(make: Callable[..., ModelProto], random: Callable[..., np.ndarray]) -> None:
    text = "g (float[N,4,2,2] x) => (float[N,4,2,2] y) { y, m2, v2 = BatchNormalization <training_mode = 1> (x, s, s, s, s) }"
    model = make(text, {"s": random(4), "left": random(4)})
    model.graph.initializer[0].float_data.append(1.0)
    model.graph.initializer.append(TensorProto(name="left", data_type=1, dims=[0]))
    model.graph.sparse_initializer.add()
    found = warnings(model)
    assert [line.split(":")[0] for line in found] == [
        "BatchNormalization in training mode",
        "tensors with two copies of data",
        "unused initializers",
        "sparse initializers",
    ]
    assert "left, s" in found[1]


def test_long_lists_are_cut(make: Callable[..., ModelProto]) -> None:
    model = make("g (float[N] x) => (float[N] y) { y = Abs (x) }", {f"t{k}": np.ones(1, np.float32) for k in range(5)})
    assert warnings(model) == ["unused initializers: t0, t1, t2 and 2 more"]


def test_a_hardened_file(net: ModelProto) -> None:
    declared = provenance.entries(Plan("rnp", 0, "0", "1"))
    data = provenance.append(net.SerializeToString(), declared)
    assert "seal intact" in warnings(onnx.load_from_string(data))[0]
    broken = provenance.append(net.SerializeToString(), {**declared, "rnpc.data": "2"})
    assert "seal BROKEN" in warnings(onnx.load_from_string(broken))[0]


def test_functions(net: ModelProto) -> None:
    net.functions.append(
        helper.make_function("own", "F", ["a"], ["b"], [helper.make_node("Abs", ["a"], ["b"])], [helper.make_opsetid("", 17)])
    )
    assert warnings(net) == ["model functions: F"]
