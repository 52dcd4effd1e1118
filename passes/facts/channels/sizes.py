"""Shapes for the channel analysis: every size a number, also those that the file leaves open.

An open size (the batch, an image's height) is given a large prime of its own. What is then true of the shapes is true for any size: the
primes never fall together with a count of channels, nor divide one.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx
from onnx import ModelProto, TensorShapeProto

from rnpc.passes.facts.channels.complete import complete
from rnpc.passes.facts.shapes import without_weights
from rnpc.passes.facts.view import View, is_onnx, is_op

FIRST = 10007


def primes() -> Iterator[int]:
    """Primes from FIRST on."""
    n = FIRST
    while True:
        if all(n % d for d in range(2, int(n**0.5) + 1)):
            yield n
        n += 1


def sizes(model: ModelProto) -> tuple[dict[str, list[int]], dict[str, int]]:
    """Sizes and types (numbers of TensorProto) of all values whose shape can be inferred, or is stated in the file's own names."""
    light, fill, named = without_weights(model), primes(), dict[str, int]()
    for value in light.graph.input:
        for dim in value.type.tensor_type.shape.dim:
            settle(dim, fill, named)
    for value in light.graph.output:
        value.type.tensor_type.ClearField("shape")
    help_inference(model, light, named)
    try:
        inferred = onnx.shape_inference.infer_shapes(light, data_prop=True).graph
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError):
        return {}, {}
    values = [*inferred.input, *inferred.value_info, *inferred.output, *model.graph.value_info]
    found: dict[str, list[int]] = {}
    types: dict[str, int] = {}
    for value in values:
        tensor = value.type.tensor_type
        types.setdefault(value.name, tensor.elem_type)
        stated = [d.dim_value if d.HasField("dim_value") else named.get(d.dim_param, 0) for d in tensor.shape.dim]
        if tensor.HasField("shape") and all(stated):
            found.setdefault(value.name, stated)
    complete(light, found, types)
    return found, types


def help_inference(model: ModelProto, light: ModelProto, named: dict[str, int]) -> None:
    """Write into the light copy what inference does not see by itself."""
    view, stated = View(model), {value.name: value for value in model.graph.value_info}
    for node in light.graph.node:
        for slot, name in enumerate(node.input):
            if view.tensor(name) is not None:
                node.input[slot] = view.root(name)
        if is_op(node, "GroupNormalization"):
            node.op_type = "Identity"
            del node.input[1:], node.attribute[:]
        elif not is_onnx(node):
            light.graph.value_info.extend(stated[name] for name in node.output if name in stated)
    for value in light.graph.value_info:
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in named:
                dim.dim_value = named[dim.dim_param]


def settle(dim: TensorShapeProto.Dimension, fill: Iterator[int], named: dict[str, int]) -> None:
    """Give an open size its prime; sizes of one name have one."""
    if dim.HasField("dim_value") and dim.dim_value > 0:
        return
    name = dim.dim_param
    dim.dim_value = named.setdefault(name, next(fill)) if name else next(fill)
