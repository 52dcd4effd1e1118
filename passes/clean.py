"""clean: what the twin does not need to see is taken out of a copy of the graph.

Identity and Dropout are wires; Constant nodes are initializers; arithmetic on shapes and constants is done once; local functions are
inlined; a fixed batch is freed. No value that stays is renamed: the readers of an Identity read what it read. Weights are left alone:
a Transpose of a weight stays a node, so that the weight remains a parameter under its own name.
"""

from __future__ import annotations

from collections import Counter

import onnx
from onnx import numpy_helper
from onnx.inliner import inline_local_functions

from rnpc.passes.batch import free_batch
from rnpc.passes.fold import fold

KINDS = {"value_float": onnx.TensorProto.FLOAT, "value_int": onnx.TensorProto.INT64}


def clean(model: onnx.ModelProto) -> onnx.ModelProto:
    """A cleaned copy of the model, with the same outputs. A fixed batch becomes a free one where that can be followed (`free_batch`)."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    if copy.functions:
        copy = inline_local_functions(copy)
    copy.ir_version = max(copy.ir_version, 4)  # before 4, an initializer had to be an input too
    _close_defaults(copy.graph)
    _lift_constants(copy.graph)
    _cut_wires(copy.graph)
    fold(copy)
    free_batch(copy)
    _drop_dead(copy.graph)
    del copy.graph.value_info[:]
    return copy


def _keep(graph: onnx.GraphProto, nodes: list[onnx.NodeProto]) -> None:
    """Replace the graph's nodes by some of them."""
    del graph.node[:]
    graph.node.extend(nodes)


def _close_defaults(graph: onnx.GraphProto) -> None:
    """An input with an initializer is a weight that a caller might override; nobody does, and old files list all weights so."""
    stored = {t.name for t in graph.initializer}
    inputs = [v for v in graph.input if v.name not in stored]
    del graph.input[:]
    graph.input.extend(inputs)


def _lift_constants(graph: onnx.GraphProto) -> None:
    """Constant nodes become initializers of the same name."""
    kept = []
    for node in graph.node:
        tensor = _constant(node) if node.op_type == "Constant" and node.attribute else None
        if tensor is None:
            kept.append(node)
        else:
            tensor.name = node.output[0]
            graph.initializer.append(tensor)
    _keep(graph, kept)


def _constant(node: onnx.NodeProto) -> onnx.TensorProto | None:
    """The value of a Constant node in any of its forms; None for text and sparse tensors."""
    name, value = node.attribute[0].name, onnx.helper.get_attribute_value(node.attribute[0])
    if name == "value":
        copy = onnx.TensorProto()
        copy.CopyFrom(value)
        return copy
    if name in KINDS:
        return onnx.helper.make_tensor("", KINDS[name], [], [value])
    if name.removesuffix("s") in KINDS:
        return onnx.helper.make_tensor("", KINDS[name.removesuffix("s")], [len(value)], value)
    return None


def captured(graph: onnx.GraphProto) -> set[str]:
    """Names that the bodies of If, Loop and Scan may read from outside."""
    names: set[str] = set()
    for node in graph.node:
        for attribute in node.attribute:
            for body in [attribute.g, *attribute.graphs]:
                names.update(name for inner in body.node for name in inner.input)
                names.update(output.name for output in body.output)
                names |= captured(body)
    return names


def _cut_wires(graph: onnx.GraphProto) -> None:
    """Readers of an Identity or Dropout read its input; one that makes a graph output, or feeds a body, stays."""
    fixed = {v.name for v in graph.output} | captured(graph)
    read = Counter(name for node in graph.node for name in node.input)
    switches = {t.name: t for t in graph.initializer}
    source: dict[str, str] = {}
    kept = []
    for node in graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = source.get(name, name)
        if node.output[0] not in fixed and _is_wire(node, read, switches):
            source[node.output[0]] = node.input[0]
        else:
            kept.append(node)
    _keep(graph, kept)


def _is_wire(node: onnx.NodeProto, read: Counter[str], tensors: dict[str, onnx.TensorProto]) -> bool:
    """Whether the node passes its first input on: Identity, or Dropout that is off and whose mask nobody reads."""
    if node.op_type == "Identity":
        return True
    if node.op_type != "Dropout" or any(read[name] for name in node.output[1:]):
        return False
    switch = node.input[2] if len(node.input) > 2 else ""
    return not switch or (switch in tensors and not numpy_helper.to_array(tensors[switch]).any())


def _drop_dead(graph: onnx.GraphProto) -> None:
    """Nodes and initializers that no output needs."""
    needed = {v.name for v in graph.output} | captured(graph)
    kept = []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(node.input)
    _keep(graph, kept[::-1])
    for index in reversed(range(len(graph.initializer))):  # one by one: rewriting the list would copy all weights
        if graph.initializer[index].name not in needed:
            del graph.initializer[index]
