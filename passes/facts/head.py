"""The last linear layer: class scores as W z + b of the last features z.

Behind the score tail (`scores.py`) the walk goes back to a Gemm, a MatMul (with its Add), or a convolution whose filter sees one position
or all of them. A convolution of 1 x 1 before a mean over positions is the same linear map of the mean: pool(W x + b) = W pool(x) + b. What
stands between in any other way (a Relu before the pooling) leaves no such layer; the caller then works without one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, NodeProto

from rnpc.passes.facts.scores import Walk, flat
from rnpc.passes.facts.shapes import Sizes
from rnpc.passes.facts.stored import values
from rnpc.passes.facts.view import attribute, is_op

MEANS = ("GlobalAveragePool", "AveragePool", "ReduceMean")


@dataclass(frozen=True)
class Head:
    """`weight` float64 [K, d]; `bias` float64 [K].

    `features`: name of the value z, of d entries an image; where `pooled`, z is the mean of that value [n, d, h, w] over its positions.
    """

    features: str
    weight: np.ndarray
    bias: np.ndarray
    pooled: bool = False


def find_head(model: ModelProto, output: str | None = None) -> Head | None:
    """The last linear layer behind an output (default: the first), or None where the scores are made in another way.

    The model's nodes are in topological order, as in the studied network (`canonical`).
    """
    walk = Walk(model)
    name, pooled = walk.back(output or model.graph.output[0].name).value, False
    while (node := walk.view.maker(name)) is not None and is_mean(walk, node):
        name, pooled = walk.back(node.input[0]).value, True
    k = walk.view.makers.get(name)
    return None if k is None else layer(walk, k, pooled)


def is_mean(walk: Walk, node: NodeProto) -> bool:
    """Whether the node takes the mean over all positions of each channel."""
    sizes = walk.shapes.get(node.input[0])
    if is_op(node, "GlobalAveragePool"):
        return True
    if sizes is None or len(sizes) != 4:
        return False
    if is_op(node, "AveragePool"):
        return list(attribute(node, "kernel_shape", [])) == sizes[2:] and not any(attribute(node, "pads", []))
    return is_op(node, "ReduceMean") and reduced(walk, node) == {2, 3}


def reduced(walk: Walk, node: NodeProto) -> set[int]:
    """Axes of a ReduceMean over four."""
    axes = attribute(node, "axes")
    if axes is None and len(node.input) > 1:
        found = values(walk.view, (walk.view.makers[node.output[0]], 1))
        axes = None if found is None else found.reshape(-1)
    return set() if axes is None else {int(axis) % 4 for axis in axes}


def layer(walk: Walk, k: int, pooled: bool) -> Head | None:
    """The head that node k is."""
    node = walk.view.nodes[k]
    if is_op(node, "Conv"):
        return conv_head(walk, k, pooled)
    if pooled:
        return None
    if is_op(node, "Gemm"):
        return gemm_head(walk, k)
    if is_op(node, "MatMul"):
        return matmul_head(walk, k, None)
    if is_op(node, "Add"):
        found = [
            matmul_head(walk, made, values(walk.view, (k, 1 - slot))) for slot in (0, 1) if (made := matmul(walk, k, slot)) is not None
        ]
        return next((head for head in found if head is not None), None)
    return None


def matmul(walk: Walk, k: int, slot: int) -> int | None:
    """The MatMul that makes an input of node k, where a stored bias is the other."""
    made = walk.view.makers.get(walk.view.nodes[k].input[slot])
    is_it = made is not None and is_op(walk.view.nodes[made], "MatMul") and values(walk.view, (k, 1 - slot)) is not None
    return made if is_it else None


def gemm_head(walk: Walk, k: int) -> Head | None:
    """Head of a Gemm: alpha x W + beta b."""
    node, weight, bias = walk.view.nodes[k], values(walk.view, (k, 1)), values(walk.view, (k, 2))
    if weight is None or weight.ndim != 2 or attribute(node, "transA", 0) or (len(node.input) > 2 and node.input[2] and bias is None):
        return None
    weight = weight * attribute(node, "alpha", 1.0)
    weight = weight if attribute(node, "transB", 0) else weight.T
    return made(walk, node.input[0], weight, None if bias is None else bias * attribute(node, "beta", 1.0), k)


def matmul_head(walk: Walk, k: int, bias: np.ndarray | None) -> Head | None:
    """Head of a MatMul by stored weights [d, K], with the bias that is added behind it."""
    weight = values(walk.view, (k, 1))
    return None if weight is None or weight.ndim != 2 else made(walk, walk.view.nodes[k].input[0], weight.T, bias, k)


def conv_head(walk: Walk, k: int, pooled: bool) -> Head | None:
    """Head of a convolution of 1 x 1, or of one over all positions, without groups or padding."""
    node, weight, bias = walk.view.nodes[k], values(walk.view, (k, 1)), values(walk.view, (k, 2))
    before, after = walk.shapes.get(node.input[0]), walk.shapes.get(node.output[0])
    if weight is None or attribute(node, "group", 1) != 1 or any(attribute(node, "pads", [])):
        return None
    pointwise = weight[0, 0].size == 1 and all(step == 1 for step in attribute(node, "strides", [1]))
    if not (pointwise and (pooled or single(after))) and not (single(after) and before is not None and before[2:] == [*weight.shape[2:]]):
        return None
    return made(walk, node.input[0], weight.reshape(len(weight), -1), bias, k, pooled)


def single(sizes: Sizes | None) -> bool:
    """Whether each channel has one position."""
    return sizes is not None and all(size == 1 for size in sizes[2:])


def made(walk: Walk, features: str, weight: np.ndarray, bias: np.ndarray | None, k: int, pooled: bool = False) -> Head | None:
    """The head, its bias spread to one entry a class; None where the layer acts on more than one row an image."""
    sizes = walk.shapes.get(walk.view.nodes[k].output[0])
    if not pooled and sizes is not None and (classes := flat(sizes)) is not None and classes != len(weight):
        return None
    spread = np.zeros(len(weight)) if bias is None else np.broadcast_to(bias.reshape(-1), (len(weight),)).copy()
    return Head(features, weight, spread, pooled)
