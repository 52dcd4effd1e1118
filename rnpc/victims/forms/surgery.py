"""Small cuts in a graph, shared by the forms: make a node, store a tensor, let the readers of a value read another, put nodes in a node's
place.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, numpy_helper

from rnpc.passes.facts.view import captured


def node(op_type: str, inputs: Sequence[str], output: str, domain: str = "", **attributes: Any) -> NodeProto:
    """A node of one output, named after it and its operator."""
    return onnx.helper.make_node(op_type, list(inputs), [output], name=f"{output}_{op_type}", domain=domain or None, **attributes)


def store(graph: GraphProto, name: str, value: np.ndarray) -> str:
    """Add an initializer; returns its name."""
    graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
    return name


def read_instead(nodes: Iterable[NodeProto], old: str, new: str) -> None:
    """Readers of `old` among the nodes read `new`."""
    for reader in nodes:
        for slot, name in enumerate(reader.input):
            if name == old:
                reader.input[slot] = new


def keep(graph: GraphProto, nodes: Sequence[NodeProto]) -> None:
    """The graph's nodes are these, in this order."""
    copies = list(nodes)
    del graph.node[:]
    graph.node.extend(copies)


def replace(graph: GraphProto, chosen: dict[str, list[NodeProto]]) -> None:
    """Put nodes in the place of the makers of the given values."""
    keep(graph, [new for old in graph.node for new in chosen.get(old.output[0], [old])])


def drop_dead(graph: GraphProto) -> None:
    """Remove nodes and initializers that nothing reads."""
    live = {value.name for value in graph.output}
    kept = []
    for each in reversed(graph.node):
        if live.isdisjoint(each.output):
            continue
        live |= set(each.input) | captured(each)
        kept.append(each)
    keep(graph, kept[::-1])
    stay = [tensor for tensor in graph.initializer if tensor.name in live]
    del graph.initializer[:]
    graph.initializer.extend(stay)


def float_tensors(model: ModelProto) -> Iterator[TensorProto]:
    """All float32 tensors of the main graph, those of Constant nodes and other attributes included."""
    yield from (tensor for tensor in model.graph.initializer if tensor.data_type == TensorProto.FLOAT)
    for each in model.graph.node:
        yield from (entry.t for entry in each.attribute if entry.HasField("t") and entry.t.data_type == TensorProto.FLOAT)


def shapes(model: ModelProto) -> dict[str, list[int]]:
    """Sizes of all values that shape inference can tell; 0 for a free axis."""
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    found = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in (*graph.input, *graph.output, *graph.value_info)}
    return {**found, **{tensor.name: list(tensor.dims) for tensor in graph.initializer}}
