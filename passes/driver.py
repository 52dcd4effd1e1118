"""The contract of a graph pass, and the driver that holds a pass to it, in the product as in the tests.

A pass is a frozen dataclass with its arguments as fields. `run` takes a model of its own, may change it in place, and tells its edits.
`requires` and `ensures` are functions that the driver runs before and after; each returns what is wrong, with the node, or None. What is
missing before is the model's fault (InputRefused), what is broken after is the pass's (a defect). After every pass each value that is
read has one maker. Where the driver is given a way to compare two models, outputs may move by no more than the pass's `bound`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from onnx import ModelProto

from rnpc.errors import InputRefused, RnpcError
from rnpc.passes.facts.view import node_name

Compare = Callable[[ModelProto, ModelProto], float]
"""Largest difference of two models' outputs, relative to the outputs' scale."""
Edit = dict[str, Any]


@dataclass(frozen=True)
class PassResult:
    """The new model and what was done, one entry a node or tensor: `pass`, `kind`, and the names that it concerns."""

    model: ModelProto
    edits: tuple[Edit, ...] = ()


class Pass(Protocol):
    """A named rewrite. `bound`: how far outputs may move, relative to their scale; None for a pass that changes what the output is."""

    @property
    def name(self) -> str:
        """What errors call the pass."""

    @property
    def bound(self) -> float | None:
        """Largest move of the outputs."""

    def requires(self, model: ModelProto) -> str | None:
        """What the model lacks for this pass."""

    def run(self, model: ModelProto) -> PassResult:
        """The rewritten model; the given one may be changed."""

    def ensures(self, model: ModelProto) -> str | None:
        """What the result lacks."""


def apply(passes: Sequence[Pass], model: ModelProto, compare: Compare | None = None) -> PassResult:
    """Run passes one after another on a copy. Raises InputRefused where the model lacks something, RnpcError where a pass fails."""
    work, edits = copied(model), list[Edit]()
    problem = broken(work)
    if problem:
        raise InputRefused(problem, where="model", todo="export it again")
    for step in passes:
        problem = step.requires(work)
        if problem:
            raise InputRefused(problem, where=f"pass {step.name}", todo="export the model again in a plainer form")
        before = copied(work) if compare else work
        result = step.run(work)
        hold(step, before, result.model, compare)
        edits += [{"pass": step.name, **edit} for edit in result.edits]
        work = result.model
    return PassResult(work, tuple(edits))


def hold(step: Pass, before: ModelProto, after: ModelProto, compare: Compare | None) -> None:
    """Raise RnpcError unless the pass kept its word."""
    problem = broken(after) or step.ensures(after)
    if problem is None and compare is not None and step.bound is not None:
        moved = compare(before, after)
        problem = f"moved the outputs by {moved:.2g}, allowed is {step.bound:.2g}" if moved > step.bound else None
    if problem:
        raise RnpcError(problem, where=f"pass {step.name}", todo="please report it")


def copied(model: ModelProto) -> ModelProto:
    """A model of one's own."""
    copy = ModelProto()
    copy.CopyFrom(model)
    return copy


def broken(model: ModelProto) -> str | None:
    """The first value that is read and that nothing makes, or that two nodes make; in any order of the nodes."""
    graph = model.graph
    known = {v.name for v in graph.input} | {t.name for t in graph.initializer} | {s.values.name for s in graph.sparse_initializer}
    made = set[str]()
    for node in graph.node:
        again = next((name for name in node.output if name in made), None)
        if again:
            return f"value {again} is made twice, the second time by node {node_name(node)} ({node.op_type})"
        made.update(name for name in node.output if name)
    known |= made | {""}
    for node in graph.node:
        missing = next((name for name in node.input if name not in known), None)
        if missing is not None:
            return f"node {node_name(node)} ({node.op_type}) reads {missing}, which nothing makes"
    lost = next((v.name for v in graph.output if v.name not in known), None)
    return None if lost is None else f"output {lost} is made by no node"
