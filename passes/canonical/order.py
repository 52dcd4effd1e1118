"""Order: nodes into topological order, as ONNX asks for and as onnxruntime does by itself.

onnxruntime's fp16 converter appends the Cast of the input at the end of the list. What is in order stays as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

from onnx import ModelProto, NodeProto

from rnpc.passes.driver import PassResult
from rnpc.passes.facts.view import node_name, order, unsorted


@dataclass(frozen=True)
class Order:
    """Each node stands behind the makers of all that it reads."""

    name: str = "order"
    bound: float | None = 0.0

    def requires(self, model: ModelProto) -> str | None:
        """No circle."""
        done = set(order(model.graph.node))
        circle = next((node for k, node in enumerate(model.graph.node) if k not in done), None)
        return None if circle is None else f"node {node_name(circle)} ({circle.op_type}) lies on a circle"

    def run(self, model: ModelProto) -> PassResult:
        """The same nodes in order."""
        nodes = model.graph.node
        places = order(nodes)
        if places == list(range(len(nodes))):
            return PassResult(model)
        moved = [NodeProto.FromString(nodes[k].SerializeToString()) for k in places]
        del nodes[:]
        nodes.extend(moved)
        return PassResult(model, ({"kind": "order", "nodes": len(moved)},))

    def ensures(self, model: ModelProto) -> str | None:
        """All in order."""
        return unsorted(model)
