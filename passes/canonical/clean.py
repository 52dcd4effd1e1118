"""Clean: what the twin does not need to see is taken out of a copy of the graph.

Identity and Dropout are wires; Constant nodes are initializers; arithmetic on shapes and constants is done once; a fixed batch is freed.
No value that stays is renamed: the readers of an Identity read what it read. Weights are left alone: a Transpose of a weight stays a node,
so that the weight remains a parameter under its own name.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import onnx
from onnx import numpy_helper

from rnpc.passes.canonical.batch import free_batch
from rnpc.passes.canonical.constants import fold
from rnpc.passes.canonical.inline import Inline
from rnpc.passes.canonical.order import Order
from rnpc.passes.canonical.sparse import Dense
from rnpc.passes.driver import PassResult, apply
from rnpc.passes.facts.view import captured as captured_by
from rnpc.passes.facts.view import is_op, node_name, unsorted

KINDS = {"value_float": onnx.TensorProto.FLOAT, "value_int": onnx.TensorProto.INT64}


@dataclass(frozen=True)
class Clean:
    """Wires cut, constants lifted and folded, the batch freed where that can be followed, dead nodes dropped."""

    name: str = "clean"
    bound: float | None = 0.0

    def requires(self, model: onnx.ModelProto) -> str | None:
        """Nodes in order, functions inlined."""
        return f"function {model.functions[0].name} is not inlined" if model.functions else unsorted(model)

    def run(self, model: onnx.ModelProto) -> PassResult:
        """The cleaned model; edits name the nodes that went."""
        before = {node.output[0]: node_name(node) for node in model.graph.node}
        model.ir_version = max(model.ir_version, 4)  # before 4, an initializer had to be an input too
        _close_defaults(model.graph)
        _lift_constants(model.graph)
        _cut_wires(model.graph)
        fold(model)
        free_batch(model)
        _drop_dead(model.graph)
        del model.graph.value_info[:]
        left = {node.output[0] for node in model.graph.node}
        return PassResult(model, tuple({"kind": "gone", "node": name} for value, name in before.items() if value not in left))

    def ensures(self, model: onnx.ModelProto) -> str | None:
        """Nodes in order, none of them dead, no Constant that holds a tensor."""
        constant = next((n for n in model.graph.node if is_op(n, "Constant") and _constant(n) is not None), None)
        if constant is not None:
            return f"node {node_name(constant)} (Constant) is left"
        needed = {v.name for v in model.graph.output} | captured(model.graph) | {name for node in model.graph.node for name in node.input}
        dead = next((node for node in model.graph.node if not needed.intersection(node.output)), None)
        return unsorted(model) if dead is None else f"node {node_name(dead)} ({dead.op_type}) is dead"


PLAIN = (Inline(), Order(), Dense())
"""What every other pass takes for granted."""


def clean(model: onnx.ModelProto) -> onnx.ModelProto:
    """A plain and cleaned copy of the model, with the same outputs."""
    return apply((*PLAIN, Clean()), model).model


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
        tensor = _constant(node) if is_op(node, "Constant") else None
        if tensor is None:
            kept.append(node)
        else:
            tensor.name = node.output[0]
            graph.initializer.append(tensor)
    _keep(graph, kept)


def _constant(node: onnx.NodeProto) -> onnx.TensorProto | None:
    """The value of a Constant node in any of its forms; None for text and sparse tensors."""
    if not node.attribute:
        return None
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
    return {name for node in graph.node for name in captured_by(node)}


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
    if is_op(node, "Identity"):
        return True
    if not is_op(node, "Dropout") or any(read[name] for name in node.output[1:]):
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
