"""Filter sites: values of the graph one channel of which can be made constant exactly by writing a few tensor entries.

- BatchNormalization in eval mode: y = scale * (x - mean) / sqrt(var + eps) + bias; scale[c] = 0 leaves bias[c].
- Conv: the filter's weights to zero leave its bias. A Conv whose only reader is a BatchNormalization is covered by that one.
- Gemm, and MatMul followed by Add: a unit's weights to zero leave its bias.

The layers that make the class scores are no sites: from each output the walk goes back to the first Conv, Gemm or MatMul on every path,
BatchNormalizations on the way included.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from onnx import ModelProto, NodeProto, TensorProto

from rnpc.passes.view import Slot, View, attribute, captured, is_onnx
from rnpc.program import FilterSite

FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)


@dataclass(frozen=True)
class Place:
    """A site and the node inputs through which its tensors are read. `bias` is where a missing bias would go, or None if nowhere."""

    site: FilterSite
    weight: Slot
    bias: Slot | None


def find_sites(model: ModelProto) -> tuple[FilterSite, ...]:
    """All filter sites in topological order."""
    return tuple(place.site for place in find_places(model))


def find_places(model: ModelProto) -> list[Place]:
    """All filter sites with the inputs that read their tensors."""
    view = View(model)
    scores = score_layers(view)
    places = [place for k, node in enumerate(view.nodes) if k not in scores and is_onnx(node) and (place := place_of(view, k, node))]
    covered = {view.nodes[p.site.node].input[0] for p in places if p.site.kind == "bn"}
    places = [p for p in places if not (p.site.value in covered and view.only_reader(p.site.value) is not None)]
    return sorted((p for p in places if p.site.channels > 1), key=lambda p: p.site.node)


def place_of(view: View, k: int, node: NodeProto) -> Place | None:
    """The site that node k makes, if any."""
    if node.op_type == "BatchNormalization":
        return batchnorm_place(view, k, node)
    if node.op_type == "Conv":
        return conv_place(view, k, node)
    if node.op_type == "Gemm":
        return gemm_place(view, k, node)
    if node.op_type == "MatMul":
        return matmul_place(view, k, node)
    return None


def batchnorm_place(view: View, k: int, node: NodeProto) -> Place | None:
    """A BatchNormalization in eval mode whose scale and bias are stored."""
    scale, bias = stored(view, node.input[1]), stored(view, node.input[2])
    if scale is None or bias is None or not eval_mode(node) or len(scale.dims) != 1 or list(scale.dims) != list(bias.dims):
        return None
    names = view.root(node.input[1]), view.root(node.input[2])
    site = FilterSite(node.output[0], k, node.op_type, "bn", 1, scale.dims[0], names[0], 0, names[1])
    return Place(site, (k, 1), (k, 2))


def conv_place(view: View, k: int, node: NodeProto) -> Place | None:
    """A Conv with a stored filter, and a stored bias or none."""
    weight = stored(view, node.input[1])
    if weight is None or len(weight.dims) < 3 or not bias_fits(view, node, weight.dims[0]):
        return None
    site = FilterSite(node.output[0], k, node.op_type, "conv", 1, weight.dims[0], view.root(node.input[1]), 0, bias_name(view, node))
    return Place(site, (k, 1), (k, 2))


def gemm_place(view: View, k: int, node: NodeProto) -> Place | None:
    """A Gemm with stored weights; its bias must reach the output unscaled."""
    weight = stored(view, node.input[1])
    if weight is None or len(weight.dims) != 2 or attribute(node, "transA", 0) or attribute(node, "beta", 1.0) != 1.0:
        return None
    axis = 0 if attribute(node, "transB", 0) else 1
    if not bias_fits(view, node, weight.dims[axis]):
        return None
    names = view.root(node.input[1]), bias_name(view, node)
    site = FilterSite(node.output[0], k, node.op_type, "linear", 1, weight.dims[axis], names[0], axis, names[1])
    return Place(site, (k, 1), (k, 2))


def matmul_place(view: View, k: int, node: NodeProto) -> Place | None:
    """MatMul with stored weights [in, units] whose only reader adds a stored bias [units]; the value is the sum, units last."""
    weight, reader = stored(view, node.input[1]), view.only_reader(node.output[0])
    if weight is None or len(weight.dims) != 2 or reader is None or view.nodes[reader].op_type != "Add":
        return None
    add = view.nodes[reader]
    slot = 1 - list(add.input).index(node.output[0])
    bias = stored(view, add.input[slot])
    if bias is None or list(bias.dims) != [weight.dims[1]]:
        return None
    names = view.root(node.input[1]), view.root(add.input[slot])
    site = FilterSite(add.output[0], reader, add.op_type, "linear", -1, weight.dims[1], names[0], 1, names[1])
    return Place(site, (k, 1), (reader, slot))


def stored(view: View, name: str) -> TensorProto | None:
    """The float tensor behind a name, if it is stored in the file."""
    tensor = view.tensor(name)
    return tensor if tensor is not None and tensor.data_type in FLOATS else None


def bias_name(view: View, node: NodeProto) -> str | None:
    """Name of the tensor behind a third input; None where there is none."""
    return view.root(node.input[2]) if len(node.input) > 2 and node.input[2] else None


def bias_fits(view: View, node: NodeProto, channels: int) -> bool:
    """No bias, or a stored one with an entry for each channel."""
    if bias_name(view, node) is None:
        return True
    tensor = stored(view, node.input[2])
    return tensor is not None and prod(tensor.dims) == channels and (len(tensor.dims) == 0 or tensor.dims[-1] == channels)


def eval_mode(node: NodeProto) -> bool:
    """Whether a BatchNormalization uses its stored statistics: since opset 14 by attribute, before it by having one output."""
    return not attribute(node, "training_mode", 0) and len([name for name in node.output if name]) == 1


def score_layers(view: View) -> set[int]:
    """Indices of the nodes between the outputs and the first linear layer on each path back, that layer included."""
    found: set[int] = set()
    todo: list[str] = sorted(view.outputs)
    while todo:
        k = view.makers.get(todo.pop())
        if k is None or k in found:
            continue
        found.add(k)
        if not linear(view, view.nodes[k]):
            todo.extend([*view.nodes[k].input, *sorted(captured(view.nodes[k]))])
    return found


def linear(view: View, node: NodeProto) -> bool:
    """A layer with weights of its own; a product of two computed values (attention) is none."""
    if node.op_type == "MatMul":
        return any(view.tensor(name) is not None for name in node.input)
    return node.op_type in ("Conv", "ConvTranspose", "Gemm")


def by_value(sites: Sequence[FilterSite]) -> dict[str, FilterSite]:
    """Sites by their name."""
    return {site.value: site for site in sites}
