"""The last linear layer: class scores as W z + b of the last features z.

Walks back from the output through operators that keep the order of scores to the Gemm or MatMul that makes them. Other heads (a 1 x 1
convolution before the pooling) have no such layer; the caller then works without one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, NodeProto, numpy_helper

from rnpc.passes.facts.view import View, attribute

PASSES_THROUGH = ("Identity", "Softmax", "LogSoftmax", "Cast", "Flatten", "Squeeze", "Reshape")


@dataclass(frozen=True)
class Head:
    """`features`: name of the value z [n, d]; `weight` float64 [K, d]; `bias` float64 [K]."""

    features: str
    weight: np.ndarray
    bias: np.ndarray


def find_head(model: ModelProto) -> Head | None:
    """The last linear layer, or None where the scores are made in another way."""
    view = View(model)
    node = view.maker(model.graph.output[0].name)
    while node is not None and node.op_type in PASSES_THROUGH:
        node = view.maker(node.input[0])
    if node is None:
        return None
    if node.op_type == "Gemm":
        return gemm_head(view, node)
    if node.op_type == "Add":
        return matmul_head(view, node)
    return None


def gemm_head(view: View, node: NodeProto) -> Head | None:
    """Head of a Gemm with stored weights."""
    inputs = list(node.input)
    weight = stored(view, inputs[1])
    if weight is None or weight.ndim != 2:
        return None
    weight = weight * attribute(node, "alpha", 1.0)
    weight = weight if attribute(node, "transB", 0) else weight.T
    bias = stored(view, inputs[2]) if len(inputs) > 2 and inputs[2] else None
    return Head(inputs[0], weight, np.zeros(len(weight)) if bias is None else np.broadcast_to(bias.reshape(-1), (len(weight),)).copy())


def matmul_head(view: View, node: NodeProto) -> Head | None:
    """Head of MatMul followed by Add."""
    names = list(node.input)
    for name, other in (names, names[::-1]):
        maker, bias = view.maker(name), stored(view, other)
        if maker is None or maker.op_type != "MatMul" or bias is None:
            continue
        weight = stored(view, maker.input[1])
        if weight is not None and weight.ndim == 2:
            return Head(maker.input[0], weight.T, np.broadcast_to(bias.reshape(-1), (weight.shape[1],)).copy())
    return None


def stored(view: View, name: str) -> np.ndarray | None:
    """A stored tensor as float64."""
    tensor = view.tensor(name)
    return None if tensor is None else np.asarray(numpy_helper.to_array(tensor)).astype(np.float64)
