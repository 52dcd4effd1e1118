"""The operators that work on codes, and what each is made of: the table that `quantised` rewrites by.

QOperators are onnx's own (QLinearConv, ...) and onnxruntime's (domain com.microsoft), as its quantiser writes them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from onnx import ModelProto, NodeProto

from rnpc.passes.facts.view import is_onnx

MICROSOFT = "com.microsoft"


@dataclass(frozen=True)
class Form:
    """A QOperator: the float operator, where its operands (value, scale, zero point) start, where the result's scale and zero point stand.

    `bias`: where an int32 bias stands, whose scale is the product of the operands'. `drop`: attributes that the float operator lacks.
    """

    op_type: str
    operands: tuple[int, ...]
    result: int
    bias: int | None = None
    drop: tuple[str, ...] = ()


FORMS: dict[tuple[str, str], Form] = {
    ("", "QLinearConv"): Form("Conv", (0, 3), 6, 8),
    ("", "QLinearMatMul"): Form("MatMul", (0, 3), 6),
    (MICROSOFT, "QLinearConv"): Form("Conv", (0, 3), 6, 8, ("channels_last",)),
    (MICROSOFT, "QGemm"): Form("Gemm", (0, 3), 7, 6),
    (MICROSOFT, "QLinearAdd"): Form("Add", (0, 3), 6),
    (MICROSOFT, "QLinearMul"): Form("Mul", (0, 3), 6),
    (MICROSOFT, "QLinearSigmoid"): Form("Sigmoid", (0,), 3),
    (MICROSOFT, "QLinearLeakyRelu"): Form("LeakyRelu", (0,), 3),
    (MICROSOFT, "QLinearGlobalAveragePool"): Form("GlobalAveragePool", (0,), 3, None, ("channels_last",)),
    (MICROSOFT, "QLinearAveragePool"): Form("AveragePool", (0,), 3, None, ("channels_last",)),
    (MICROSOFT, "QLinearSoftmax"): Form("Softmax", (0,), 3, None, ("opset",)),
    (MICROSOFT, "QLinearConcat"): Form("Concat", (), 0),
}
INTEGER = {"ConvInteger": "Conv", "MatMulInteger": "MatMul"}
LINEAR = ("QuantizeLinear", "DequantizeLinear")


def quantised(model: ModelProto) -> bool:
    """Whether any node, those of local functions included, works on codes."""
    return any(key(node) in FORMS or on_codes(node) for nodes in bodies(model) for node in nodes)


def bodies(model: ModelProto) -> Iterable[Iterable[NodeProto]]:
    """Nodes of the graph and of the local functions."""
    return [model.graph.node, *(function.node for function in model.functions)]


def key(node: NodeProto) -> tuple[str, str]:
    """The node's operator, as `FORMS` names it."""
    return ("" if is_onnx(node) else node.domain, node.op_type)


def on_codes(node: NodeProto) -> bool:
    """A quantised operator other than those of `FORMS`."""
    if node.op_type in LINEAR:
        return is_onnx(node) or node.domain == MICROSOFT
    return is_onnx(node) and (node.op_type in INTEGER or node.op_type == "DynamicQuantizeLinear")
