"""Other ways to write dense layers: the head as a convolution after or before the pooling, and MatMul with Add.

The head here is a Gemm on a flattened map. After the pooling it is a convolution whose kernel covers the map, weights [K, C, h, w];
before the average pooling it is a 1 x 1 convolution, since mean and weighted sum commute.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, NodeProto, numpy_helper

from rnpc.passes.facts.view import attribute
from rnpc.victims.forms.base import Form, Given, refuse
from rnpc.victims.forms.surgery import drop_dead, node, replace, shapes, store, tensors

FLATTENS = ("Reshape", "Flatten", "Squeeze")


@dataclass(frozen=True)
class Head:
    """The last layer: its node, the name and sizes (C, h, w) of the map that is flattened before it, weight [K, C h w] and bias [K]."""

    gemm: NodeProto
    map: str
    sizes: tuple[int, int, int]
    weight: np.ndarray
    bias: np.ndarray


def after_pooling(model: ModelProto, given: Given) -> ModelProto:
    """A convolution on the pooled map."""
    head = find(model, "head-conv-after")
    return with_head(model, head, head.map, head.sizes, pool=False)


def before_pooling(model: ModelProto, given: Given) -> ModelProto:
    """A 1 x 1 convolution, then the pooling. Raises InputRefused without average pooling of the whole map."""
    head = find(model, "head-conv-before")
    pool = maker(model, head.map)
    whole = pool is not None and (pool.op_type == "GlobalAveragePool" or (pool.op_type == "ReduceMean" and attribute(pool, "keepdims", 1)))
    if pool is None or not whole or head.sizes[1:] != (1, 1):
        raise refuse("no average pooling of the whole map stands before the head", "head-conv-before")
    return with_head(model, head, pool.input[0], head.sizes, pool=True)


def with_head(model: ModelProto, head: Head, source: str, sizes: tuple[int, int, int], *, pool: bool) -> ModelProto:
    """The Gemm replaced by a convolution of `source`, pooled or not, and flattened."""
    graph, out, name = model.graph, head.gemm.output[0], head.gemm.input[1]
    weight = store(graph, f"{name}_conv", head.weight.reshape(-1, *sizes))
    bias = store(graph, f"{name}_conv_bias", head.bias)
    nodes = [node("Conv", [source, weight, bias], f"{out}_conv")]
    if pool:
        nodes.append(node("GlobalAveragePool", [f"{out}_conv"], f"{out}_pool"))
    nodes.append(node("Flatten", [f"{out}_pool" if pool else f"{out}_conv"], out, axis=1))
    replace(graph, {out: nodes})
    drop_dead(graph)
    return model


def find(model: ModelProto, form: str) -> Head:
    """The head. Raises InputRefused where the scores come from anything but a Gemm on a flattened map."""
    gemm = maker(model, model.graph.output[0].name)
    flatten = maker(model, gemm.input[0]) if gemm is not None and gemm.op_type == "Gemm" else None
    if gemm is None or flatten is None or flatten.op_type not in FLATTENS:
        raise refuse("the scores do not come from a Gemm on a flattened map", form)
    sizes = shapes(model).get(flatten.input[0], [])
    weight, bias = stored(model, gemm, form)
    if len(sizes) != 4 or sizes[1] * sizes[2] * sizes[3] != weight.shape[1]:
        raise refuse(f"the map before the head has sizes {sizes}, the head {weight.shape[1]} inputs", form)
    return Head(gemm, flatten.input[0], (sizes[1], sizes[2], sizes[3]), weight, bias)


def stored(model: ModelProto, gemm: NodeProto, form: str) -> tuple[np.ndarray, np.ndarray]:
    """Weight [units, inputs] and bias [units] of a plain Gemm."""
    known = tensors(model.graph)
    plain = not attribute(gemm, "transA", 0) and attribute(gemm, "alpha", 1.0) == 1 and attribute(gemm, "beta", 1.0) == 1
    if not plain or any(name not in known for name in gemm.input[1:] if name):
        raise refuse(f"{gemm.name} scales, transposes its input, or computes its weights", form)
    weight = numpy_helper.to_array(known[gemm.input[1]])
    weight = weight if attribute(gemm, "transB", 0) else weight.T
    bias = numpy_helper.to_array(known[gemm.input[2]]) if len(gemm.input) > 2 else np.zeros(len(weight), weight.dtype)
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
