"""Where the weights are: in Constant nodes, in a second file, listed as inputs, or one tensor for several nodes."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, numpy_helper

from rnpc.victims.forms.base import Form, Given
from rnpc.victims.forms.surgery import keep, node, store

EPSILON = 1e-5
ALIGN = 64
"""Bytes; tensors in the second file begin at multiples of it."""


def constants(model: ModelProto, given: Given) -> ModelProto:
    """Every initializer becomes a Constant node of the same name."""
    graph = model.graph
    made = []
    for tensor in graph.initializer:
        value = TensorProto()
        value.CopyFrom(tensor)
        value.ClearField("name")
        made.append(node("Constant", [], tensor.name, value=value))
    del graph.initializer[:]
    keep(graph, [*made, *graph.node])
    return model


def external(model: ModelProto, given: Given) -> ModelProto:
    """Nothing changes inside; `split` takes the weights out."""
    return model


def split(model: ModelProto, location: str) -> bytes:
    """Move the data of all float initializers out of the model; returns the content of the file that it now names `location`."""
    blob = bytearray()
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or not tensor.dims:
            continue
        data = numpy_helper.to_array(tensor).astype("<f4").tobytes()
        blob += bytes(-len(blob) % ALIGN)
        tensor.CopyFrom(TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims, data_location=TensorProto.EXTERNAL))
        for key, value in (("location", location), ("offset", str(len(blob))), ("length", str(len(data)))):
            tensor.external_data.add(key=key, value=value)
        blob += data
    return bytes(blob)


def as_inputs(model: ModelProto, given: Given) -> ModelProto:
    """IR version 3, in which an initializer had to be an input too."""
    model.ir_version = 3
    listed = [onnx.helper.make_tensor_value_info(t.name, t.data_type, list(t.dims)) for t in model.graph.initializer]
    model.graph.input.extend(listed)
    return model


def shared(model: ModelProto, given: Given) -> ModelProto:
    """A BatchNormalization that only adds the bias behind each Conv, and equal tensors merged through Identity.

    Networks fresh from training have few equal tensors; BatchNorms whose scale, mean and variance are those of their first day have
    many. With variance 1 - epsilon the BatchNorm is y = x + bias to the last bit but one.
    """
    graph = model.graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    nodes: list[NodeProto] = []
    for each in graph.node:
        nodes += normed(graph, each, stored) if each.op_type == "Conv" and each.input[1] in stored else [each]
    keep(graph, nodes)
    merge(graph)
    return model


def normed(graph: GraphProto, conv: NodeProto, stored: dict[str, TensorProto]) -> list[NodeProto]:
    """The Conv without bias, and the BatchNormalization that adds it."""
    out, channels = conv.output[0], stored[conv.input[1]].dims[0]
    bias = conv.input[2] if len(conv.input) > 2 else store(graph, f"{out}_norm_bias", np.zeros(channels, np.float32))
    ones, zeros = np.ones(channels, np.float32), np.zeros(channels, np.float32)
    scale = store(graph, f"{out}_norm_scale", ones)
    mean = store(graph, f"{out}_norm_mean", zeros)
    var = store(graph, f"{out}_norm_var", ones - np.float32(EPSILON))
    del conv.input[2:]
    conv.output[0] = f"{out}_plain"
    return [conv, node("BatchNormalization", [f"{out}_plain", scale, bias, mean, var], out, epsilon=EPSILON)]


def merge(graph: GraphProto) -> None:
    """Equal tensors become one; the others' names are handed on by Identity nodes."""
    first: dict[tuple[int, tuple[int, ...], bytes], str] = {}
    kept, wires = [], []
    for tensor in graph.initializer:
        key = tensor.data_type, tuple(tensor.dims), numpy_helper.to_array(tensor).tobytes()
        if key in first:
            wires.append(node("Identity", [first[key]], tensor.name))
        else:
            first[key] = tensor.name
            kept.append(tensor)
    del graph.initializer[:]
    graph.initializer.extend(kept)
    keep(graph, [*wires, *graph.node])


FORMS = (
    Form("constants", "weights as Constant nodes", constants),
    Form("external", "weights in a second file", external, outside=True),
    Form("inputs", "IR version 3: initializers are inputs too", as_inputs),
    Form("shared", "BatchNorms that share scale, mean and variance through Identity", shared),
)
