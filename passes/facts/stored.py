"""The stored tensor behind a node's input: through Identity, through a Cast between float types, and through a Transpose of a matrix.

Exporters write a weight in all of these ways. A tensor that reaches a node through Cast or Transpose can be edited where it is stored; where
others read it too, it is cloned at the first of these nodes, which therefore must serve this one reader alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from onnx import NodeProto, TensorProto

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
    flipped = cast = False
    while (k := view.makers.get(name)) is not None and name not in view.tensors:
        maker = view.nodes[k]
        turned, changed = turns(maker), is_op(maker, "Cast") and attribute(maker, "to") in FLOATS
        if not (turned or changed or is_op(maker, "Identity")) or ((turned or changed) and view.only_reader(name) is None):
            return None
        at = (k, 0) if turned or changed else at
        flipped, cast, name = flipped ^ turned, cast or changed, maker.input[0]
    tensor = view.tensors.get(name)
    if tensor is None or tensor.data_type not in FLOATS or (flipped and len(tensor.dims) != 2):
        return None
    dims = tuple(tensor.dims)
    return Stored(name, tensor, at, dims[::-1] if flipped else dims, flipped, cast)


def turns(node: NodeProto) -> bool:
    """Whether the node transposes a matrix."""
    return is_op(node, "Transpose") and list(attribute(node, "perm", [1, 0])) == [1, 0]
