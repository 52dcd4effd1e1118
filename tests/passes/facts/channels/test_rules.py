"""Each operator's rule on a graph of its own: constants are what the reference computes, and a rule that is off by one is caught.

In each graph channel 1 of `a` is made the constant that is given, by a filter of zeros; the rule under test makes `b` of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto
from onnx.reference import ReferenceEvaluator

from rnpc.passes.facts.channels import RULES, Facts, analyse
from rnpc.passes.facts.channels.base import Step

Make = Callable[..., ModelProto]
HEAD = "g (double[N,3,4,4] x) => (double[N,2] y) {{ a = Conv (x, w, c) {} r = ReduceMax <keepdims = 0> (b) y = Mul (r, two) }}"
UNARY = ["Relu", "Sigmoid", "Tanh", "Softplus", "Softsign", "Erf", "Exp", "Sqrt", "Abs", "Neg", "Floor", "Ceil", "Reciprocal"]
UNARY += [
    "Log",
    "Identity",
    "Elu",
    "Selu",
    "LeakyRelu",
    "HardSigmoid",
    "ThresholdedRelu",
    "Round",
    "Dropout",
    "HardSwish",
    "Mish",
    "Gelu",
    "Swish",
]
SINCE = {"HardSwish": 14, "Mish": 18, "Gelu": 20, "Swish": 24}
FORMS = {
    "Clip": "lo = Constant <value = double {-0.25}> () hi = Constant <value = double {0.25}> () b = Clip (a, lo, hi)",
    "PRelu": "b = PRelu (a, slope)",
    "Cast": "h = Cast <to = 1> (a) b = Cast <to = 11> (h)",
    "Add": "b = Add (a, slope)",
    "Sub": "b = Sub (slope, a)",
    "Mul": "b = Mul (a, slope)",
    "Div": "b = Div (slope, a)",
    "Pow": "b = Pow (a, square)",
    "Max": "b = Max (a, slope)",
    "Min": "b = Min (a, slope)",
    "Sum": "b = Sum (a, slope, a)",
    "Mean": "b = Mean (a, slope)",
    "BatchNormalization": "b = BatchNormalization (a, p, q, m, v)",
    "InstanceNormalization": "b = InstanceNormalization (a, p, q)",
    "MaxPool": "b = MaxPool <kernel_shape = [2, 2], pads = [1, 1, 1, 1]> (a)",
    "AveragePool": "b = AveragePool <kernel_shape = [2, 2], pads = [1, 1, 1, 1]> (a)",
    "GlobalAveragePool": "b = GlobalAveragePool (a)",
    "GlobalMaxPool": "b = GlobalMaxPool (a)",
    "ReduceMean": "b = ReduceMean <axes = [2, 3]> (a)",
    "ReduceMax": "b = ReduceMax <axes = [2], keepdims = 0> (a)",
    "ReduceMin": "b = ReduceMin <axes = [3]> (a)",
    "Flatten": "b = Flatten (a)",
    "Reshape": "b = Reshape (a, flat)",
    "Transpose": "b = Transpose <perm = [0, 2, 3, 1]> (a)",
    "Unsqueeze": "b = Unsqueeze (a, one)",
    "Squeeze": "h = Unsqueeze (a, one) b = Squeeze (h, one)",
    "Concat": "b = Concat <axis = 1> (a, a)",
    "Split": "b, e = Split <axis = 1> (a, sizes)",
    "Slice": "b = Slice (a, one, four, one)",
    "Gather": "b = Gather <axis = 1> (a, order)",
    "Pad": 'b = Pad <mode = "edge"> (a, pads)',
    "Resize": 'b = Resize <mode = "nearest"> (a, , scales)',
    "Expand": "b = Expand (a, shape)",
    "Conv": "b = Conv (a, w2, c)",
    "ConvTranspose": "b = ConvTranspose (a, w2, c)",
    "Gemm": "h = GlobalMaxPool (a) f = Flatten (h) b = Gemm <alpha = 3.0, beta = 0.5> (f, g, c)",
    "MatMul": "h = Transpose <perm = [0, 2, 3, 1]> (a) b = MatMul (h, g)",
}
TENSORS: dict[str, np.ndarray] = {
    "two": np.array([2.0, 2.0]),
    "square": np.array(2.0),
    "slope": np.array([2.0, 3.0, 0.5, -1.0]).reshape(4, 1, 1),
    "p": np.array([1.0, 2.0, 3.0, 0.5]),
    "q": np.array([0.5, -1.0, 2.0, 1.0]),
    "m": np.array([0.5, 0.25, 1.0, 0.0]),
    "v": np.array([1.0, 2.0, 0.5, 1.0]),
    "flat": np.array([0, 4, 16]),
    "one": np.array([1]),
    "four": np.array([2**40]),
    "sizes": np.array([3, 1]),
    "order": np.array([3, 1, 0, 2]),
    "pads": np.array([0, 0, 1, 0, 0, 0, 0, 1]),
    "scales": np.array([1, 1, 2, 2], np.float32),
    "shape": np.array([2, 1, 4, 4, 4]),
}
CASES = [(name, f"b = {name} (a)") for name in UNARY] + list(FORMS.items())


def model_of(make: Make, body: str, constant: float, opset: int = 17) -> ModelProto:
    rng = np.random.default_rng(0)
    w, c = rng.normal(size=(4, 3, 1, 1)), rng.normal(size=4)
    w[1], c[1] = 0, constant
    w2, g = rng.normal(size=(4, 4, 1, 1)), rng.normal(size=(4, 4))
    w2[2, [0, 2, 3]] = w2[[0, 2, 3], 2] = g[[0, 2, 3], 2] = 0  # output 2 reads input 1 only, in either layout
    tensors = {**TENSORS, "w": w, "c": c, "w2": w2, "g": g}
    return make(HEAD.format(body), tensors, opset=opset, ir=10)


def wrong(model: ModelProto) -> tuple[Facts, list[str]]:
    """Facts, and the values for which they are not true."""
    facts = analyse(model)
    model = onnx.load_from_string(model.SerializeToString())
    model.graph.output.extend(onnx.helper.make_tensor_value_info(name, 11, None) for name in ("a", "b"))
    feeds: Any = {"x": np.random.default_rng(1).uniform(0.1, 1, (2, 3, 4, 4))}
    with np.errstate(all="ignore"):
        found = dict(zip(("a", "b"), ReferenceEvaluator(model).run(["a", "b"], feeds), strict=True))
    bad = []
    for name, known in ((name, facts.values.get(name)) for name in ("a", "b")):
        if known is None:
            bad.append(f"{name} is unknown")
            continue
        rows = np.moveaxis(found[name], known.axis, 0).reshape(known.count, -1)
        sure = ~np.isnan(known.constant)
        if np.abs(rows[sure] - known.constant[sure, None]).max(initial=0) > 1e-6 or not sure.any():
            bad.append(name)
    return facts, bad


@pytest.mark.parametrize("constant", [0.0, 0.5, -0.75])
@pytest.mark.parametrize(("op_type", "body"), CASES, ids=[name for name, _ in CASES])
def test_constants(op_type: str, body: str, constant: float, make: Make) -> None:
    if op_type in ("Sqrt", "Log", "Reciprocal", "Div") and constant <= 0:
        constant = 0.25
    if op_type == "InstanceNormalization":
        constant = 0.0
    _, bad = wrong(model_of(make, body, constant, SINCE.get(op_type, 17)))
    assert not bad


@pytest.mark.parametrize(("op_type", "body"), CASES, ids=[name for name, _ in CASES])
def test_off_by_one_is_caught(op_type: str, body: str, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutant of every rule: its constants are one too large."""
    put = Step.put

    def broken(self: Step, axis: int, ids: np.ndarray, constant: np.ndarray | None = None, output: int = 0) -> None:
        more = 1.0 if self.node.op_type == op_type and "b" in self.node.output else 0.0
        put(self, axis, ids, None if constant is None else constant + more, output)

    monkeypatch.setattr(Step, "put", broken)
    _, bad = wrong(model_of(make, body, 0.0 if op_type == "InstanceNormalization" else 0.5, SINCE.get(op_type, 17)))
    assert bad == ["b"]


STOPS = {
    "b = Softmax <axis = 1> (a)": "every channel sees every other",
    "b = LRN <size = 3> (a)": "channels see their neighbours",
    "b = LayerNormalization <axis = 1> (a, ones)": "every channel sees every other",
    "b = ReduceSum <keepdims = 1> (a, one)": "it reduces the channels",
    "b = DepthToSpace <blocksize = 2> (a)": "has no rule",
    "h, i = MaxPool <kernel_shape = [2, 2]> (a) b = Identity (h)": "its indices are asked for",
    "b = Gather <axis = 1> (a, doubled)": "it takes a channel twice",
    "b = Slice (a, start, zero, one, back)": "it takes channels in steps",
    "b = own.Relu (a)": "own Relu has no rule",
    "h = Abs (w2) b = Conv (a, h)": "the weight is not stored",
    "b = BatchNormalization <training_mode = 1> (a, p, q, m, v)": "it does not use its stored statistics",
    "d = Concat <axis = 1> (a, a, a) h = Reshape (d, odd) b = Identity (h)": "cannot be followed",
    "h = Transpose <perm = [0, 2, 1, 3]> (a) b = Add (h, a)": "do not fall together",
    "h = Transpose <perm = [0, 2, 3, 1]> (a) b = Conv (h, w2)": "it mixes another axis",
    "h = Shape (a) b = Reshape (a, h)": "the number of channels is computed with",
}


@pytest.mark.parametrize(("body", "reason"), STOPS.items())
def test_stops_and_pins(body: str, reason: str, make: Make) -> None:
    """What is not covered ends the analysis with its reason, and all channels of `a` stay."""
    model = model_of(make, body, 0.5)
    extra = {
        "ones": np.ones((4, 4, 4)),
        "doubled": np.array([0, 1, 1]),
        "start": np.array([3]),
        "zero": np.array([-9]),
        "back": np.array([-2]),
    }
    extra["odd"] = np.array([0, 8, 24])
    model.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in extra.items())
    facts = analyse(model)
    assert any(reason in why for why in facts.stops.values()), facts.stops
    assert all(int(root) in facts.pins for root in facts.roots[facts.values["a"].ids])


def test_every_rule_is_listed() -> None:
    """A new operator needs a case here, or a reason to have none."""
    elsewhere = {
        "GroupNormalization",
        "QuantizeLinear",
        "DequantizeLinear",
        "LogSoftmax",
        "RMSNormalization",
        "ReduceSum",
        "ReduceL1",
        "ReduceL2",
    }
    elsewhere |= {"Upsample", "Shape", "Softmax", "LRN", "LayerNormalization"}
    assert {entry.op_type for entry in RULES} == {name for name, _ in CASES} | elsewhere
