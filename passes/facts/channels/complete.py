"""Shapes that hang on computed sizes: Shape, Gather, Div, Concat and the like in front of a Reshape, as older exporters write them.

With every size a number, such arithmetic has one result. One walk in topological order computes it where it is of whole numbers, and asks
onnx for the shapes behind it node by node. What cannot be computed stays unknown.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, TypeProto, helper, numpy_helper

from rnpc.passes.facts.view import View, attribute, is_onnx, order

LONGEST = 64
"""No vector of sizes has more entries."""


def complete(light: ModelProto, found: dict[str, list[int]], types: dict[str, int]) -> None:
    """Add shapes and types to those that inference found. Nothing is done where none is missing."""
    nodes = light.graph.node
    if all(name in found for node in nodes for name in node.output if name and is_onnx(node)):
        return
    view, known = View(light), dict[str, np.ndarray]()
    for k in order(nodes):
        node = nodes[k]
        if compute(view, node, found, known):
            value = known[node.output[0]]
            found[node.output[0]], types[node.output[0]] = list(value.shape), TensorProto.INT64
        elif any(name and name not in found for name in node.output):
            ask(view, light, node, known, found, types)


def whole(view: View, name: str, known: dict[str, np.ndarray]) -> np.ndarray | None:
    """Whole numbers that a name stands for."""
    tensor = view.tensor(name)
    if name in known or tensor is None:
        return known.get(name)
    if prod(tensor.dims) > LONGEST or tensor.data_type not in (TensorProto.INT64, TensorProto.INT32):
        return None
    return np.asarray(numpy_helper.to_array(tensor)).astype(np.int64)


def compute(view: View, node: NodeProto, found: dict[str, list[int]], known: dict[str, np.ndarray]) -> bool:
    """Whether the node makes whole numbers that are known now."""
    if not is_onnx(node) or len(node.output) != 1:
        return False
    if node.op_type == "Shape" and node.input[0] in found:
        sizes = found[node.input[0]]
        known[node.output[0]] = np.array(sizes[attribute(node, "start", 0) : attribute(node, "end", len(sizes))], dtype=np.int64)
        return True
    given = [whole(view, name, known) for name in node.input if name]
    function = FUNCTIONS.get(node.op_type)
    if function is None or not given or any(value is None for value in given):
        return False
    try:
        value = np.asarray(function(node, *given))
    except (IndexError, ValueError, TypeError, ZeroDivisionError):
        return False
    if value.size <= LONGEST:
        known[node.output[0]] = value.astype(np.int64)
    return value.size <= LONGEST


def ask(
    view: View, light: ModelProto, node: NodeProto, known: dict[str, np.ndarray], found: dict[str, list[int]], types: dict[str, int]
) -> None:
    """Shapes of one node's outputs from those of its inputs."""
    inputs: dict[str, TypeProto] = {}
    for name in node.input:
        tensor = view.tensor(name)
        if tensor is not None:
            inputs[name] = helper.make_tensor_type_proto(tensor.data_type, list(tensor.dims))
        elif name in found:
            inputs[name] = helper.make_tensor_type_proto(types[name], found[name])
    if any(name and name not in inputs for name in node.input):
        return
    data = {name: numpy_helper.from_array(v, name) for name in node.input if (v := whole(view, name, known)) is not None}
    try:
        schema = onnx.defs.get_schema(node.op_type, view.opset, node.domain)
        made = onnx.shape_inference.infer_node_outputs(schema, node, inputs, data, None, list(light.opset_import), light.ir_version)
    except (onnx.defs.SchemaError, onnx.shape_inference.InferenceError, RuntimeError, ValueError):
        return
    for name, kind in made.items():
        dims = kind.tensor_type.shape.dim
        if kind.tensor_type.HasField("shape") and all(d.HasField("dim_value") for d in dims):
            found[name], types[name] = [d.dim_value for d in dims], kind.tensor_type.elem_type


def axes_of(node: NodeProto, axes: tuple[np.ndarray, ...]) -> tuple[int, ...]:
    """Axes as an input or an attribute."""
    return tuple(int(a) for a in (axes[0] if axes else attribute(node, "axes", [0])))


def filler(node: NodeProto) -> int | None:
    """The whole number that fills a ConstantOfShape."""
    value = attribute(node, "value")
    return int(numpy_helper.to_array(value)[0]) if value is not None and value.data_type == TensorProto.INT64 else None


def sliced(node: NodeProto, x: np.ndarray, starts: np.ndarray, ends: np.ndarray, *rest: np.ndarray) -> np.ndarray:
    """A range of a vector."""
    step = int(rest[1][0]) if len(rest) > 1 else 1
    return x[int(starts[0]) : int(ends[0]) : step]


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "Add": lambda node, a, b: a + b,
    "Sub": lambda node, a, b: a - b,
    "Mul": lambda node, a, b: a * b,
    "Div": lambda node, a, b: np.trunc(a / b) if (b != 0).all() else None,
    "Mod": lambda node, a, b: np.mod(a, b) if (b != 0).all() and not attribute(node, "fmod", 0) else None,
    "Neg": lambda node, a: -a,
    "Max": lambda node, *a: np.maximum.reduce(a),
    "Min": lambda node, *a: np.minimum.reduce(a),
    "Identity": lambda node, a: a,
    "Cast": lambda node, a: a if attribute(node, "to") in (TensorProto.INT64, TensorProto.INT32) else None,
    "Gather": lambda node, a, i: np.take(a, i, axis=attribute(node, "axis", 0)),
    "Concat": lambda node, *a: np.concatenate(a),
    "Unsqueeze": lambda node, a, *axes: np.expand_dims(a, axes_of(node, axes)),
    "Squeeze": lambda node, a, *axes: np.squeeze(a, axes_of(node, axes)),
    "Slice": sliced,
    "Equal": lambda node, a, b: a == b,
    "Where": lambda node, c, a, b: np.where(c, a, b),
    "Reshape": lambda node, a, sizes: a.reshape(sizes),
    "Expand": lambda node, a, sizes: a * np.ones(sizes, dtype=np.int64),
    "ConstantOfShape": lambda node, sizes: np.full(sizes, filler(node)),
    "ReduceProd": lambda node, a, *axes: np.prod(a, keepdims=bool(attribute(node, "keepdims", 1))),
}
