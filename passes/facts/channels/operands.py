"""Stored tensors as a layer reads them: as they are, or through nodes that only change their form.

A weight may stand behind Identity, a Constant node, a Transpose, a Cast, or QuantizeLinear and DequantizeLinear with a scale for each
channel. An `Operand` holds the array that the layer sees, and the tensors behind it with the axis of each that follows an axis of the
array: to cut an axis is to cut all of those. Where another node reads the chain too, it is no operand: that reader would see the cut.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from rnpc.passes.facts.view import Slot, View, attribute, is_onnx

FLOATS = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16)


@dataclass(frozen=True)
class Leaf:
    """A use of a stored tensor; `axes`: axis of the operand -> axis of the tensor."""

    slot: Slot
    axes: Mapping[int, int]


@dataclass(frozen=True)
class Operand:
    """`array`: what the layer sees. `plain`: that is the stored float tensor itself, which may be given other numbers.

    `chain`: the computed values between tensor and layer, with the axis of each that follows an axis of the array.
    """

    array: np.ndarray
    plain: bool
    leaves: tuple[Leaf, ...]
    chain: tuple[tuple[str, Mapping[int, int]], ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the array."""
        return self.array.shape


def find_operand(view: View, slot: Slot) -> Operand | None:
    """The stored tensor behind a use, or None."""
    name = view.nodes[slot[0]].input[slot[1]]
    tensor = view.tensor(name)
    if tensor is not None:
        array = np.asarray(numpy_helper.to_array(tensor))
        same = {axis: axis for axis in range(array.ndim)}
        return Operand(array, tensor.data_type in FLOATS, (Leaf(slot, same),))
    node = view.maker(name)
    if node is None or not is_onnx(node) or view.only_reader(name) != slot[0] or node.op_type not in THROUGH:
        return None
    inner = find_operand(view, (view.makers[name], 0))
    made = None if inner is None else THROUGH[node.op_type](view, node, view.makers[name], inner)
    return None if made is None else replace(made, plain=False, chain=(*made.chain, (name, {a: a for a in range(made.array.ndim)})))


def transposed(view: View, node: NodeProto, k: int, inner: Operand) -> Operand:
    """Axes in another order."""
    order = attribute(node, "perm") or list(range(inner.array.ndim))[::-1]
    leaves = tuple(Leaf(leaf.slot, {new: leaf.axes[old] for new, old in enumerate(order) if old in leaf.axes}) for leaf in inner.leaves)
    chain = tuple((name, {new: axes[old] for new, old in enumerate(order) if old in axes}) for name, axes in inner.chain)
    return replace(inner, array=inner.array.transpose(order), leaves=leaves, chain=chain)


def cast(view: View, node: NodeProto, k: int, inner: Operand) -> Operand | None:
    """Another float type."""
    kind = attribute(node, "to")
    return replace(inner, array=inner.array.astype(helper.tensor_dtype_to_np_dtype(kind))) if kind in FLOATS else None


def requantised(view: View, node: NodeProto, k: int, inner: Operand) -> Operand | None:
    """QuantizeLinear or DequantizeLinear: one scale for all, or one for each position of an axis (not for blocks)."""
    scale, axis = side(view, node, k, 1, inner), attribute(node, "axis", 1) % max(inner.array.ndim, 1)
    zero = side(view, node, k, 2, inner) if len(node.input) > 2 and node.input[2] else None
    if scale is None or attribute(node, "block_size", 0) or (len(node.input) > 2 and node.input[2] and zero is None):
        return None
    spread = [-1 if a == axis and scale.array.size > 1 else 1 for a in range(inner.array.ndim)]
    scales = scale.array.astype(np.float64).reshape(spread)
    zeros = (
        np.zeros(1)
        if zero is None
        else zero.array.astype(np.float64).reshape([-1 if s == -1 and zero.array.size > 1 else 1 for s in spread])
    )
    array, values = inner.array.astype(np.float64), None
    if node.op_type == "DequantizeLinear":
        values = ((array - zeros) * scales).astype(scale.array.dtype)
    else:
        kind = np.dtype(zero.array.dtype) if zero is not None else np.dtype(np.uint8)
        if kind not in (np.dtype(np.int8), np.dtype(np.uint8), np.dtype(np.int16), np.dtype(np.uint16)):
            return None
        values = np.clip(np.rint(array / scales) + zeros, np.iinfo(kind).min, np.iinfo(kind).max).astype(kind)
    leaves = [*inner.leaves, *(Leaf((k, i), {axis: 0}) for i, t in ((1, scale), (2, zero)) if t is not None and t.array.size > 1)]
    return replace(inner, array=values, leaves=tuple(leaves))


def side(view: View, node: NodeProto, k: int, slot: int, inner: Operand) -> Operand | None:
    """A stored scale or zero point: one number, or one for each position of the axis."""
    found = find_operand(view, (k, slot))
    if found is None or found.chain:
        return None
    axis = attribute(node, "axis", 1) % max(inner.array.ndim, 1)
    fits = found.array.size == 1 or (found.array.ndim == 1 and found.array.size == inner.array.shape[axis])
    return found if fits else None


THROUGH = {"Transpose": transposed, "Cast": cast, "QuantizeLinear": requantised, "DequantizeLinear": requantised}
