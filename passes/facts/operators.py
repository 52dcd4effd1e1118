"""Sites of operators on codes: QLinearConv, QGemm, and QLinearMatMul with the addition behind it, onnx's and onnxruntime's.

    q_y = round(s_x s_w / s_y (sum of (q_x - z_x) (q_w - z_w) + b)) + z_y,    b an int32 with scale s_x s_w

A channel whose weights are all z_w leaves s_x s_w b, which is rounded to a code of the output as any value is. A bias that is missing can
be added, since its scale is known. The products of a MatMul are rounded before the bias is added: a channel of zeros keeps zero there.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np
from onnx import NodeProto, TensorProto

from rnpc.passes.canonical.qforms import MICROSOFT, key
from rnpc.passes.facts.coding import Coding, coding_of, is_linear, numbers, product, zero_code
from rnpc.passes.facts.place import Place, is_row, made, stored_bias
from rnpc.passes.facts.stored import Stored
from rnpc.passes.facts.view import Slot, View, attribute, is_op

CONVS = (("", "QLinearConv"), (MICROSOFT, "QLinearConv"))
GEMM, MATMUL, ADD = (MICROSOFT, "QGemm"), ("", "QLinearMatMul"), (MICROSOFT, "QLinearAdd")


def linear_codes(view: View, k: int) -> bool:
    """Whether node k is a layer on codes with weights of its own."""
    node = view.nodes[k]
    return key(node) in (*CONVS, GEMM) or (key(node) == MATMUL and any(view.tensor(node.input[slot]) is not None for slot in (0, 3)))


def on_codes_place(view: View, k: int, node: NodeProto) -> Place | None:
    """The site of a QLinearConv or QGemm."""
    conv = key(node) in CONVS
    if not conv and (key(node) != GEMM or attribute(node, "transA", 0)):
        return None
    axis = 0 if conv or attribute(node, "transB", 0) else 1
    weight, slot, alpha = operand(view, k, 3, axis), (k, 8 if conv else 6), 1.0 if conv else float(attribute(node, "alpha", 1.0))
    if weight is None or (len(weight.dims) < 3 if conv else len(weight.dims) != 2) or attribute(node, "channels_last", 0):
        return None
    scale = product([numbers(view, node.input[place]) for place in (1, 4)], alpha)
    if scale is None:
        return None
    coding = Coding(scale, np.zeros(1, np.int64), 0, TensorProto.INT32)
    bias = row(view, slot, coding)
    if bias is None:
        codes = None if given(node, slot[1]) else coding.codes(weight.dims[axis])
        place = None if codes is None else made(node, k, "conv" if conv else "linear", weight, axis, None, slot, codes)
        return None if place is None else replace(place, bias_type=TensorProto.INT32)
    return made(node, k, "conv" if conv else "linear", weight, axis, bias, slot) if is_row(bias, weight.dims[axis]) else None


def given(node: NodeProto, slot: int) -> bool:
    """Whether the node has an input there."""
    return slot < len(node.input) and bool(node.input[slot])


def operand(view: View, k: int, start: int, axis: int) -> Stored | None:
    """The stored codes that node k reads at `start`, their scale and zero point behind them; scales may run along `axis`."""
    codes, scale, zero = [*view.nodes[k].input, "", "", ""][start : start + 3]
    tensor = view.tensor(codes)
    coding = None if tensor is None else coding_of(view, tensor, scale, zero, axis)
    if tensor is None or coding is None:
        return None
    return Stored(view.root(codes), tensor, (k, start), tuple(tensor.dims), False, False, coding)


def row(view: View, slot: Slot, coding: Coding) -> Stored | None:
    """The stored int32 bias at a slot."""
    tensor = view.tensor(view.nodes[slot[0]].input[slot[1]]) if given(view.nodes[slot[0]], slot[1]) else None
    if tensor is None or tensor.data_type != TensorProto.INT32:
        return None
    return Stored(view.root(view.nodes[slot[0]].input[slot[1]]), tensor, slot, tuple(tensor.dims), False, False, coding)


def addition(view: View, k: int) -> tuple[int, Stored] | None:
    """The node that alone adds a stored row to what node k makes, rounded to codes in between or not, and the row.

    None too where a zero that node k makes is no zero in the sum.
    """
    value, point = view.nodes[k].output[0], None
    if key(view.nodes[k]) == MATMUL:
        point = zero_code(view, view.nodes[k].input[7])
        if point is None:
            return None
    while (reader := view.only_reader(value)) is not None and is_linear(view.nodes[reader], "QuantizeLinear", "DequantizeLinear"):
        node = view.nodes[reader]
        level = zero_code(view, [*node.input, ""][2])
        if node.input[0] != value or level is None or (point is not None and point != level) or not node.output:
            return None
        value, point = node.output[0], level if node.op_type == "QuantizeLinear" else None
    return None if reader is None else added(view, reader, value, point)


def added(view: View, k: int, value: str, point: int | None) -> tuple[int, Stored] | None:
    """Node k as such an addition; `point`: the code of zero in `value`, None where it holds numbers."""
    node, bias = view.nodes[k], None
    if is_op(node, "Add") and point is None:
        bias = stored_bias(view, (k, 1 - list(node.input).index(value)))
    elif key(node) == ADD and point is not None:
        start = list(node.input).index(value)
        same = start in (0, 3) and zero_code(view, node.input[start + 2]) == point
        bias = operand(view, k, 3 - start, -1) if same else None
    return None if bias is None or not node.output or len(bias.dims) > 2 or not prod(bias.dims) else (k, bias)


def matmul_weight(view: View, k: int) -> Stored | None:
    """The stored codes [in, units] of a QLinearMatMul."""
    return operand(view, k, 3, -1) if key(view.nodes[k]) == MATMUL else None
