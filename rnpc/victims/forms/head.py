"""Other ways to write dense layers: the head as a convolution after or before the pooling, and MatMul with Add.

The head here is a Gemm on a flattened or averaged map. After the pooling it is a convolution whose kernel covers the map, weights [K, C,
h, w]; before the average pooling it is a 1 x 1 convolution, since mean and weighted sum commute.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, NodeProto, numpy_helper

from rnpc.passes.facts.view import View, attribute
from rnpc.victims.forms.base import Form, Given, refuse
from rnpc.victims.forms.surgery import drop_dead, node, replace, shapes, store

FLATTENS = ("Reshape", "Flatten", "Squeeze")
SPATIAL = ([2, 3], [-2, -1])


@dataclass(frozen=True)
class Head:
    """The last layer: its node, the map before it and its sizes (C, h, w), weight [K, C h w] and bias [K].

    `pool` averages `source` over all its pixels to the map; None where no such pooling stands before the layer.
    """

    gemm: NodeProto
    map: str
    sizes: tuple[int, int, int]
    weight: np.ndarray
    bias: np.ndarray
    pool: NodeProto | None


def after_pooling(model: ModelProto, given: Given) -> ModelProto:
    """A convolution on the pooled map."""
    head = find(model, "head-conv-after")
    if head.pool is None or keeps(head.pool):
        return with_head(model, head, head.map, [])
    pooled = f"{head.map}_pooled"
    return with_head(model, head, pooled, [node("GlobalAveragePool", [head.pool.input[0]], pooled)])


def before_pooling(model: ModelProto, given: Given) -> ModelProto:
    """A 1 x 1 convolution, then the pooling. Raises InputRefused without average pooling of the whole map."""
    head = find(model, "head-conv-before")
    if head.pool is None:
        raise refuse("no average pooling of the whole map stands before the head", "head-conv-before")
    return with_head(model, head, head.pool.input[0], [], pool=True)


def with_head(model: ModelProto, head: Head, source: str, before: list[NodeProto], *, pool: bool = False) -> ModelProto:
    """The Gemm replaced by a convolution of `source` (behind the nodes that make it), pooled or not, and flattened."""
    graph, out, name = model.graph, head.gemm.output[0], head.gemm.input[1]
    weight = store(graph, f"{name}_conv", head.weight.reshape(-1, *head.sizes))
    bias = store(graph, f"{name}_conv_bias", head.bias)
    nodes = [*before, node("Conv", [source, weight, bias], f"{out}_conv")]
    if pool:
        nodes.append(node("GlobalAveragePool", [f"{out}_conv"], f"{out}_pool"))
    nodes.append(node("Flatten", [f"{out}_pool" if pool else f"{out}_conv"], out, axis=1))
    replace(graph, {out: nodes})
    drop_dead(graph)
    return model


def find(model: ModelProto, form: str) -> Head:
    """The head. Raises InputRefused where the scores come from anything but a Gemm on a flattened or pooled map."""
    gemm = maker(model, model.graph.output[0].name)
    before = maker(model, gemm.input[0]) if gemm is not None and gemm.op_type == "Gemm" else None
    if gemm is None or before is None:
        raise refuse("the scores do not come from a Gemm on a flattened map", form)
    weight, bias = stored(model, gemm, form)
    flat = before.input[0] if before.op_type in FLATTENS else gemm.input[0]
    pool = pooling(model, maker(model, flat))
    sizes = [0, weight.shape[1], 1, 1] if pool is not None else shapes(model).get(flat, [])
    if len(sizes) != 4 or sizes[1] * sizes[2] * sizes[3] != weight.shape[1]:
        raise refuse(f"what the head reads has sizes {sizes}, no map of {weight.shape[1]} numbers", form)
    return Head(gemm, flat, (sizes[1], sizes[2], sizes[3]), weight, bias, pool)


def pooling(model: ModelProto, each: NodeProto | None) -> NodeProto | None:
    """The node, if it averages a map over all its pixels."""
    if each is None or each.op_type == "GlobalAveragePool":
        return each
    if each.op_type != "ReduceMean":
        return None
    axes, stored_axes = attribute(each, "axes", []), View(model).tensor(each.input[1]) if len(each.input) > 1 else None
    if stored_axes is not None:
        axes = numpy_helper.to_array(stored_axes).tolist()
    return each if sorted(axes) in SPATIAL else None


def keeps(pool: NodeProto) -> bool:
    """Whether the pooled map has four axes."""
    return pool.op_type == "GlobalAveragePool" or bool(attribute(pool, "keepdims", 1))


def stored(model: ModelProto, gemm: NodeProto, form: str) -> tuple[np.ndarray, np.ndarray]:
    """Weight [units, inputs] and bias [units] of a plain Gemm."""
    view = View(model)
    kept = [view.tensor(name) for name in gemm.input[1:] if name]
    plain = not attribute(gemm, "transA", 0) and attribute(gemm, "alpha", 1.0) == 1 and attribute(gemm, "beta", 1.0) == 1
    values = [numpy_helper.to_array(tensor) for tensor in kept if tensor is not None]
    if not plain or len(values) < len(kept):
        raise refuse(f"{gemm.name} scales, transposes its input, or computes its weights", form)
    weight = values[0] if attribute(gemm, "transB", 0) else values[0].T
    bias = values[1] if len(values) > 1 else np.zeros(len(weight), weight.dtype)
    return weight, np.broadcast_to(bias.reshape(-1), len(weight))


def maker(model: ModelProto, name: str) -> NodeProto | None:
    """The node that makes a value."""
    return next((each for each in model.graph.node if name in each.output), None)


def matmul(model: ModelProto, given: Given) -> ModelProto:
    """Every Gemm as MatMul with weights [inputs, units] and Add."""
    graph, made = model.graph, {}
    for each in [n for n in graph.node if n.op_type == "Gemm"]:
        weight, bias = stored(model, each, "matmul")
        out, name = each.output[0], each.input[1]
        terms = store(graph, f"{name}_matmul", weight.T), store(graph, f"{name}_matmul_bias", bias)
        product = node("MatMul", [each.input[0], terms[0]], f"{out}_product")
        made[out] = [product, node("Add", [f"{out}_product", terms[1]], out)]
    if not made:
        raise refuse("no Gemm is in the graph", "matmul")
    replace(graph, made)
    drop_dead(graph)
    return model


FORMS = (
    Form("head-conv-after", "the last layer as a convolution after the pooling", after_pooling),
    Form("head-conv-before", "the last layer as a 1 x 1 convolution before the pooling", before_pooling),
    Form("matmul", "dense layers as MatMul and Add", matmul),
)
