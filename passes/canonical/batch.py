"""free_batch: a graph exported for one batch size is made to take any, for the twin.

Exporters write the batch into the constants of Reshape and Expand, and a class token into a Concat at full size. The graph's shapes are
inferred twice, with the batch as it is and with a multiple of it; where a Reshape's input grows, the axis that grew is followed through the
row-major order to the axis of its output, which becomes -1. The work goes in the graph's order, since what lies behind a
Reshape grows only after it was freed. What cannot be followed stays as it is: the proof of the twin then refuses it by name.
"""

from __future__ import annotations

from math import prod

import numpy as np
import onnx
from onnx import helper, numpy_helper

from rnpc.passes.facts.shapes import Sizes, shapes
from rnpc.passes.facts.view import is_op

FACTOR = 97
"""How much larger the probing batch is; any factor above one would do."""


def free_batch(model: onnx.ModelProto) -> None:
    """Free the batch in place. Nothing happens where it is free already, or where shapes cannot be inferred."""
    inputs = model.graph.input
    if len(inputs) != 1 or not inputs[0].type.tensor_type.shape.dim:
        return
    leading = inputs[0].type.tensor_type.shape.dim[0]
    if leading.HasField("dim_value"):
        _Freer(model, leading).run()
        leading.dim_param = "batch"
        for output in model.graph.output:
            output.type.tensor_type.ClearField("shape")


class _Freer:
    """Shapes at the stated batch (`fixed`) and at the probing one (`grown`), and the constants known.

    `inside`: for a value whose growing axis is a product m x batch x k, the m that stands before the batch.
    """

    def __init__(self, model: onnx.ModelProto, leading: onnx.TensorShapeProto.Dimension) -> None:
        self.model, self.graph, self.batch = model, model.graph, leading.dim_value
        for output in self.graph.output:
            output.type.tensor_type.ClearField("shape")
        self.fixed = shapes(model)
        leading.dim_value = self.batch * FACTOR
        self.grown = shapes(model)
        self.tensors = {t.name: t for t in self.graph.initializer}
        self.inside: dict[str, int] = {}

    def run(self) -> None:
        """Free node after node."""
        for node in list(self.graph.node):
            changed = False
            if is_op(node, "Reshape", "Expand") and node.input[1] in self.tensors:
                changed = self._target(node)
            elif is_op(node, "Concat"):
                changed = self._tokens(node)
            if changed:
                self.grown = shapes(self.model)
            self._inherit(node)

    def _target(self, node: onnx.NodeProto) -> bool:
        """Free the shape that a Reshape or Expand asks for."""
        before, grew = _full(self.fixed.get(node.input[0])), self._grew(node.input[0])
        out = _full(self.fixed.get(node.output[0])) or self._stated(node)
        if before is None or grew is None or out is None:
            return False
        start = prod(before[:grew]) * self.inside.get(node.input[0], 1)
        place = follow(start, out, self.batch) if node.op_type == "Reshape" else len(out) - len(before) + grew
        if place is None:
            return False
        free = -1 if node.op_type == "Reshape" else 1
        self.inside[node.output[0]] = start // prod(out[:place])
        name = f"{node.output[0]}:shape"
        target = np.array([free if axis == place else size for axis, size in enumerate(out)], dtype=np.int64)
        self.graph.initializer.append(numpy_helper.from_array(target, name))
        self.tensors[name] = self.graph.initializer[-1]
        node.input[1] = name
        return True

    def _grew(self, name: str) -> int | None:
        """The one axis of a value that grows with the batch."""
        fixed, grown = _full(self.fixed.get(name)), _full(self.grown.get(name))
        if fixed is None or grown is None or len(fixed) != len(grown):
            return None
        axes = [axis for axis, (a, b) in enumerate(zip(fixed, grown, strict=True)) if a != b]
        return axes[0] if len(axes) == 1 else None

    def _inherit(self, node: onnx.NodeProto) -> None:
        """An axis in which the batch has swallowed others passes through operators that keep its size."""
        for name in node.input:
            inside, source = self.inside.get(name, 1), self._grew(name)
            for output in node.output:
                target = self._grew(output)
                if inside > 1 and source is not None and target is not None and self.fixed[name][source] == self.fixed[output][target]:
                    self.inside.setdefault(output, inside)

    def _stated(self, node: onnx.NodeProto) -> list[int] | None:
        """The target as written, where it says everything."""
        target = [int(i) for i in numpy_helper.to_array(self.tensors[node.input[1]]).reshape(-1)]
        return target if node.op_type == "Reshape" and min(target, default=0) > 0 else None

    def _tokens(self, node: onnx.NodeProto) -> bool:
        """Expand the inputs of a Concat that have one row, or the old batch of equal ones, where others have the batch."""
        sources = [self._unexpanded(name) for name in node.input]
        rows = [self.grown.get(name) or self._dims(name) for name in sources]
        grown = [i for i, row in enumerate(rows) if row and row[0] not in (None, 1)]
        single = [i for i, row in enumerate(rows) if row and row[0] == 1]
        if not grown or not single or node.attribute[0].i == 0:
            return False
        like, at = node.input[grown[0]], list(self.graph.node).index(node)
        for i in single:
            made = self._expand(sources[i], like, [s or 1 for s in (rows[i] or [])], f"{node.output[0]}:{i}")
            node.input[i] = made[-1].output[0]
            for offset, new in enumerate(made):
                self.graph.node.insert(at + offset, new)
            at += len(made)
        return True

    def _unexpanded(self, name: str) -> str:
        """The single row that was repeated to make the value, by an Expand or by the exporter."""
        if self.batch > 1 and name in self.tensors and self.tensors[name].dims[:1] == [self.batch]:
            return self._row(name)
        maker = next((n for n in self.graph.node if name in n.output and is_op(n, "Expand")), None)
        rows = (self.grown.get(maker.input[0]) or self._dims(maker.input[0])) if maker else None
        return maker.input[0] if maker and rows and rows[0] == 1 else name

    def _row(self, name: str) -> str:
        """The first row of a tensor as a tensor of its own, where all rows are alike."""
        value, row = numpy_helper.to_array(self.tensors[name]), f"{name}:row"
        if not (value == value[:1]).all():
            return name
        self.graph.initializer.append(numpy_helper.from_array(value[:1].copy(), row))
        self.tensors[row] = self.graph.initializer[-1]
        return row

    def _dims(self, name: str) -> Sizes | None:
        return list(self.tensors[name].dims) if name in self.tensors else None

    def _expand(self, name: str, like: str, sizes: list[int], prefix: str) -> list[onnx.NodeProto]:
        """Nodes that repeat `name` along the batch of `like`: Shape, Gather, Concat, Expand."""
        zero, rest = f"{prefix}:zero", f"{prefix}:rest"
        self.graph.initializer.append(numpy_helper.from_array(np.zeros(1, np.int64), zero))
        self.graph.initializer.append(numpy_helper.from_array(np.array(sizes[1:], np.int64), rest))
        return [
            helper.make_node("Shape", [like], [f"{prefix}:shape"], name=f"{prefix}:shape"),
            helper.make_node("Gather", [f"{prefix}:shape", zero], [f"{prefix}:batch"], name=f"{prefix}:batch"),
            helper.make_node("Concat", [f"{prefix}:batch", rest], [f"{prefix}:sizes"], name=f"{prefix}:sizes", axis=0),
            helper.make_node("Expand", [name, f"{prefix}:sizes"], [f"{prefix}:rows"], name=f"{prefix}:rows"),
        ]


def _full(sizes: Sizes | None) -> list[int] | None:
    """The shape where all of it is known."""
    return None if sizes is None or None in sizes else [s for s in sizes if s is not None]


def follow(start: int, after: list[int], batch: int) -> int | None:
    """The axis of a row-major shape `after` that holds the batch, which has `start` entries before it; None where it is torn apart.

    It begins an axis, or an axis has swallowed what stood before it. With a batch of one both can look alike: [17, 1, 24] to [17, 24]. Then
    the last axis is avoided, since features follow each other there.
    """
    begins = [prod(after[:place]) for place in range(len(after))]
    fits = [p for p, b in enumerate(begins) if b <= start and start % b == 0 and after[p] % (start // b * batch) == 0]
    fits.sort(key=lambda p: (p == len(after) - 1 and p > 0, begins[p] != start, p))
    return fits[0] if fits else None
