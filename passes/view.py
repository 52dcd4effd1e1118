"""A read-only view of a graph: who makes a value, who reads it, and which stored tensor stands behind a name.

`root` looks through Identity nodes, because the legacy exporter merges equal initializers and hands them on through Identity: two nodes
may then read one tensor under two names, and an edit for one would change the other.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import onnx
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto

Slot = tuple[int, int]
"""A use of a value: (index of the node in graph.node, index of its input)."""


class View:
    """Maps of one graph, built once. `makers`: value -> node index; `readers`: value -> uses by nodes of the main graph."""

    def __init__(self, model: ModelProto) -> None:
        graph = model.graph
        self.nodes: Sequence[NodeProto] = graph.node
        self.opset = opset(model)
        self.outputs = {value.name for value in graph.output}
        self.makers = {name: k for k, node in enumerate(self.nodes) for name in node.output if name}
        self.readers: dict[str, list[Slot]] = defaultdict(list)
        for k, node in enumerate(self.nodes):
            for slot, name in enumerate(node.input):
                if name:
                    self.readers[name].append((k, slot))
        self.captured = {name for node in self.nodes for name in captured(node)}
        self.tensors = {tensor.name: tensor for tensor in graph.initializer}
        self.tensors.update({node.output[0]: tensor for node in self.nodes if (tensor := constant(node)) is not None})

    def maker(self, name: str) -> NodeProto | None:
        """The node that makes a value; None for inputs and initializers."""
        return self.nodes[self.makers[name]] if name in self.makers else None

    def root(self, name: str) -> str:
        """The name behind any chain of Identity nodes."""
        node = self.maker(name)
        return self.root(node.input[0]) if node is not None and node.op_type == "Identity" and is_onnx(node) else name

    def tensor(self, name: str) -> TensorProto | None:
        """The initializer or constant behind a name, looking through Identity; None if it is computed."""
        return self.tensors.get(self.root(name)) if name else None

    def only_reader(self, name: str) -> int | None:
        """Index of the single node that reads a value; None if there are more, or others (outputs, subgraphs) see it."""
        uses = self.readers.get(name, [])
        return uses[0][0] if len(uses) == 1 and name not in self.outputs and name not in self.captured else None

    def uses(self, name: str) -> int:
        """How many readers a stored tensor has in the end: Identity hands on, outputs and subgraphs count as readers."""
        count = int(name in self.outputs) + int(name in self.captured)
        for k, _ in self.readers.get(name, []):
            node = self.nodes[k]
            count += self.uses(node.output[0]) if node.op_type == "Identity" and is_onnx(node) else 1
        return count


def opset(model: ModelProto) -> int:
    """Version of the default operator set; 0 where the model imports none."""
    return max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0)


def is_onnx(node: NodeProto) -> bool:
    """Whether the node belongs to the default operator set."""
    return node.domain in ("", "ai.onnx")


def attribute(node: NodeProto, name: str, default: Any = None) -> Any:
    """Value of an attribute, or `default`."""
    return next((onnx.helper.get_attribute_value(entry) for entry in node.attribute if entry.name == name), default)


def constant(node: NodeProto) -> TensorProto | None:
    """The tensor of a Constant node that holds one."""
    if node.op_type != "Constant" or not is_onnx(node):
        return None
    return next((entry.t for entry in node.attribute if entry.name == "value" and entry.type == AttributeProto.TENSOR), None)


def subgraphs(node: NodeProto) -> Iterator[GraphProto]:
    """Graphs held in a node's attributes (branches and bodies)."""
    for entry in node.attribute:
        if entry.type == AttributeProto.GRAPH:
            yield entry.g
        yield from entry.graphs


def captured(node: NodeProto) -> set[str]:
    """Names that a node's subgraphs may take from the graph around them (inner definitions of the same name included: on the safe side)."""
    names: set[str] = set()
    for graph in subgraphs(node):
        names |= {value.name for value in graph.output}
        for inner in graph.node:
            names |= set(inner.input) | captured(inner)
    return names - {""}
