"""Tail: what only dresses the scores is taken off, so that the output is what the last linear layer makes.

The user's file keeps its tail; only the studied network loses it. The rest is onnx-graphsurgeon's work: another output, and what does not
lead to it goes. Scores [N, K, 1, 1] are flattened to [N, K].
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import onnx_graphsurgeon as gs
from onnx import ModelProto, TensorProto, ValueInfoProto, helper
from onnx_graphsurgeon.logger import G_LOGGER

from rnpc.passes.driver import PassResult, apply
from rnpc.passes.facts.scores import choice, find_scores, flat
from rnpc.passes.facts.shapes import inferred, sizes_of
from rnpc.passes.facts.view import node_name, unsorted

FLAT = ":scores"
"""What the flattened scores' name adds to that of the value."""


@dataclass(frozen=True)
class Tail:
    """One output: the scores [N, K] behind `output`, or behind the first graph output."""

    output: str | None = None
    name: str = "tail"
    bound: float | None = None

    def requires(self, model: ModelProto) -> str | None:
        """The output is there, and no operator that chooses a class made it; nodes are in order."""
        names = [value.name for value in model.graph.output]
        if not names or (self.output is not None and self.output not in names):
            return f"no output {self.output or ''} among {', '.join(names) or 'none'}"
        chooser = choice(model, self.output)
        if chooser is not None:
            return f"node {node_name(chooser)} ({chooser.op_type}) gives the chosen class, and no scores"
        return unsorted(model)

    def run(self, model: ModelProto) -> PassResult:
        """The model that ends in its scores; edits name the nodes that went."""
        output = self.output or model.graph.output[0].name
        found = find_scores(model, output)
        edits = tuple({"kind": "cut", "node": node_name(model.graph.node[k])} for k in found.tail)
        value = next((v for v in inferred(model, outputs=True) if v.name == found.value), ValueInfoProto(name=found.value))
        if len(sizes_of(value)) <= 2 and not found.tail and len(model.graph.output) == 1:
            return PassResult(model)
        return PassResult(ending_in(model, value), edits)

    def ensures(self, model: ModelProto) -> str | None:
        """One output, which has no tail, and nothing that does not lead to it."""
        if len(model.graph.output) != 1:
            return f"{len(model.graph.output)} outputs are left"
        value = model.graph.output[0].name
        left = find_scores(model, scores_name(value))
        if left.tail:
            return f"node {node_name(model.graph.node[left.tail[0]])} is left of the tail"
        return unsorted(model)


def ending_in(model: ModelProto, value: ValueInfoProto) -> ModelProto:
    """The part of the graph that makes `value`, flattened behind the batch where it has more axes than that and the classes."""
    sizes = sizes_of(value)
    with quiet():
        graph = gs.import_onnx(model)
        scores = graph.tensors()[value.name]
        if len(sizes) > 2:
            flattened = gs.Variable(value.name + FLAT)
            graph.nodes.append(gs.Node("Flatten", flattened.name, {"axis": 1}, [scores], [flattened]))
            scores = flattened
        graph.outputs = [scores]
        cut: ModelProto = gs.export_onnx(graph.cleanup(), do_type_check=False)
    del cut.graph.value_info[:]
    kind, classes = value.type.tensor_type.elem_type or TensorProto.FLOAT, flat(sizes) if len(sizes) > 1 else None
    cut.graph.output[0].CopyFrom(helper.make_tensor_value_info(scores.name, kind, ["N", classes or "K"]))
    return cut


@contextmanager
def quiet() -> Iterator[None]:
    """Keep onnx-graphsurgeon's remarks off the terminal."""
    before = G_LOGGER.severity
    G_LOGGER.severity = G_LOGGER.CRITICAL
    try:
        yield
    finally:
        G_LOGGER.severity = before


def without_tail(model: ModelProto, output: str | None = None) -> ModelProto:
    """A copy that ends in the scores behind `output` (default: the first graph output). Raises InputRefused without such an output."""
    return apply([Tail(output)], model).model


def scores_name(value: str) -> str:
    """The user's name of a value that the studied network ends in."""
    return value.removesuffix(FLAT)
