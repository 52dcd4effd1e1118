"""The twin as a module: parameters and tying, buffers, edits and captures, train mode, copies, devices and types."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper, parser

from rnpc.errors import InputRefused, UnsupportedOperator
from rnpc.twin import Twin, build

TEXT = """<ir_version: 8, opset_import: ["" : 17]>
net (float[n, 3, 8, 8] x) => (float[n, 4] y) {
   beta2 = Identity (beta)
   conv1 = Conv <pads = [1, 1, 1, 1]> (x, w1)
   bn1 = BatchNormalization (conv1, gamma, beta, mean, var)
   relu1 = Relu (bn1)
   conv2 = Conv <pads = [1, 1, 1, 1]> (relu1, w2)
   bn2 = BatchNormalization (conv2, gamma, beta2, mean, var)
   sum = Add (bn2, relu1)
   clip = Clip (sum, low, high)
   drop = Dropout (clip)
   mean1 = GlobalAveragePool (drop)
   flat = Flatten (mean1)
   y = Gemm <transB = 1> (flat, head, bias)
}"""
SHAPES = {"w1": (6, 3, 3, 3), "w2": (6, 6, 3, 3), "gamma": (6,), "beta": (6,), "mean": (6,), "var": (6,), "head": (4, 6), "bias": (4,)}


def network() -> onnx.ModelProto:
    model, rng = parser.parse_model(TEXT), np.random.default_rng(0)
    for name, shape in SHAPES.items():
        model.graph.initializer.append(numpy_helper.from_array(rng.random(shape, np.float32) + 0.1, name))
    for name, value in (("low", 0.0), ("high", 6000.0)):
        model.graph.initializer.append(numpy_helper.from_array(np.array(value, np.float32), name))
    return model


@pytest.fixture
def twin() -> Twin:
    return build(network())


@pytest.fixture
def x() -> torch.Tensor:
    return torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(3))


def test_float_initializers_are_parameters_under_all_their_names(twin: Twin) -> None:
    assert set(twin.parameter_names()) == {"w1", "w2", "gamma", "beta", "beta2", "head", "bias"}
    assert twin.parameter_of("beta") is twin.parameter_of("beta2")
    assert len(list(twin.parameters())) == 6


@pytest.mark.parametrize("name", ["low", "mean", "nothing"])
def test_settings_and_statistics_are_no_parameters(twin: Twin, name: str) -> None:
    with pytest.raises(KeyError, match=name):
        twin.parameter_of(name)


def test_gradients_reach_every_parameter(twin: Twin, x: torch.Tensor) -> None:
    twin(x).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in twin.parameters())


def test_capture_returns_values_under_their_names(twin: Twin, x: torch.Tensor) -> None:
    logits, kept = twin(x, capture=["bn1", "relu1", "x", "y"])
    assert set(kept) == {"bn1", "relu1", "x", "y"}
    assert torch.equal(kept["relu1"], kept["bn1"].relu())
    assert kept["y"] is logits
    assert torch.equal(twin(x), logits)


def test_edit_acts_before_any_reader(twin: Twin, x: torch.Tensor) -> None:
    def silence(value: torch.Tensor) -> torch.Tensor:
        return value * 0.0

    _, kept = twin(x, edits={"relu1": silence}, capture=["relu1", "conv2", "sum"])
    assert not kept["relu1"].any()
    assert not kept["conv2"].any()
    assert torch.equal(kept["sum"], twin(x, edits={"relu1": silence}, capture=["bn2"])[1]["bn2"])


def test_masks_learn_through_edits(twin: Twin, x: torch.Tensor) -> None:
    mask = torch.ones(6, requires_grad=True)
    twin(x, edits={"bn2": lambda v: v * mask.view(1, -1, 1, 1)}).square().sum().backward()
    assert mask.grad is not None
    assert (mask.grad != 0).all()


def test_unknown_names_are_refused(twin: Twin, x: torch.Tensor) -> None:
    with pytest.raises(KeyError, match="no such values in the twin: drop, nowhere"):
        twin(x, edits={"nowhere": torch.relu}, capture=["drop"])


def test_train_mode_moves_statistics_of_each_batchnorm_on_its_own(twin: Twin, x: torch.Tensor) -> None:
    before = [t.clone() for t in (*twin.statistics_of("bn1"), *twin.statistics_of("bn2"))]
    assert torch.equal(before[0], before[2])
    _, kept = twin.train()(x, capture=["conv1"])
    mean, var = twin.statistics_of("bn1")
    torch.testing.assert_close(mean, 0.9 * before[0] + 0.1 * kept["conv1"].mean((0, 2, 3)))
    torch.testing.assert_close(var, 0.9 * before[1] + 0.1 * kept["conv1"].var((0, 2, 3)))
    assert not torch.equal(mean, twin.statistics_of("bn2")[0])
    bn = twin(x, capture=["bn1"])[1]["bn1"]
    torch.testing.assert_close(bn.mean((0, 2, 3)), twin.parameter_of("beta"), atol=1e-4, rtol=1e-4)


def test_a_copy_is_independent(twin: Twin, x: torch.Tensor) -> None:
    logits, other = twin(x), copy.deepcopy(twin)
    with torch.no_grad():
        other.parameter_of("w1").zero_()
    other.train()(x)
    assert torch.equal(twin(x), logits)
    assert not torch.equal(other.eval()(x), logits)


def test_state_goes_there_and_back(twin: Twin, x: torch.Tensor) -> None:
    other = build(network())
    with torch.no_grad():
        other.parameter_of("head").mul_(2.0)
    twin.load_state_dict(other.state_dict())
    assert torch.equal(twin(x), other(x))


def test_autocast_and_channels_last(twin: Twin, x: torch.Tensor) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        logits = twin(x.to(memory_format=torch.channels_last))
    assert logits.dtype == torch.bfloat16
    torch.testing.assert_close(logits.float(), twin(x), rtol=0.05, atol=0.5)
    _, kept = twin(x.to(memory_format=torch.channels_last), capture=["relu1"])
    assert kept["relu1"].is_contiguous(memory_format=torch.channels_last)


def test_predict_in_batches(twin: Twin, x: torch.Tensor) -> None:
    torch.testing.assert_close(twin.predict(x, batch=2), twin(x).detach())


def test_half_weights_become_float32() -> None:
    model = network()
    for tensor in model.graph.initializer:
        value = numpy_helper.to_array(tensor)
        tensor.CopyFrom(numpy_helper.from_array(value.astype(np.float16 if tensor.name != "w2" else np.float64), tensor.name))
    assert {p.dtype for p in build(model).parameters()} == {torch.float32}


def test_the_error_of_a_node_names_it(twin: Twin) -> None:
    with pytest.raises(RuntimeError) as caught:
        twin(torch.rand(1, 4, 8, 8))
    assert "conv1" in " ".join(caught.value.__notes__)


def build_nodes(*nodes: Any, opset: int = 17) -> Twin:
    floats = helper.make_tensor_value_info
    graph = helper.make_graph(list(nodes), "g", [floats("x", TensorProto.FLOAT, ["n", 4])], [floats("y", TensorProto.FLOAT, ["n", 4])])
    return build(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)]))


def test_all_unsupported_nodes_are_listed() -> None:
    with pytest.raises(UnsupportedOperator) as caught:
        build_nodes(
            helper.make_node("Det", ["x"], ["a"], name="first"),
            helper.make_node("Relu", ["a"], ["b"]),
            helper.make_node("FusedMatMul", ["b"], ["y"], name="second", domain="com.microsoft"),
        )
    assert [(name, op) for name, _, op, _ in caught.value.nodes] == [("first", "Det"), ("second", "FusedMatMul")]


@pytest.mark.parametrize("opset", [6, 27])
def test_other_opsets_are_refused(opset: int) -> None:
    with pytest.raises(InputRefused, match="7 to 26"):
        build_nodes(helper.make_node("Relu", ["x"], ["y"]), opset=opset)
