"""Place: a filter site with the node inputs through which its tensors are read, as the rewriting passes need it."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from onnx import NodeProto

from rnpc.passes.facts.stored import Stored, stored
from rnpc.passes.facts.view import Slot, View
from rnpc.program import Codes, FilterSite, SiteKind


@dataclass(frozen=True)
class Place:
    """`bias` is where a missing bias would go, or None if nowhere, and `bias_type` its type (TensorProto).

    `points`: the zero point of each channel's weights where these are codes; None where they are numbers.
    """

    site: FilterSite
    weight: Slot
    bias: Slot | None
    bias_type: int
    points: tuple[int, ...] | None = None


def made(
    node: NodeProto, k: int, kind: SiteKind, weight: Stored, axis: int, bias: Stored | None, slot: Slot, missing: Codes | None = None
) -> Place | None:
    """The place of node k; `axis` counts in the weight as the node reads it, the site says it as the tensor is stored. `missing`: what a
    bias that is not there could say in codes. None where weights or bias are codes in which a channel cannot be made a constant."""
    channels, coding = weight.dims[axis], weight.coding
    flipped = 1 - axis if weight.flipped else axis
    points = None if coding is None else coding.points(channels, flipped)
    codes = missing if bias is None or bias.coding is None else bias.coding.codes(channels)
    if (coding is not None and points is None) or (bias is not None and bias.coding is not None and codes is None):
        return None
    site = FilterSite(node.output[0], k, node.op_type, kind, 1, channels, weight.name, flipped, bias.name if bias else None, codes)
    real = weight.tensor.data_type if coding is None else coding.real
    return Place(site, weight.slot, bias.slot if bias else slot, real, points)


def stored_bias(view: View, slot: Slot) -> Stored | None:
    """The stored row of numbers or codes at a slot; none that a QuantizeLinear rounds, since the constant would not be what is written."""
    found = stored(view, slot)
    return None if found is None or found.rounded else found


def is_row(bias: Stored, channels: int) -> bool:
    """Whether the tensor is one row with an entry for each channel."""
    return prod(bias.dims) == channels and (len(bias.dims) == 0 or bias.dims[-1] == channels)
