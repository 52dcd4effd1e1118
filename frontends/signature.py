"""What a graph says about its input and output: name, type, layout, sizes, number of classes.

A classifier here has one image input (four axes, float) and one output of scores [N, K], K at least 2. The layout follows from where the
channel axis (1, 3 or 4 wide) stands; where the shape leaves it open, a leading Transpose to [N, C, H, W] means NHWC.
"""

from __future__ import annotations

import contextlib

import onnx
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto

from rnpc.errors import InputRefused
from rnpc.passes.facts.view import View, attribute
from rnpc.program import Layout, Signature

FLOATS: dict[int, str] = {
    TensorProto.FLOAT: "float32",
    TensorProto.FLOAT16: "float16",
    TensorProto.BFLOAT16: "bfloat16",
    TensorProto.DOUBLE: "float64",
}
Sizes = list[int | None]


def infer(model: ModelProto, where: str) -> Signature:
    """The model's signature. Raises InputRefused where it is no image classifier."""
    value = image_input(model, where)
    dtype = FLOATS.get(value.type.tensor_type.elem_type)
    sizes = shape(value)
    if dtype is None or sizes is None or len(sizes) != 4:
        found = f"{TensorProto.DataType.Name(value.type.tensor_type.elem_type).lower()} {dims(sizes)}"
        raise refuse(f"input {value.name} is {found}, not a float image batch of four axes", where)
    layout = find_layout(model, value.name, sizes)
    batch, channels, height, width = sizes if layout == "NCHW" else [sizes[0], sizes[3], sizes[1], sizes[2]]
    if channels is None:
        channels = first_conv_channels(model) or 3
    output, classes = scores(model, where)
    return Signature(value.name, output, dtype, layout, channels, height, width, batch, classes)


def refuse(what: str, where: str) -> InputRefused:
    """The error of this module."""
    return InputRefused(what, where=where, todo="rnpc hardens image classifiers: one image input, one output of class scores [N, K]")


def image_input(model: ModelProto, where: str) -> ValueInfoProto:
    """The only graph input that is no initializer (before IR 4, initializers were listed as inputs)."""
    stored = {tensor.name for tensor in model.graph.initializer}
    inputs: list[ValueInfoProto] = [value for value in model.graph.input if value.name not in stored]
    if len(inputs) != 1:
        raise refuse(f"{len(inputs)} inputs ({', '.join(v.name for v in inputs) or 'none'}) where one is expected", where)
    return inputs[0]


def shape(value: ValueInfoProto) -> Sizes | None:
    """Axis sizes, None where dynamic; None as a whole where the rank is unknown."""
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return None
    return [d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else None for d in tensor.shape.dim]


def dims(sizes: Sizes | None) -> str:
    """Sizes for an error message."""
    return "of unknown shape" if sizes is None else "[" + ", ".join("?" if s is None else str(s) for s in sizes) + "]"


def find_layout(model: ModelProto, name: str, sizes: Sizes) -> Layout:
    """NCHW unless the shape or a leading Transpose says that channels come last."""
    first, last = sizes[1] in (1, 3, 4), sizes[3] in (1, 3, 4)
    if first != last:
        return "NCHW" if first else "NHWC"
    node = first_reader(model, name)
    if node is not None and node.op_type == "Transpose" and list(attribute(node, "perm", [])) == [0, 3, 1, 2]:
        return "NHWC"
    return "NCHW"


def first_reader(model: ModelProto, name: str) -> NodeProto | None:
    """The first node that reads the input and does more than a change of type or elementwise arithmetic."""
    view = View(model)
    for _ in range(8):
        readers = view.readers.get(name, [])
        if not readers:
            return None
        node = view.nodes[readers[0][0]]
        if node.op_type not in ("Cast", "Identity", "Sub", "Div", "Mul", "Add"):
            return node
        name = node.output[0]
    return None


def first_conv_channels(model: ModelProto) -> int | None:
    """Input channels of the first Conv (group 1) with stored weights."""
    view = View(model)
    for node in view.nodes:
        if node.op_type == "Conv" and (weight := view.tensor(node.input[1])) is not None:
            return int(weight.dims[1])
    return None


def scores(model: ModelProto, where: str) -> tuple[str, int]:
    """Name of the only output and its number of classes, by shape inference where the file does not say."""
    if len(model.graph.output) != 1:
        names = ", ".join(value.name for value in model.graph.output) or "none"
        raise refuse(f"{len(model.graph.output)} outputs ({names}) where one is expected", where)
    value = model.graph.output[0]
    sizes = shape(value)
    if sizes is None or len(sizes) != 2 or sizes[1] is None:
        sizes = inferred(model, value.name) or sizes
    kind = value.type.tensor_type.elem_type
    if sizes is None or len(sizes) != 2 or sizes[1] is None or sizes[1] < 2 or kind not in FLOATS:
        raise refuse(f"output {value.name} is {dims(sizes)}, not class scores [N, K] with K of 2 or more", where)
    return value.name, sizes[1]


def inferred(model: ModelProto, name: str) -> Sizes | None:
    """The output's sizes by shape inference from the nodes, whatever the file states."""
    bare = ModelProto()
    bare.CopyFrom(model)
    for value in bare.graph.output:
        value.type.tensor_type.ClearField("shape")
    with contextlib.suppress(Exception):  # inference is a help; what it cannot do is refused by the caller
        result = onnx.shape_inference.infer_shapes(bare, data_prop=True)
        return next(shape(value) for value in result.graph.output if value.name == name)
    return None
