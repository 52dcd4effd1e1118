"""Filter sites: values of the graph one channel of which can be made constant exactly by writing a few tensor entries.

- BatchNormalization in eval mode: y = scale * (x - mean) / sqrt(var + eps) + bias; scale[c] = 0 leaves bias[c].
- Conv: the filter's weights to zero leave its bias. A Conv whose only reader is a BatchNormalization is covered by that one.
- Gemm, and MatMul followed by Add: a unit's weights to zero leave its bias.
- The same on codes (`facts/operators`): weights at their zero point leave what the bias's code stands for.

Weights may stand behind Identity, Cast, Transpose and DequantizeLinear (`facts/stored`). The layers that make the class scores are no
sites: from each output the walk goes back to the first Conv, Gemm or MatMul on every path, BatchNormalizations on the way included.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from onnx import ModelProto, NodeProto

from rnpc.passes.facts.calls import Calls, inlined
from rnpc.passes.facts.operators import addition, linear_codes, matmul_weight, on_codes_place
from rnpc.passes.facts.place import Place, is_row, made, stored_bias
from rnpc.passes.facts.shapes import ranks
from rnpc.passes.facts.stored import Stored, stored
from rnpc.passes.facts.view import View, attribute, captured, is_op, order
from rnpc.program import FilterSite


def find_sites(model: ModelProto) -> tuple[FilterSite, ...]:
    """All filter sites in topological order."""
    return tuple(place.site for place in find_places(model))


def find_places(model: ModelProto) -> list[Place]:
    """All filter sites with the inputs that read their tensors."""
    if model.functions:
        plain = inlined(model)
        calls = Calls(model, plain)
        return [own for place in find_places(plain) if (own := as_called(calls, place)) is not None]
    view = View(model)
    scores = score_layers(view)
    places = [place for k, node in enumerate(view.nodes) if k not in scores and (place := place_of(view, k, node))]
    covered = {view.nodes[p.site.node].input[0] for p in places if p.site.kind == "bn"}
    places = [p for p in places if not (p.site.value in covered and view.only_reader(p.site.value) is not None)]
    rank = {k: at for at, k in enumerate(order(view.nodes))}
    return with_axes(model, sorted((p for p in places if p.site.channels > 1), key=lambda p: rank.get(p.site.node, len(rank))))


def as_called(calls: Calls, place: Place) -> Place | None:
    """A place of the inlined graph as one of the user's; None where the user's file cannot be edited there."""
    node = calls.node(place.site.node)
    if place.bias is None or (node is None and place.site.bias is None):
        return None
    weight, bias = calls.slot(place.weight), calls.slot(place.bias)
    if weight is None or bias is None:
        return None
    return replace(place, site=replace(place.site, node=weight[0] if node is None else node), weight=weight, bias=bias)


def with_axes(model: ModelProto, places: list[Place]) -> list[Place]:
    """Channel axes counted from the front, where the value's rank can be inferred."""
    if all(place.site.axis >= 0 for place in places):
        return places
    known = ranks(model)
    axes = [known.get(p.site.value, 0) + p.site.axis if p.site.axis < 0 else p.site.axis for p in places]
    return [replace(p, site=replace(p.site, axis=axis)) if axis > 0 else p for p, axis in zip(places, axes, strict=True)]


def place_of(view: View, k: int, node: NodeProto) -> Place | None:
    """The site that node k makes, if any; none where the node makes nothing."""
    if not node.output:
        return None
    if is_op(node, "BatchNormalization"):
        return batchnorm_place(view, k, node)
    if is_op(node, "Conv"):
        return conv_place(view, k, node)
    if is_op(node, "Gemm"):
        return gemm_place(view, k, node)
    if is_op(node, "MatMul", "QLinearMatMul"):
        return matmul_place(view, k, node)
    return on_codes_place(view, k, node)


def batchnorm_place(view: View, k: int, node: NodeProto) -> Place | None:
    """A BatchNormalization in eval mode whose scale and bias are stored."""
    scale, bias = stored(view, (k, 1)), stored_bias(view, (k, 2))
    if scale is None or bias is None or not eval_mode(node) or len(scale.dims) != 1 or scale.dims != bias.dims:
        return None
    return made(node, k, "bn", scale, 0, bias, (k, 2))


def conv_place(view: View, k: int, node: NodeProto) -> Place | None:
    """A Conv with a stored filter, and a stored bias or none."""
    weight, bias = stored(view, (k, 1)), stored_bias(view, (k, 2))
    if weight is None or len(weight.dims) < 3 or not bias_fits(node, weight, bias, weight.dims[0]):
        return None
    return made(node, k, "conv", weight, 0, bias, (k, 2))


def gemm_place(view: View, k: int, node: NodeProto) -> Place | None:
    """A Gemm with stored weights; its bias must reach the output unscaled."""
    weight, bias = stored(view, (k, 1)), stored_bias(view, (k, 2))
    if weight is None or len(weight.dims) != 2 or attribute(node, "transA", 0) or attribute(node, "beta", 1.0) != 1.0:
        return None
    axis = 0 if attribute(node, "transB", 0) else 1
    if not bias_fits(node, weight, bias, weight.dims[axis]):
        return None
    return made(node, k, "linear", weight, axis, bias, (k, 2))


def matmul_place(view: View, k: int, node: NodeProto) -> Place | None:
    """MatMul with stored weights [in, units] whose only reader adds a stored bias of `units` entries; the value is the sum, units last."""
    weight = stored(view, (k, 1)) if is_op(node, "MatMul") else matmul_weight(view, k)
    found = None if weight is None or len(weight.dims) != 2 else addition(view, k)
    if weight is None or found is None or not is_row(found[1], weight.dims[1]):
        return None
    adder, bias = found
    place = made(view.nodes[adder], adder, "linear", weight, 1, bias, bias.slot)
    return None if place is None else replace(place, site=replace(place.site, axis=-1))


def bias_fits(node: NodeProto, weight: Stored, bias: Stored | None, channels: int) -> bool:
    """A stored bias with an entry for each channel; or none, where one of the weight's type could be added."""
    if len(node.input) > 2 and node.input[2]:
        return bias is not None and is_row(bias, channels)
    return not weight.cast


def eval_mode(node: NodeProto) -> bool:
    """Whether a BatchNormalization uses its stored statistics: since opset 14 by attribute, before it by having one output."""
    return not attribute(node, "training_mode", 0) and len([name for name in node.output if name]) == 1


def score_layers(view: View, outputs: Iterable[str] | None = None) -> set[int]:
    """Indices of the nodes between outputs (default: all that may be scores) and the first linear layer on each path back, it included."""
    return set().union(*(behind(view, name) for name in (final(view) if outputs is None else outputs)))


def behind(view: View, output: str) -> set[int]:
    """The same for one output."""
    found: set[int] = set()
    todo = [output]
    while todo:
        k = view.makers.get(todo.pop())
        if k is None or k in found:
            continue
        found.add(k)
        if not linear(view, k):
            todo.extend([*view.nodes[k].input, *sorted(captured(view.nodes[k]))])
    return found


def final(view: View) -> list[str]:
    """Outputs, but for those that hand out what lies on the way to another one (features): every layer before such a one leads on to the
    layers of another output that does not lead back."""
    if len(view.outputs) < 2:
        return sorted(view.outputs)
    layers = {name: {k for k in behind(view, name) if linear(view, k)} for name in sorted(view.outputs)}
    before = {name: {k for at in own for value in view.nodes[at].input for k in view.leading_to(value)} for name, own in layers.items()}

    def on_the_way(name: str) -> bool:
        return any(layers[name] and layers[name] <= before[other] and not layers[other] <= before[name] for other in layers)

    return [name for name in layers if not on_the_way(name)]


def linear(view: View, k: int) -> bool:
    """A layer with weights of its own; a product of two computed values (attention) is none."""
    node = view.nodes[k]
    if is_op(node, "MatMul"):
        return any(stored(view, (k, slot)) is not None for slot in range(2))
    return is_op(node, "Conv", "ConvTranspose", "Gemm") or linear_codes(view, k)
