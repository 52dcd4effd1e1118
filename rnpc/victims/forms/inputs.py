"""What differs at the input: a batch of fixed size, and raw images with the preprocessing inside the graph."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, TensorProto

from rnpc.victims.forms.base import Form, Given, column
from rnpc.victims.forms.surgery import node, read_instead, store

BATCH = 1


def fixed_batch(model: ModelProto, given: Given) -> ModelProto:
    """The free batch becomes one image."""
    graph = model.graph
    free = graph.input[0].type.tensor_type.shape.dim[0].dim_param
    for value in (*graph.input, *graph.output, *graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if free and dim.dim_param == free:
                dim.dim_value = BATCH
    return model


def uint8(model: ModelProto, given: Given) -> ModelProto:
    """uint8 [n, C, H, W] goes in; Cast, Mul, Sub and Div make of it what the network saw before."""
    graph = model.graph
    value = graph.input[0]
    name = value.name
    read_instead(graph.node, name, f"{name}_normal")
    scale = store(graph, f"{name}_scale", np.array(given.scale, np.float32))
    mean, std = store(graph, f"{name}_mean", column(given.mean)), store(graph, f"{name}_std", column(given.std))
    steps = [
        node("Cast", [name], f"{name}_float", to=TensorProto.FLOAT),
        node("Mul", [f"{name}_float", scale], f"{name}_unit"),
        node("Sub", [f"{name}_unit", mean], f"{name}_centred"),
        node("Div", [f"{name}_centred", std], f"{name}_normal"),
    ]
    for step in reversed(steps):
        graph.node.insert(0, step)
    value.type.tensor_type.elem_type = TensorProto.UINT8
    return model


FORMS = (
    Form("fixed-batch", "a batch of one image", fixed_batch),
    Form("uint8", "uint8 images in, preprocessing inside the graph", uint8, dtype="uint8"),
)
