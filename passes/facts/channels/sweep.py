"""The analysis: one sweep forward for ids and constants, one backward for what is read.

A graph has no circles, so one sweep each way in topological order is the fixpoint. Forward, each operator's rule describes its outputs
and says which positions go together. Where an operator has no rule, or its rule stops, its inputs are pinned and its outputs are
unknown. Backward, a position of a value is live if a graph output, a subgraph or an operator without a flow reads it, or a live position
that it flows to; a layer reads an input position if a live row of its weights has an entry there that is not zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import ModelProto

from rnpc.passes.facts.channels.base import RULES, Channels, Found, Linear, Step, Stop, round_to
from rnpc.passes.facts.channels.classes import classes
from rnpc.passes.facts.channels.sizes import sizes
from rnpc.passes.facts.view import View, captured, node_name, order


@dataclass(frozen=True)
class Facts:
    """What is true of a graph's channels. `roots`: id -> its class; `pins`: class -> why it stays; `live`: value -> bool for each position.

    `stops`: index of a node -> why the analysis ended there.
    """

    view: View
    values: dict[str, Channels]
    live: dict[str, np.ndarray]
    roots: np.ndarray
    pins: dict[int, str]
    stops: dict[int, str]
    found: Found


class Sweep:
    """The state of one analysis."""

    def __init__(self, model: ModelProto) -> None:
        self.view = View(model)
        self.sizes, self.types = sizes(model)
        self.values: dict[str, Channels] = {}
        self.found = Found()
        self.stops: dict[int, str] = {}
        self.count = 0
        self.order = order(self.view.nodes)

    def run(self) -> Facts:
        """Both sweeps."""
        for k in self.order:
            self.forward(k)
        self.ends()
        roots = classes(self.count, self.found.edges)
        pins: dict[int, str] = {}
        for ids, why in self.found.pins:
            for root in np.unique(roots[ids]).tolist():
                pins.setdefault(root, why)
        return Facts(self.view, self.values, self.backward(), roots, pins, self.stops, self.found)

    def forward(self, k: int) -> None:
        """Apply the rule of node k, if there is one."""
        node = self.view.nodes[k]
        rule = RULES.find(node.op_type, self.view.opset, node.domain)
        step = Step(self, k, node)
        try:
            if rule is None:
                raise Stop(f"{node.domain or 'ai.onnx'} {node.op_type} has no rule")
            rule(step)
        except Stop as reason:
            if rule is not None or any(name in self.values for name in node.input):
                self.stop(k, str(reason))
            return
        self.found.take(step.found)
        self.values.update(step.made)

    def stop(self, k: int, reason: str) -> None:
        """The node's inputs stay as they are."""
        node = self.view.nodes[k]
        self.stops[k] = reason
        for name in node.input:
            if name in self.values:
                self.found.pins.append((self.values[name].ids, f"{node.op_type} {node_name(node)}: {reason}"))

    def ends(self) -> None:
        """Outputs and what subgraphs read stay as they are."""
        inner = {name for node in self.view.nodes for name in captured(node)}
        for name in sorted({*self.view.outputs, *inner} & self.values.keys()):
            self.found.pins.append(
                (self.values[name].ids, f"{name} is an output of the {'graph' if name in self.view.outputs else 'branch'}")
            )

    def fresh(self, count: int) -> np.ndarray:
        """New ids."""
        self.count += count
        return np.arange(self.count - count, self.count)

    def rounded(self, name: str, constant: np.ndarray) -> np.ndarray:
        """Constants as the value's type holds them."""
        return round_to(self.types.get(name, 0), constant)

    def backward(self) -> dict[str, np.ndarray]:
        """Which positions are read."""
        live = {name: np.zeros(known.count, dtype=bool) for name, known in self.values.items()}
        for name in {*self.view.outputs, *self.view.captured} & live.keys():
            live[name][:] = True
        linears = {linear.node: linear for linear in self.found.linears}
        for k in reversed(self.order):
            for slot, name in enumerate(self.view.nodes[k].input):
                if name in live:
                    live[name] |= self.read(k, slot, live, linears.get(k))
        return live

    def read(self, k: int, slot: int, live: dict[str, np.ndarray], linear: Linear | None) -> np.ndarray:
        """Positions of an input that node k reads."""
        name = self.view.nodes[k].input[slot]
        if linear is not None and linear.source == name:
            return rows_read(linear, live[linear.output])
        flows = [flow for flow in self.found.flows.get(k, []) if flow.slot == slot]
        if not flows:
            return np.ones(len(live[name]), dtype=bool)
        read = np.zeros(len(live[name]), dtype=bool)
        for flow in flows:
            output = self.view.nodes[k].output[flow.output]
            groups = flow.target[live.get(output, np.zeros(len(flow.target), dtype=bool))]
            read |= np.isin(flow.source, groups[groups >= 0])
        return read


def rows_read(linear: Linear, live: np.ndarray) -> np.ndarray:
    """Input positions that a live output of a layer reads."""
    blocks = linear.reads.reshape(linear.groups, -1, linear.reads.shape[1])
    return np.asarray((blocks & live.reshape(linear.groups, -1, 1)).any(axis=1).reshape(-1))
