"""fold: arithmetic that does not depend on the image is done once, and becomes an initializer under the name that it had.

What may be folded: values made of integers, booleans and scalars, and tensors made from nothing else (ConstantOfShape writes weights in
some files). A shape is often known but for its batch; such a half-known vector is followed through Gather, Slice and Concat, so that
a height picked out of it folds although the vector does not, and a Reshape to it needs no arithmetic: one unknown size is -1.

A float tensor of one dimension or more is a weight, unless it can only end in a setting: bounds of Clip, scales of Resize, a shape.
"""

from __future__ import annotations

from contextlib import suppress
from math import prod
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from rnpc.passes.facts.shapes import shapes
from rnpc.passes.facts.view import is_onnx, is_op

MARKS = (1_000_003, 2_000_029)
"""What an unknown size is taken for. Entries that come out alike for both do not depend on it."""

OPERATORS = """
    Abs Add And Cast Ceil Concat ConstantOfShape CumSum Div Equal Exp Expand Flatten Floor Gather GatherND Greater GreaterOrEqual Less
    LessOrEqual Log Max Min Mod Mul Neg Not Or Pow Range Reciprocal ReduceMax ReduceMin ReduceProd ReduceSum Reshape Round ScatterND
    Shape Size Slice Split Sqrt Squeeze Sub Tile Transpose Trilu Unsqueeze Where
"""
FOLDABLE = frozenset(OPERATORS.split())
MOVES = frozenset({"Cast", "Concat", "Expand", "Flatten", "Gather", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze"})
"""Operators that pick and place: with a half-known input the known entries of their output are right."""
SETTINGS: dict[str, tuple[int, ...]] = {
    "Clip": (1, 2),
    "ConstantOfShape": (0,),
    "DequantizeLinear": (1, 2),
    "Expand": (1,),
    "Pad": (1, 2, 3),
    "Pow": (1,),
    "QuantizeLinear": (1, 2),
    "Range": (0, 1, 2),
    "Reshape": (1,),
    "Resize": (1, 2, 3),
    "Slice": (1, 2, 3, 4),
    "Tile": (1,),
    "Upsample": (1,),
}
"""Inputs that say how an operator works; nothing is learned there."""


def fold(model: onnx.ModelProto) -> None:
    """Fold in place, again and again while shapes become known by it. Nodes that make a graph output stay."""
    while _sweep(model) and any(is_op(node, "Shape") for node in model.graph.node):
        pass


def _sweep(model: onnx.ModelProto) -> bool:
    """Fold once along the graph; whether anything was folded."""
    graph = model.graph
    trained = weights(graph)
    known = {t.name: numpy_helper.to_array(t) for t in graph.initializer if t.name not in trained}
    folder = _Folder(model, known)
    outputs = {v.name for v in graph.output}
    kept = [node for node in graph.node if not folder.take(node) or outputs.intersection(node.output)]
    freed = [folder.free(graph, node) for node in kept if is_op(node, "Reshape")]
    made = {name for node in graph.node for name in node.output} - {name for node in kept for name in node.output}
    graph.initializer.extend(numpy_helper.from_array(known[name], name) for name in sorted(made & known.keys()))
    del graph.node[:]
    graph.node.extend(kept)
    return bool(made) or any(freed)


def weights(graph: onnx.GraphProto) -> set[str]:
    """Initializers that are learned: float, read by more than settings (arithmetic that leads there followed), and not single numbers.

    A single number is learned only where it is the whole of a weight, as in a layer with one channel.
    """
    free = {v.name for v in graph.output}
    whole = {name for node in graph.node if not foldable(node) for name in node.input}
    for node in reversed(graph.node):
        settings = SETTINGS.get(node.op_type, ()) if is_onnx(node) else ()
        if not foldable(node) or free.intersection(node.output):
            free.update(name for index, name in enumerate(node.input) if index not in settings)
    types = (onnx.TensorProto.INT64, onnx.TensorProto.INT32, onnx.TensorProto.BOOL)
    floats = [t for t in graph.initializer if t.data_type not in types and t.dims]
    return {t.name for t in floats if t.name in free and (prod(t.dims) > 1 or t.name in whole)}


def foldable(node: onnx.NodeProto) -> bool:
    """Whether the node is arithmetic that can be done beforehand."""
    return node.op_type in FOLDABLE and is_onnx(node)


class _Folder:
    """Values known so far; `halves` holds half-known integers, once for each mark."""

    def __init__(self, model: onnx.ModelProto, known: dict[str, np.ndarray]) -> None:
        self.known = known
        self.halves: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self.shapes = shapes(model)
        self.opsets = list(model.opset_import)

    def take(self, node: onnx.NodeProto) -> bool:
        """Evaluate the node where its inputs are known; whether its outputs are known now."""
        if not foldable(node):
            return False
        names = [name for name in node.input if name]
        if node.op_type == "Shape":
            self._measure(node)
        else:
            with suppress(Exception):  # the reference implementation has gaps; what it cannot do stays a node
                self._compute(node, names)
        return all(name in self.known for name in node.output)

    def free(self, graph: onnx.GraphProto, node: onnx.NodeProto) -> bool:
        """A Reshape whose target is known but for one size gets -1 there; whether it did. The shape arithmetic then leads nowhere."""
        if node.input[1] not in self.halves:
            return False
        one, two = (side.reshape(-1) for side in self.halves[node.input[1]])
        same = one == two
        if same.sum() != len(one) - 1 or (one[same] < 1).any():
            return False
        name = f"{node.output[0]}:shape"
        graph.initializer.append(numpy_helper.from_array(np.where(same, one, -1).astype(np.int64), name))
        node.input[1] = name
        return True

    def _compute(self, node: onnx.NodeProto, names: list[str]) -> None:
        if all(name in self.known for name in names):
            self.known.update(self._evaluate(node, {name: self.known[name] for name in names}))
        elif node.op_type in MOVES and all(name in self.known or name in self.halves for name in names):
            self._follow(node, names)

    def _evaluate(self, node: onnx.NodeProto, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        alone = onnx.helper.make_function("rnpc", "fold", list(feeds), list(node.output), [node], self.opsets)
        values: list[Any] = ReferenceEvaluator(alone).run(None, feeds, attributes={})  # type: ignore[assignment]
        return {name: np.asarray(value) for name, value in zip(node.output, values, strict=False)}

    def _measure(self, node: onnx.NodeProto) -> None:
        sizes = self.shapes.get(node.input[0])
        if sizes is None:
            return
        ends = {a.name: a.i for a in node.attribute}
        sizes = sizes[ends.get("start", 0) : ends.get("end", len(sizes))]
        one, two = (np.array([mark if s is None else s for s in sizes], dtype=np.int64) for mark in MARKS)
        self._note(node.output[0], one, two)

    def _follow(self, node: onnx.NodeProto, names: list[str]) -> None:
        """A node that moves entries about, evaluated with either mark in place of what is unknown."""
        one, two = (
            self._evaluate(node, {name: self.known[name] if name in self.known else self.halves[name][side] for name in names})
            for side in (0, 1)
        )
        for name in node.output:
            self._note(name, one[name], two[name])

    def _note(self, name: str, one: np.ndarray, two: np.ndarray) -> None:
        if one.shape == two.shape and np.array_equal(one, two):
            self.known[name] = one
        elif one.shape == two.shape:
            self.halves[name] = (one, two)
