"""Where the class scores are: the value that the network makes, before a tail that only dresses it.

A tail node acts on one image's scores alone and keeps their order: a softmax over all classes, an increasing function, one number added to
all or one positive number multiplied in, rounding to codes of one scale, a row-major change of shape. Studied must be what stands before
it: a softmax of a softmax has no gradient worth the name. The walk back ends at the first node of another kind; a Relu or Clip is one,
since it makes ties.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import isfinite, prod

from onnx import ModelProto, NodeProto, numpy_helper

from rnpc.passes.facts.shapes import Sizes, shapes
from rnpc.passes.facts.view import FLOATS, View, attribute, is_op

INCREASING = ("Identity", "Dropout", "Sigmoid", "Tanh", "Exp", "Log", "Softplus", "Softsign")
SOFTMAX = ("Softmax", "LogSoftmax")
ROW_MAJOR = ("Reshape", "Flatten", "Squeeze", "Unsqueeze")
COMMON = ("ReduceMax", "ReduceMin", "ReduceMean", "ReduceSum", "ReduceLogSumExp", "ReduceLogSum")
"""Reductions over the classes that give one number an image."""
POSITIVE = ("Exp", "Sigmoid", "Softmax", "Softplus")
CHOICES = ("ArgMax", "ArgMin", "TopK", "Hardmax")
"""Operators that choose a class and lose the scores."""


@dataclass(frozen=True)
class Scores:
    """`value`: the scores' name; `tail`: indices of the nodes from it to the output, the last one first."""

    value: str
    tail: tuple[int, ...]


def find_scores(model: ModelProto, output: str | None = None) -> Scores:
    """The scores behind a graph output (the first one where none is named). The model's nodes are in topological order."""
    return Walk(model).back(output or model.graph.output[0].name)


class Walk:
    """One graph with its shapes, for walks back through a tail."""

    def __init__(self, model: ModelProto) -> None:
        self.model, self.view = model, View(model)

    @cached_property
    def shapes(self) -> dict[str, Sizes]:
        """Inferred once, and only where a node has to be judged by it."""
        return shapes(self.model, outputs=True)

    def back(self, name: str) -> Scores:
        """Follow the tail from `name` to where it begins."""
        tail = []
        while name in self.view.makers:
            source = self.before(self.view.nodes[self.view.makers[name]])
            if source is None:
                break
            tail.append(self.view.makers[name])
            name = source
        return Scores(name, tuple(tail))

    def before(self, node: NodeProto) -> str | None:
        """The value whose order the node's output has; None where the node is no part of a tail."""
        if is_op(node, *INCREASING) or (is_op(node, "Cast") and attribute(node, "to") in FLOATS):
            return str(node.input[0])
        if is_op(node, "QuantizeLinear", "DequantizeLinear"):
            return str(node.input[0]) if (self.number(node.input[1], node.input[0]) or 0.0) > 0 else None
        if is_op(node, *SOFTMAX):
            return str(node.input[0]) if self.over_classes(node) else None
        if is_op(node, *ROW_MAJOR, "Transpose"):
            return str(node.input[0]) if self.only_shape(node) else None
        if is_op(node, "Add", "Sub", "Mul", "Div"):
            return self.shifted(node)
        return None

    def over_classes(self, node: NodeProto) -> bool:
        """Whether a softmax runs over all scores of an image: every other axis than the batch and its own is one wide."""
        sizes = self.shapes.get(node.input[0])
        if sizes is None or len(sizes) < 2:
            return False
        new = self.view.opset >= 13
        axis = attribute(node, "axis", -1 if new else 1) % len(sizes)
        others = [s for k, s in enumerate(sizes) if k > 0 and (k != axis if new else k < axis)]
        return axis > 0 and all(size == 1 for size in others)

    def only_shape(self, node: NodeProto) -> bool:
        """Whether an image's scores keep their number and order: the batch stays in front, and a Transpose moves axes of size one."""
        before, after = self.shapes.get(node.input[0]), self.shapes.get(node.output[0])
        if not before or not after or None in before[1:] + after[1:] or before[0] != after[0] or flat(before) != flat(after):
            return False
        if not is_op(node, "Transpose"):
            return True
        return next(iter(attribute(node, "perm", [1]))) == 0 and len([size for size in before[1:] if size != 1]) <= 1

    def shifted(self, node: NodeProto) -> str | None:
        """The scores in their sum or product with one number for all (x + c, x - c, c > 0: x * c, x / c), stored or one an image."""
        first, second = node.input
        scaled = is_op(node, "Mul", "Div")
        pairs = [(first, second)] + ([(second, first)] if is_op(node, "Add", "Mul") else [])
        for scores, other in pairs:
            number = self.number(other, scores)
            if number is not None and (number > 0 or not scaled):
                return str(scores)
            if self.common(other, scores) and (not scaled or (is_op(node, "Div") and self.positive(other, scores))):
                return str(scores)
        return None

    def number(self, name: str, beside: str) -> float | None:
        """A single stored number that does not widen the value beside it."""
        tensor, sizes = self.view.tensor(name), self.shapes.get(beside)
        if tensor is None or prod(tensor.dims) != 1 or (len(tensor.dims) > 1 and (sizes is None or len(tensor.dims) > len(sizes))):
            return None
        value = float(numpy_helper.to_array(tensor).reshape(()))
        return value if isfinite(value) else None

    def common(self, name: str, scores: str) -> bool:
        """Whether a value is one number an image, reduced from the scores themselves over their classes."""
        node, sizes, whole = self.view.maker(name), self.shapes.get(name), self.shapes.get(scores)
        if node is None or not is_op(node, *COMMON) or node.input[0] != scores or sizes is None or whole is None:
            return False
        return len(sizes) == len(whole) and sizes[0] == whole[0] and flat(sizes) == 1

    def positive(self, name: str, scores: str) -> bool:
        """Whether that number is positive: a sum, mean, or largest of positive ones."""
        maker, node = self.view.maker(scores), self.view.maker(name)
        return maker is not None and node is not None and is_op(maker, *POSITIVE) and is_op(node, "ReduceSum", "ReduceMean", "ReduceMax")


def flat(sizes: Sizes) -> int | None:
    """Values an image; None where an axis is open."""
    return None if None in sizes[1:] else prod(size for size in sizes[1:] if size is not None)


def choice(model: ModelProto, output: str | None = None) -> NodeProto | None:
    """The node that turns scores into a chosen class before the output; None where there is none."""
    view, name = View(model), output or model.graph.output[0].name
    while (node := view.maker(name)) is not None:
        if is_op(node, *CHOICES):
            return node
        if not is_op(node, "Identity", "Cast", "OneHot", *ROW_MAJOR):
            return None
        name = node.input[0]
    return None
