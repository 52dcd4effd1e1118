"""Shapes for the channel analysis: every size a number, also those that the file leaves open.

An open size (the batch, an image's height) is given a large prime of its own. What is then true of the shapes is true for any size: the
primes never fall together with a count of channels, nor divide one.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx
from onnx import ModelProto, TensorShapeProto

from rnpc.passes.facts.shapes import without_weights

FIRST = 10007


def primes() -> Iterator[int]:
    """Primes from FIRST on."""
    n = FIRST
    while True:
        if all(n % d for d in range(2, int(n**0.5) + 1)):
            yield n
        n += 1


def sizes(model: ModelProto) -> tuple[dict[str, list[int]], dict[str, int]]:
    """Sizes and types (numbers of TensorProto) of all values whose shape can be inferred. Nodes have to be in topological order."""
    light, fill, named = without_weights(model), primes(), dict[str, int]()
    for value in light.graph.input:
        for dim in value.type.tensor_type.shape.dim:
            settle(dim, fill, named)
    for value in light.graph.output:
        value.type.tensor_type.ClearField("shape")
    del light.graph.value_info[:]
    try:
        inferred = onnx.shape_inference.infer_shapes(light, data_prop=True).graph
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError):
        return {}, {}
    values = [*inferred.input, *inferred.value_info, *inferred.output, *(v for v in model.graph.value_info)]
    found: dict[str, list[int]] = {}
    types: dict[str, int] = {}
    for value in values:
        tensor = value.type.tensor_type
        types.setdefault(value.name, tensor.elem_type)
        if tensor.HasField("shape") and all(d.HasField("dim_value") for d in tensor.shape.dim):
            found.setdefault(value.name, [d.dim_value for d in tensor.shape.dim])
    return found, types


def settle(dim: TensorShapeProto.Dimension, fill: Iterator[int], named: dict[str, int]) -> None:
    """Give an open size its prime; sizes of one name have one."""
    if dim.HasField("dim_value") and dim.dim_value > 0:
        return
    name = dim.dim_param
    dim.dim_value = named.setdefault(name, next(fill)) if name else next(fill)
