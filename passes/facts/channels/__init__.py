"""Channel facts: for each value and channel whether it is a constant, and whether anything reads it.

`analyse` gives all facts, `describe` a table of them. One file an operator family; importing them fills the registry of rules.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import ModelProto

from rnpc.passes.facts.channels import arithmetic, layers, moves, normalise, pool, quantise, reshape, unary
from rnpc.passes.facts.channels.base import RULES, Channels
from rnpc.passes.facts.channels.sweep import Facts, Sweep
from rnpc.passes.facts.view import node_name

__all__ = ["RULES", "Channels", "Facts", "Row", "analyse", "describe"]
FAMILIES = (arithmetic, layers, moves, normalise, pool, quantise, reshape, unary)


@dataclass(frozen=True)
class Row:
    """One value: its channel axis and count, how many channels are constant, how many nothing reads, and why channels of it stay.

    A value that the analysis did not reach has axis and counts None, and the reason where it ended there.
    """

    value: str
    axis: int | None
    channels: int | None
    constant: int | None
    dead: int | None
    reason: str


def analyse(model: ModelProto) -> Facts:
    """All facts. The model is not changed; its external data has to be loaded."""
    return Sweep(model).run()


def describe(model: ModelProto) -> list[Row]:
    """A row for each value that a node makes, in the file's order."""
    facts = analyse(model)
    return [row(facts, k, name) for k, node in enumerate(facts.view.nodes) for name in node.output if name]


def row(facts: Facts, k: int, name: str) -> Row:
    """The row of one value."""
    known = facts.values.get(name)
    if known is None:
        stopped = f"{facts.view.nodes[k].op_type} {node_name(facts.view.nodes[k])}: {facts.stops[k]}" if k in facts.stops else ""
        return Row(name, None, None, None, None, stopped)
    constant, dead = int((~np.isnan(known.constant)).sum()), int((~facts.live[name]).sum())
    why = next((facts.pins[root] for root in facts.roots[known.ids].tolist() if root in facts.pins), "")
    return Row(name, known.axis, known.count, constant, dead, why)
