"""Every version of every operator that opsets 7 to 26 resolve to, against onnxruntime: onnx tests only the newest ones.

A case is a graph of one node, at the oldest opset that gives the version: its inputs (the first is fed, the others are stored) and
attributes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from rnpc.registry import OPSETS, since_version
from rnpc.twin import build
from rnpc.twin.node import OPERATORS, host

Case = tuple[list[np.ndarray | None], dict[str, Any]]
Maker = Callable[[int], Case]
"""Version -> inputs and attributes."""

RANDOM = np.random.default_rng(0)


def floats(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape).astype(np.float32)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


X, P, M = floats(2, 4, 6, 6), np.abs(floats(2, 4, 6, 6)) + 0.5, floats(5, 4)
B, I4 = floats(4, 1, 1), RANDOM.integers(0, 9, (2, 4, 6, 6))
CUBE, WEIGHT = floats(2, 4, 8, 8), floats(3, 4, 3, 3)
HALF = np.array(0.5, np.float32)


def fixed(*inputs: np.ndarray | None, **attributes: Any) -> Maker:
    """The same for all versions."""
    return lambda version: (list(inputs), attributes)


def setting(since: int, name: str, value: np.ndarray, *inputs: np.ndarray | None, **attributes: Any) -> Maker:
    """`value` is an input from version `since` on, and the attribute `name` before."""

    def make(version: int) -> Case:
        if version >= since:
            return [*inputs, value], attributes
        return list(inputs), {**attributes, name: value.tolist()}

    return make


def clip(version: int) -> Case:
    return ([X, -HALF, HALF], {}) if version >= 11 else ([X], {"min": -0.5, "max": 0.5})


def dropout(version: int) -> Case:
    return ([X, HALF], {}) if version >= 12 else ([X], {"ratio": 0.5})


def cut(version: int) -> Case:
    if version < 10:
        return [X], {"starts": [1, -4], "ends": [3, 99], "axes": [1, 3]}
    return [X, ints(1, -1), ints(3, -9), ints(1, 3), ints(1, -2)], {}


def pad(version: int) -> Case:
    sides = [0, 0, 1, 2, 0, 0, 0, 3]
    return ([X, ints(*sides), HALF], {}) if version >= 11 else ([X], {"pads": sides, "value": 0.5})


def top(version: int) -> Case:
    return ([X, ints(3)], {"axis": 1}) if version >= 10 else ([X], {"axis": 1, "k": 3})


def resize(version: int) -> Case:
    scales = np.array([1, 1, 2, 1.5], np.float32)
    if version == 10:
        return [X, scales], {"mode": "linear"}
    return [X, np.zeros(0, np.float32), scales], {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}


def upsample(version: int) -> Case:
    scales = np.array([1, 1, 2, 3], np.float32)
    return ([X, scales], {"mode": "nearest"}) if version >= 9 else ([X], {"mode": "nearest", "scales": scales.tolist()})


def group_norm(version: int) -> Case:
    return [X, floats(2 if version < 21 else 4), floats(2 if version < 21 else 4)], {"num_groups": 2, "epsilon": 1e-3}


def one_hot(version: int) -> Case:
    return [RANDOM.integers(-4, 4, (2, 3)), ints(4), np.array([0.0, 1.5], np.float32)], {"axis": 1}


def linear(version: int) -> Case:
    scale, zero = np.array([0.1, 0.2, 0.3, 0.4], np.float32), np.array([1, 2, 3, 4], np.uint8)
    return ([X, scale, zero], {"axis": 1}) if version >= 13 else ([X, scale[:1].reshape(()), zero[:1].reshape(())], {})


def codes(version: int) -> Case:
    inputs, attributes = linear(version)
    return [I4.astype(np.uint8), *inputs[1:]], attributes


UNARY = """
    Abs Ceil Cos DynamicQuantizeLinear Erf Exp Floor GlobalAveragePool GlobalMaxPool HardSwish Identity IsNaN Mish Neg Relu Round
    Shape Sigmoid Sign Sin Size Softplus Softsign Tanh
"""
BINARY = "Add Sub Mul Div Equal Greater GreaterOrEqual Less LessOrEqual Max Min Sum Mean PRelu"
REDUCE = "ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSumSquare"
CASES: dict[str, Maker] = {
    **{name: fixed(X) for name in UNARY.split()},
    **{name: fixed(P) for name in ("Log", "Reciprocal", "Sqrt")},
    **{name: fixed(X, B) for name in BINARY.split()},
    **{name: fixed(I4 > 4, I4 > 2) for name in ("And", "Or", "Xor")},
    **{name: setting(18, "axes", ints(1, 3), P, keepdims=0) for name in REDUCE.split()},
    **{name: fixed(X, axis=2) for name in ("Softmax", "LogSoftmax", "Flatten")},
    **{name: fixed(X, axis=1, keepdims=0) for name in ("ArgMax", "ArgMin")},
    "Attention": fixed(floats(2, 2, 5, 4), floats(2, 2, 5, 4), floats(2, 2, 5, 4)),
    "AveragePool": fixed(X, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 0, 1, 1]),
    "BatchNormalization": fixed(X, floats(4), floats(4), floats(4), np.abs(floats(4)), epsilon=1e-3),
    "Cast": fixed(X, to=6),
    "CastLike": fixed(X, ints(1)),
    "Celu": fixed(X, alpha=0.7),
    "Clip": clip,
    "Concat": fixed(X, X[:, :1], axis=1),
    "ConstantOfShape": fixed(ints(2, 3), value=helper.make_tensor("value", 1, [1], [1.5])),
    "Conv": fixed(X, WEIGHT, floats(3), pads=[0, 1, 1, 1], strides=[2, 1]),
    "ConvTranspose": fixed(X, floats(4, 3, 3, 3), floats(3), pads=[1, 0, 1, 1], strides=[2, 1], output_padding=[1, 0]),
    "CumSum": fixed(X, np.array(1, np.int32), reverse=1),
    "DepthToSpace": fixed(X, blocksize=2),
    "DequantizeLinear": codes,
    "Dropout": dropout,
    "Einsum": fixed(M, M, equation="ij,kj->ik"),
    "Elu": fixed(X, alpha=0.7),
    "Expand": fixed(M[:, :1], ints(2, 1, 3)),
    "EyeLike": fixed(M, k=1),
    "Gather": fixed(X, np.array([[0, 3], [1, 1]]), axis=1),
    "GatherElements": fixed(X, RANDOM.integers(0, 4, (2, 2, 6, 6)), axis=1),
    "GatherND": fixed(X, np.array([[0, 1], [1, 3]])),
    "Gelu": fixed(X, approximate="tanh"),
    "Gemm": fixed(M, floats(3, 4), floats(3), transB=1, alpha=0.5),
    "GridSample": fixed(X, np.clip(floats(2, 5, 3, 2), -1, 1), align_corners=1),
    "GroupNormalization": group_norm,
    "HardSigmoid": fixed(X, alpha=0.3),
    "InstanceNormalization": fixed(X, floats(4), floats(4)),
    "LRN": fixed(X, size=3),
    "LayerNormalization": fixed(X, floats(6), floats(6)),
    "LeakyRelu": fixed(X, alpha=0.2),
    "LpNormalization": fixed(X, axis=1, p=1),
    "MatMul": fixed(X, floats(6, 3)),
    "MaxPool": fixed(X, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 0, 1]),
    "Mod": fixed(I4, ints(4)),
    "Not": fixed(I4 > 4),
    "OneHot": one_hot,
    "Pad": pad,
    "Pow": fixed(P, HALF),
    "QuantizeLinear": linear,
    "RMSNormalization": fixed(X, floats(6)),
    "Range": fixed(ints(1).reshape(()), ints(9).reshape(()), ints(2).reshape(())),
    "ReduceSum": setting(13, "axes", ints(1, 3), X),
    "Reshape": fixed(X, ints(0, -1, 12)),
    "Resize": resize,
    "ScatterND": fixed(X, np.array([[0, 1], [1, 3]]), floats(2, 6, 6)),
    "Selu": fixed(X, alpha=1.5),
    "Slice": cut,
    "SpaceToDepth": fixed(CUBE, blocksize=2),
    "Split": setting(13, "split", ints(1, 3), X, axis=1),
    "Squeeze": setting(13, "axes", ints(1, -1), X[:, :1, :, :1]),
    "Swish": fixed(X),
    "ThresholdedRelu": fixed(X, alpha=0.3),
    "Tile": fixed(M, ints(2, 3)),
    "TopK": top,
    "Transpose": fixed(X, perm=[0, 2, 3, 1]),
    "Trilu": fixed(M, upper=0),
    "Unsqueeze": setting(13, "axes", ints(0, 3), M),
    "Upsample": upsample,
    "Where": fixed(X > 0, X, P),
}
OUTPUTS = {"Split": 2, "TopK": 2, "DynamicQuantizeLinear": 3}
LIFTED = {"Constant"}
"""No node of the twin: its versions are held by tests/passes/canonical/test_clean.py."""


def versions() -> list[tuple[str, int]]:
    pairs = {(e.op_type, since_version(e.op_type, o)) for e in OPERATORS for o in OPSETS}
    return sorted((op, v) for op, v in pairs if v is not None and op not in LIFTED and OPERATORS.find(op, max(v, OPSETS[0])) is not None)


def model(op: str, version: int) -> tuple[onnx.ModelProto, np.ndarray]:
    """A graph of one node at the oldest opset of that version, and what is fed."""
    inputs, attributes = CASES[op](version)
    names = [f"i{k}" if value is not None else "" for k, value in enumerate(inputs)]
    outputs = [f"o{k}" for k in range(OUTPUTS.get(op, 1))]
    node = helper.make_node(op, names, outputs, **attributes)
    first = inputs[0]
    assert first is not None
    feed = helper.make_tensor_value_info("i0", helper.np_dtype_to_tensor_dtype(first.dtype), first.shape)
    stored = [numpy_helper.from_array(v, n) for n, v in zip(names[1:], inputs[1:], strict=True) if v is not None]
    graph = helper.make_graph([node], "g", [feed], [onnx.ValueInfoProto(name=name) for name in outputs], stored)
    opsets = [helper.make_opsetid("", max(version, OPSETS[0]))]
    made = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    return onnx.shape_inference.infer_shapes(made), first


def wanted(proto: onnx.ModelProto, feed: np.ndarray) -> list[np.ndarray]:
    """onnxruntime's outputs, or those of onnx's reference where it has no kernel for the version."""
    options = ort.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    try:
        return [np.asarray(v) for v in ort.InferenceSession(proto.SerializeToString(), options).run(None, {"i0": feed})]
    except Exception:
        return [np.asarray(v) for v in ReferenceEvaluator(proto).run(None, {"i0": feed})]  # type: ignore[union-attr]


@pytest.mark.parametrize("op", sorted({op for op, _ in versions()}))
def test_versions(op: str) -> None:
    for version in (v for name, v in versions() if name == op):
        proto, feed = model(op, version)
        found, _ = build(proto).evaluate([host(feed)])
        for got, want in zip(found, wanted(proto, feed), strict=True):
            value = got.detach().numpy()
            assert value.shape == want.shape, version
            np.testing.assert_allclose(value.astype(np.float64), want.astype(np.float64), rtol=1e-4, atol=1e-5, err_msg=str(version))


def test_no_operator_is_forgotten() -> None:
    assert CASES.keys() | LIFTED == {entry.op_type for entry in OPERATORS}
