"""The stored tensor behind a node's input: through Identity, through a Cast between float types, and through a Transpose of a matrix.

Exporters write a weight in all of these ways. A tensor that reaches a node through Cast or Transpose can be edited where it is stored;
where others read it too, it is cloned at the first of these nodes, which therefore must serve this one reader alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from rnpc.passes.facts.view import FLOATS, Slot, View, attribute, is_op


@dataclass(frozen=True)
class Stored:
    """`name`, `tensor`: as stored. `slot`: the input through which it is read there. `dims`: as the node sees it.

    `flipped`: rows and columns are exchanged between the two. `cast`: the node computes in another type.
    """

    name: str
    tensor: TensorProto
    slot: Slot
    dims: tuple[int, ...]
    flipped: bool
    cast: bool


def stored(view: View, slot: Slot) -> Stored | None:
    """The float tensor that a node reads at `slot`; None where there is none, or where others share what stands between."""
    node, at = view.nodes[slot[0]], slot
    name = node.input[slot[1]] if slot[1] < len(node.input) else ""
    flipped, cast, path = False, False, list[str]()
    while (k := view.makers.get(name)) is not None and name not in view.tensors:
        maker = view.nodes[k]
        turned, changed = turns(maker), is_op(maker, "Cast") and attribute(maker, "to") in FLOATS
        path.append(name)
        if not maker.input or not (turned or changed or is_op(maker, "Identity")):
            return None
        if (turned or changed) and any(view.only_reader(value) is None for value in path):
            return None
        at = (k, 0) if turned or changed else at
        flipped, cast, name = flipped ^ turned, cast or changed, maker.input[0]
    tensor = view.tensors.get(name)
    if tensor is None or tensor.data_type not in FLOATS or (flipped and len(tensor.dims) != 2):
        return None
    dims = tuple(tensor.dims)
    return Stored(name, tensor, at, dims[::-1] if flipped else dims, flipped, cast)


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
