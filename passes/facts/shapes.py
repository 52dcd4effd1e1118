"""Shapes that inference finds, without copying the weights.

onnx's inference wants a whole serialized model; tensors above a size are told to it as inputs of their shape: only the graph travels.
"""

from __future__ import annotations

from math import prod

import onnx

from rnpc.passes.facts.view import order

Sizes = list[int | None]
"""A shape; None where unknown."""
LARGE = 1024
"""Initializers above this number of entries are hidden from shape inference, which would copy them."""


def shapes(model: onnx.ModelProto, outputs: bool = False) -> dict[str, Sizes]:
    """Shapes of all values that inference finds; None for an unknown size. Nothing where inference fails: whoever asks can do without.

    `outputs`: those of the graph's outputs too, by inference, whatever the file states.
    """
    return {v.name: sizes_of(v) for v in inferred(model, outputs) if v.type.tensor_type.HasField("shape")}


def ranks(model: onnx.ModelProto) -> dict[str, int]:
    """How many axes each value has, as far as inference finds it."""
    return {name: len(sizes) for name, sizes in shapes(model, outputs=True).items()}


def inferred(model: onnx.ModelProto, outputs: bool = False) -> list[onnx.ValueInfoProto]:
    """Types and shapes of inputs and values (`outputs`: of the graph's outputs too) as far as inference finds them."""
    light = ordered(without_weights(model))
    if outputs:
        for value in light.graph.output:
            value.type.tensor_type.ClearField("shape")
    try:
        graph = onnx.shape_inference.infer_shapes(light, data_prop=True).graph
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError):
        return []
    return [*graph.input, *graph.value_info, *(graph.output if outputs else ())]


def ordered(light: onnx.ModelProto) -> onnx.ModelProto:
    """The model with its nodes in topological order, which inference asks for."""
    places = order(light.graph.node)
    if places != list(range(len(light.graph.node))):
        nodes = [onnx.NodeProto.FromString(light.graph.node[k].SerializeToString()) for k in places]
        del light.graph.node[:]
        light.graph.node.extend(nodes)
    return light


def without_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which large initializers are inputs of their type and shape."""
    whole = model.graph
    small = [t for t in whole.initializer if prod(t.dims) <= LARGE]
    known = {v.name for v in whole.input}
    large = [t for t in whole.initializer if prod(t.dims) > LARGE and t.name not in known]
    inputs = [*whole.input, *(onnx.helper.make_tensor_value_info(t.name, t.data_type, list(t.dims)) for t in large)]
    graph = onnx.helper.make_graph(list(whole.node), "light", inputs, list(whole.output), small)
    return onnx.helper.make_model(
        graph, opset_imports=list(model.opset_import), ir_version=model.ir_version, functions=list(model.functions)
    )


def sizes_of(info: onnx.ValueInfoProto) -> Sizes:
    """Sizes of a value whose shape is stated; None for one that is named or open."""
    return [d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else None for d in info.type.tensor_type.shape.dim]
