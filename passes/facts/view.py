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

FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)
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
        return self.root(node.input[0]) if node is not None and is_op(node, "Identity") else name

    def tensor(self, name: str) -> TensorProto | None:
        """The initializer or constant behind a name, looking through Identity; None if it is computed."""
        return self.tensors.get(self.root(name)) if name else None

    def leading_to(self, name: str) -> list[int]:
        """Indices, in the file's order, of the nodes from which a value is computed."""
        found, todo = set[int](), [name]
        while todo:
            k = self.makers.get(todo.pop())
            if k is not None and k not in found:
                found.add(k)
                todo.extend([*self.nodes[k].input, *captured(self.nodes[k])])
        return sorted(found)

    def only_reader(self, name: str) -> int | None:
        """Index of the single node that reads a value; None if there are more, or others (outputs, subgraphs) see it."""
        uses = self.readers.get(name, [])
        return uses[0][0] if len(uses) == 1 and name not in self.outputs and name not in self.captured else None

    def uses(self, name: str) -> int:
        """How many readers a stored tensor has in the end: Identity hands on, outputs and subgraphs count as readers."""
        count = int(name in self.outputs) + int(name in self.captured)
        for k, _ in self.readers.get(name, []):
            node = self.nodes[k]
            count += self.uses(node.output[0]) if is_op(node, "Identity") and node.output else 1
        return count


def opset(model: ModelProto) -> int:
    """Version of the default operator set; 0 where the model imports none."""
    return max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0)


def is_onnx(node: NodeProto) -> bool:
    """Whether the node belongs to the default operator set."""
    return node.domain in ("", "ai.onnx")


def is_op(node: NodeProto, *names: str) -> bool:
    """Whether the node is one of these operators of the default set: a local function or a custom operator of the same name is not."""
    return node.op_type in names and is_onnx(node)


def node_name(node: NodeProto) -> str:
    """How an error or an edit calls a node: its name, or what it makes."""
    return str(node.name or next((name for name in node.output if name), node.op_type))


def attribute(node: NodeProto, name: str, default: Any = None) -> Any:
    """Value of an attribute, or `default`."""
    return next((onnx.helper.get_attribute_value(entry) for entry in node.attribute if entry.name == name), default)


def constant(node: NodeProto) -> TensorProto | None:
    """The tensor of a Constant node that holds one."""
    if not is_op(node, "Constant"):
        return None
    return next((entry.t for entry in node.attribute if entry.name == "value" and entry.type == AttributeProto.TENSOR), None)


def order(nodes: Sequence[NodeProto]) -> list[int]:
    """Indices of the nodes in topological order: each after the makers of what it reads, bodies included. Nodes on a circle are left out.

    A list in order stays as it is. Any other is told anew from its ends back, inputs from first to last, so that the result depends on the
    graph and not on how it was shuffled.
    """
    makers = {name: k for k, node in enumerate(nodes) for name in node.output if name}
    needs = [list(dict.fromkeys(makers[name] for name in (*node.input, *sorted(captured(node))) if name in makers)) for node in nodes]
    if all(max(before, default=-1) < k for k, before in enumerate(needs)):
        return list(range(len(nodes)))
    sound = off_circles(needs)
    read = {k for before in needs for k in before}
    done: dict[int, None] = {}
    todo = [k for k in reversed(range(len(nodes))) if k not in read and k in sound]
    while todo:
        k = todo[-1]
        waiting = [before for before in needs[k] if before not in done]
        if waiting:
            todo.extend(reversed(waiting))
        else:
            done.setdefault(todo.pop())
    return list(done)


def off_circles(needs: Sequence[Sequence[int]]) -> set[int]:
    """Nodes that need nothing on a circle, themselves included."""
    waiting = [len(before) for before in needs]
    readers: list[list[int]] = [[] for _ in needs]
    for k, before in enumerate(needs):
        for maker in before:
            readers[maker].append(k)
    todo, done = [k for k, count in enumerate(waiting) if count == 0], set[int]()
    while todo:
        k = todo.pop()
        done.add(k)
        for reader in readers[k]:
            waiting[reader] -= 1
            if waiting[reader] == 0:
                todo.append(reader)
    return done


def unsorted(model: ModelProto) -> str | None:
    """The first node that reads a value before it is made."""
    later = {name for node in model.graph.node for name in node.output if name}
    for node in model.graph.node:
        early = next((name for name in sorted({*node.input, *captured(node)}) if name in later), None)
        if early is not None:
            return f"node {node_name(node)} ({node.op_type}) reads {early} before it is made"
        later.difference_update(node.output)
    return None


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
