"""How stored codes are read: the scale and the zero point of a quantised tensor, and what its entries can say.

An entry q stands for scale (q - zero). Scale and zero point hold for the whole tensor or for each position of one axis. A channel whose
weights are all at their zero point gives no product, whatever comes in; a bias entry holds a constant up to half a step of its scale.

Not covered: scales in blocks, computed scales, codes of fewer than eight bits, float8.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from rnpc.passes.canonical.qforms import MICROSOFT
from rnpc.passes.facts.view import View, attribute, is_onnx
from rnpc.program import Codes

KINDS = (TensorProto.INT8, TensorProto.UINT8, TensorProto.INT16, TensorProto.UINT16, TensorProto.INT32)


@dataclass(frozen=True)
class Coding:
    """`scale` and `zero` (int64): one entry, or one for each position of `axis` of the stored tensor. `kind`: the codes' type, `real`: that
    of the numbers that they stand for (TensorProto)."""

    scale: np.ndarray
    zero: np.ndarray
    axis: int
    kind: int
    real: int = TensorProto.FLOAT

    def points(self, channels: int, axis: int) -> tuple[int, ...] | None:
        """The zero point of each channel along `axis`; None where it differs within a channel."""
        if self.zero.size > 1 and self.axis != axis and len(set(self.zero.tolist())) > 1:
            return None
        return tuple(np.resize(self.zero, channels).tolist())

    def codes(self, channels: int) -> Codes | None:
        """What the entries of a row of `channels` can say; None where a scale is no positive number."""
        scale = np.resize(self.scale.astype(np.float32), channels)
        if not (np.isfinite(scale) & (scale > 0)).all():
            return None
        limits = np.iinfo(helper.tensor_dtype_to_np_dtype(self.kind))
        return Codes(tuple(scale.tolist()), tuple(np.resize(self.zero, channels).tolist()), int(limits.min), int(limits.max))


def is_linear(node: NodeProto, *names: str) -> bool:
    """Whether the node is QuantizeLinear or DequantizeLinear (as `names` say), onnx's or onnxruntime's."""
    return node.op_type in names and (is_onnx(node) or node.domain == MICROSOFT)


def numbers(view: View, name: str) -> np.ndarray | None:
    """The stored scale or zero point of that name; None where it is computed or has more than one axis."""
    tensor = view.tensor(name)
    array = None if tensor is None else np.asarray(numpy_helper.to_array(tensor))
    return None if array is None or (array.ndim > 1 and array.size > 1) else array.reshape(-1)


def coding_of(view: View, tensor: TensorProto, scale: str, zero: str, axis: int) -> Coding | None:
    """The coding of a stored tensor by the names of its scale and zero point ("" where there is none)."""
    scales = numbers(view, scale)
    points = np.zeros(1, np.int64) if not zero else numbers(view, zero)
    if tensor.data_type not in KINDS or scales is None or points is None:
        return None
    axis = axis % max(len(tensor.dims), 1)
    fits = all(part.size in (1, tensor.dims[axis] if tensor.dims else 1) for part in (scales, points))
    stored = view.tensor(scale)
    return Coding(scales, points.astype(np.int64), axis, tensor.data_type, stored.data_type if stored else 0) if fits else None


def of_node(view: View, node: NodeProto, tensor: TensorProto) -> Coding | None:
    """How a DequantizeLinear reads the tensor that is its input."""
    scale, zero = [*node.input[1:], "", ""][:2]
    return None if attribute(node, "block_size", 0) else coding_of(view, tensor, scale, zero, int(attribute(node, "axis", 1)))


def zero_code(view: View, name: str) -> int | None:
    """The one stored zero point of that name (0 where there is none); None where it is computed or has several entries."""
    if not name:
        return 0
    found = numbers(view, name)
    return int(found[0]) if found is not None and found.size == 1 else None


def product(scales: Sequence[np.ndarray | None], alpha: float = 1.0) -> np.ndarray | None:
    """The scale of sums of products, alpha times both operands' scales in float32; None where the first is not one number."""
    first, second = scales
    if first is None or second is None or first.size != 1:
        return None
    return np.asarray(np.float32(alpha) * first.astype(np.float32) * second.astype(np.float32))
