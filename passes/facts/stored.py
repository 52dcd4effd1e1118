"""The stored tensor behind a node's input: through Identity, through a Cast between float types, through a Transpose of a matrix, and as
codes: through DequantizeLinear, or QuantizeLinear and DequantizeLinear on float weights.

Exporters write a weight in all of these ways. A tensor that reaches a node through such nodes can be edited where it is stored; where
others read it too, it is cloned at the first of these nodes, which therefore must serve this one reader alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from rnpc.passes.facts.coding import Coding, is_linear, of_node
from rnpc.passes.facts.view import FLOATS, Slot, View, attribute, is_op


@dataclass(frozen=True)
class Stored:
    """`name`, `tensor`: as stored. `slot`: the input through which it is read there. `dims`: as the node sees it.

    `flipped`: rows and columns are exchanged between the two. `cast`: the node computes in another type. `coding`: how its codes are read;
    None for float numbers. `rounded`: float numbers that a QuantizeLinear makes codes of.
    """

    name: str
    tensor: TensorProto
    slot: Slot
    dims: tuple[int, ...]
    flipped: bool
    cast: bool
    coding: Coding | None = None
    rounded: bool = False


def stored(view: View, slot: Slot) -> Stored | None:
    """The tensor of float numbers or codes that a node reads at `slot`; None where there is none, or where others share what is between."""
    node, at = view.nodes[slot[0]], slot
    name = node.input[slot[1]] if slot[1] < len(node.input) else ""
    flipped, cast, path, coded = False, False, list[str](), list[NodeProto]()
    while (k := view.makers.get(name)) is not None and name not in view.tensors:
        maker = view.nodes[k]
        turned, changed = turns(maker), is_op(maker, "Cast") and attribute(maker, "to") in FLOATS
        levels = is_linear(maker, "DequantizeLinear") and not coded
        levels = levels or (is_linear(maker, "QuantizeLinear") and len(coded) == 1 and alike(maker, coded[0]))
        path.append(name)
        if not maker.input or not (turned or changed or levels or is_op(maker, "Identity")) or (coded and (turned or changed)):
            return None
        if not is_op(maker, "Identity") and any(view.only_reader(value) is None for value in path):
            return None
        at = at if is_op(maker, "Identity") else (k, 0)
        coded += [maker] if levels else []
        flipped, cast, name = flipped ^ turned, cast or changed, maker.input[0]
    tensor = view.tensors.get(name)
    if tensor is None or (flipped and len(tensor.dims) != 2):
        return None
    dims = tuple(tensor.dims)
    found = Stored(name, tensor, at, dims[::-1] if flipped else dims, flipped, cast)
    return as_stored(view, found, coded)


def as_stored(view: View, found: Stored, coded: Sequence[NodeProto]) -> Stored | None:
    """With what stands between codes and numbers: nothing, DequantizeLinear, or that with QuantizeLinear before it."""
    if len(coded) == 1:
        coding = of_node(view, coded[0], found.tensor)
        return None if coding is None else replace(found, coding=coding)
    return replace(found, rounded=bool(coded)) if found.tensor.data_type in FLOATS else None


def alike(first: NodeProto, second: NodeProto) -> bool:
    """Whether a QuantizeLinear and a DequantizeLinear have one scale and zero point, so that 0 stays 0."""
    return list(first.input[1:]) == list(second.input[1:])


def values(view: View, slot: Slot) -> np.ndarray | None:
    """The tensor as the node reads it, in float64 (a Cast to a shorter type rounds); None where it is computed. Others may share it."""
    node = view.nodes[slot[0]]
    return array(view, node.input[slot[1]] if slot[1] < len(node.input) else "")


def array(view: View, name: str) -> np.ndarray | None:
    """The same by the value's name."""
    maker = view.maker(name)
    if name in view.tensors:
        return np.asarray(numpy_helper.to_array(view.tensors[name])).astype(np.float64)
    if maker is None or not maker.input:
        return None
    if is_op(maker, "Cast") and attribute(maker, "to") in FLOATS:
        inner = array(view, maker.input[0])
        return None if inner is None else inner.astype(helper.tensor_dtype_to_np_dtype(attribute(maker, "to"))).astype(np.float64)
    if turns(maker):
        inner = array(view, maker.input[0])
        return inner.T if inner is not None and inner.ndim == 2 else None
    return array(view, maker.input[0]) if is_op(maker, "Identity") else None


def turns(node: NodeProto) -> bool:
    """Whether the node transposes a matrix."""
    return is_op(node, "Transpose") and list(attribute(node, "perm", [1, 0])) == [1, 0]
