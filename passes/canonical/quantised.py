"""dequantised: a quantised graph, written with float operators between QuantizeLinear and DequantizeLinear, for the twin.

A quantised value is a code q with a scale s and a zero point z; it stands for s (q - z). Three forms are in use:

- QDQ: Q and DQ stand around float operators. Only what is stored is worked out here: DQ of a stored tensor becomes a float tensor,
  per tensor, per axis or per block.
- QOperator: `QLinearConv(q, s, z, ...)` and its kin are DQ of each operand, the float operator, Q of the result. The result of the float
  operator takes the node's old name, in real units and before it is rounded, as in QDQ form; the codes get the name + ":codes". So a filter
  site keeps its name, and what silences it there is what silences it in the file.
- Dynamic: DynamicQuantizeLinear takes scale and zero point from the values of the batch; `ConvInteger` and `MatMulInteger` multiply
  codes, and the scales follow in a Mul. That chain becomes DQ, the float operator with real weights, under the name of the Mul's result.

Nothing is approximated: Q still rounds and saturates (saturation is often the only Relu left). Only sums of products are in float32 where
a runtime has int32, so that a value which lies on the edge between two codes may fall to either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, NodeProto, helper, numpy_helper

from rnpc.errors import UnsupportedOperator
from rnpc.passes.canonical.batchnorm import drop_unread
from rnpc.passes.canonical.codes import code, real
from rnpc.passes.canonical.inline import Inline
from rnpc.passes.canonical.qforms import FORMS, INTEGER, LINEAR, Form, key, on_codes, quantised
from rnpc.passes.driver import PassResult, apply
from rnpc.passes.facts.view import View, attribute, is_onnx, is_op, node_name, opset


@dataclass(frozen=True)
class Dequantise:
    """No operator on codes but QuantizeLinear, DequantizeLinear and DynamicQuantizeLinear, and none of these over stored tensors alone."""

    name: str = "dequantise"
    bound: float | None = 0.05

    def requires(self, model: ModelProto) -> str | None:
        """Functions inlined."""
        return f"function {model.functions[0].name} is not inlined" if model.functions else None

    def run(self, model: ModelProto) -> PassResult:
        """The rewritten model; edits name the nodes. Raises UnsupportedOperator as `dequantised` does."""
        if not quantised(model):
            return PassResult(model)
        before = [node_name(node) for node in model.graph.node if key(node) in FORMS or is_op(node, *INTEGER)]
        _Rewriter(model).run()
        drop_unread(model)
        return PassResult(model, tuple({"kind": "float", "node": name} for name in before))

    def ensures(self, model: ModelProto) -> str | None:
        """None is left."""
        left = next((node for node in model.graph.node if key(node) in FORMS or is_op(node, *INTEGER)), None)
        return None if left is None else f"node {node_name(left)} ({left.op_type}) still works on codes"


def dequantised(model: ModelProto) -> ModelProto:
    """A copy of the model with float operators between Q and DQ; the model itself where nothing in it is quantised.

    Raises UnsupportedOperator with all quantised nodes of a form that is not known (channels last; no stored zero point of the result).
    """
    return apply((Inline(), Dequantise()), model).model if quantised(model) else model


class _Rewriter:
    """Works through the nodes in their order; `codes` holds the new name of each quantised result, `made` the nodes of the new graph."""

    def __init__(self, model: ModelProto) -> None:
        self.graph, self.opset = model.graph, opset(model)
        self.view = View(model)
        self.tensors = {t.name: t for t in self.graph.initializer}
        self.made: list[NodeProto] = []
        self.operands: dict[tuple[str, ...], str] = {}
        self.refused: list[tuple[str, str, str, int]] = []
        self.merged: dict[int, NodeProto] = {}
        self.inner: set[int] = set()
        results = [node.output[0] for node in self.graph.node if key(node) in FORMS]
        self.codes = {name: f"{name}:codes" for name in results if name not in self.view.outputs}

    def run(self) -> None:
        """Rewrite the graph in place."""
        nodes = [NodeProto.FromString(node.SerializeToString()) for node in self.graph.node]
        self._find_chains(nodes)
        for k, node in enumerate(nodes):
            for i, name in enumerate(node.input):
                node.input[i] = self.codes.get(name, name)
            self._node(k, node)
        if self.refused:
            raise UnsupportedOperator(self.refused, where="dequantised")
        del self.graph.node[:]
        self.graph.node.extend(self.made)
        del self.graph.value_info[:]  # the types of the renamed values

    def _node(self, k: int, node: NodeProto) -> None:
        if key(node) in FORMS:
            self._operator(FORMS[key(node)], node)
        elif k in self.merged:
            self._chain(node, self.merged[k])
        elif k in self.inner:
            return
        elif is_onnx(node) and node.op_type in INTEGER:
            self._bare(node)
        elif node.op_type in LINEAR and on_codes(node):
            self._linear(node)
        else:
            self.made.append(node)

    # QDQ

    def _linear(self, node: NodeProto) -> None:
        """Q or DQ: worked out where all of it is stored."""
        if node.domain:
            node.ClearField("domain")  # onnxruntime's own, for 16 bits before opset 21
        stored = [self.array(name) for name in node.input if name]
        if any(array is None for array in stored) or node.output[0] in self.view.outputs:
            self.made.append(node)
            return
        arrays = [array for array in stored if array is not None]
        axis, block = int(attribute(node, "axis", 1)), int(attribute(node, "block_size", 0))
        if node.op_type == "DequantizeLinear":
            self.store(node.output[0], real(*arrays, axis=axis, block=block))
        elif len(arrays) == 3 and "int" in arrays[2].dtype.name:
            self.store(node.output[0], code(*arrays, axis=axis, block=block))
        else:
            self.made.append(node)

    # QOperator

    def _operator(self, form: Form, node: NodeProto) -> None:
        inputs = [*node.input, *[""] * 9]
        concat = form.op_type == "Concat"
        starts = tuple(range(2, len(node.input), 3)) if concat else form.operands
        if reason := self._unknown(form, node, inputs):
            self.refused.append((node.name or node.output[0], node.domain, f"{node.op_type} {reason}", self.opset))
            return
        axes = (1, *_weight_axis(form, node)) if len(starts) == 2 else (1,) * len(starts)
        operands = [self.operand(inputs[i : i + 3], axis) for i, axis in zip(starts, axes, strict=True)]
        if form.bias is not None and inputs[form.bias]:
            operands.append(self._bias(inputs[form.bias], [inputs[1], inputs[4]], float(attribute(node, "alpha", 1.0))))
        value = node.output[0]
        codes = self.codes.get(value, value)
        value = value if codes != value else f"{value}:real"
        kept = [a for a in node.attribute if a.name not in form.drop]
        float_node = helper.make_node(form.op_type, operands, [value], name=node.name)
        float_node.attribute.extend(kept)
        scale, zero = inputs[form.result : form.result + 2]
        self.made += [float_node, helper.make_node("QuantizeLinear", [value, scale, zero], [codes], name=f"{node.name or value}:Q")]

    def _unknown(self, form: Form, node: NodeProto, inputs: Sequence[str]) -> str:
        """Why this node cannot be rewritten; empty where it can."""
        if attribute(node, "channels_last", 0):
            return "with channels last"
        if form.op_type == "Softmax" and (int(attribute(node, "opset", self.opset)) < 13) != (self.opset < 13):
            return "of another opset"
        if form.bias is not None and inputs[form.bias] and any(self.array(inputs[k]) is None for k in (form.bias, 1, 4)):
            return "with a computed bias"
        return "" if inputs[form.result + 1] else "without a zero point of its result"

    def _bias(self, name: str, scales: Sequence[str], alpha: float) -> str:
        """A stored int32 bias in real units: its scale is the product of the operands'."""
        arrays = [array for array in map(self.array, (name, *scales)) if array is not None]
        bias, one, two = (array.astype(np.float32) for array in arrays)
        return self.store(f"{name}:real:{'+'.join(scales)}", bias * (np.float32(alpha) * one.reshape(()) * two.reshape(-1)))

    def operand(self, triple: Sequence[str], axis: int) -> str:
        """The real value of (codes, scale, zero point): a stored tensor, or the result of a new DequantizeLinear."""
        inputs = tuple(part for part in triple if part)
        if inputs in self.operands:
            return self.operands[inputs]
        name = self.operands[inputs] = f"{triple[0]}:real:{len(self.operands)}"
        stored = [array for array in map(self.array, inputs) if array is not None]
        if len(stored) == len(inputs):
            return self.store(name, real(*stored, axis=axis))
        single = all((array := self.array(name)) is not None and array.size == 1 for name in inputs[1:])
        self.made.append(helper.make_node("DequantizeLinear", inputs, [name], name=name))
        if not single and axis != 1:
            self.made[-1].attribute.append(helper.make_attribute("axis", axis))
        return name

    # Dynamic

    def _find_chains(self, nodes: Sequence[NodeProto]) -> None:
        """Chains of an integer product, a Cast, and a Mul by (input's scale x stored scale); `merged`: the first by the last's index."""
        for k, node in enumerate(nodes):
            if not (is_onnx(node) and node.op_type in INTEGER):
                continue
            cast = self.view.only_reader(node.output[0])
            if cast is None or not is_op(nodes[cast], "Cast"):
                continue
            mul = self.view.only_reader(nodes[cast].output[0])
            if mul is not None and is_op(nodes[mul], "Mul") and self._scales(node, nodes[mul]) is not None:
                self.merged[mul] = node
                self.inner |= {k, cast}

    def _scales(self, node: NodeProto, mul: NodeProto) -> tuple[str, str] | None:
        """Names of the input's and the weight's scale in a chain; None where the Mul multiplies by something else."""
        source = self.view.maker(node.input[0])
        products = [maker for name in mul.input if (maker := self.view.maker(name)) is not None and is_op(maker, "Mul")]
        if source is None or not is_op(source, "DynamicQuantizeLinear") or len(products) != 1 or self.array(node.input[1]) is None:
            return None
        names = list(products[0].input)
        if source.output[1] not in names:
            return None
        names.remove(source.output[1])
        scale = self.array(names[0])
        fits = scale is not None and (scale.size == 1 or (node.op_type == "MatMulInteger" and scale.ndim == 1))
        return (source.output[1], names[0]) if fits else None

    def _chain(self, mul: NodeProto, node: NodeProto) -> None:
        scales = self._scales(node, mul)
        assert scales is not None
        points = [*node.input[2:], "", ""]
        x = self.operand((node.input[0], scales[0], points[0]), 1)
        w = self.operand((node.input[1], scales[1], points[1]), 0 if node.op_type == "ConvInteger" else -1)
        self._float(node, x, w, mul.output[0])

    def _bare(self, node: NodeProto) -> None:
        """The float operator on codes less their zero points: whole numbers in float."""
        points = [*node.input[2:], "", ""]
        conv = node.op_type == "ConvInteger"
        x = self.operand((node.input[0], self._one(points[0]), points[0]), 1 if conv else -2)
        w = self.operand((node.input[1], self._one(points[1]), points[1]), 0 if conv else -1)
        self._float(node, x, w, node.output[0])

    def _one(self, like: str) -> str:
        """A stored scale of one, in the shape of a zero point."""
        point = self.array(like) if like else None
        return self.store(f"{like}:one", np.ones(() if point is None else point.shape, np.float32))

    def _float(self, node: NodeProto, x: str, w: str, value: str) -> None:
        made = helper.make_node(INTEGER[node.op_type], [x, w], [value], name=node.name)
        made.attribute.extend(node.attribute)
        self.made.append(made)

    def array(self, name: str) -> np.ndarray | None:
        """The stored tensor behind a name, looking through Identity and Constant."""
        tensor = self.tensors.get(name) or self.view.tensor(name)
        return None if tensor is None else np.asarray(numpy_helper.to_array(tensor))

    def store(self, name: str, array: np.ndarray) -> str:
        """Add a tensor to the graph; returns its name."""
        if name not in self.tensors:
            self.graph.initializer.append(numpy_helper.from_array(array, name))
            self.tensors[name] = self.graph.initializer[-1]
        return name


def _weight_axis(form: Form, node: NodeProto) -> tuple[int, ...]:
    """The axis of a second operand along which scales may run: filters, or units."""
    if form.op_type == "Gemm":
        return (0 if attribute(node, "transB", 0) else 1,)
    return (0,) if form.op_type == "Conv" else (-1,)
