"""What a graph says about its input and output: name, type, layout, sizes, number of classes.

A classifier here has one image input (four axes, float or uint8) and an output of scores [N, K] or [N, K, 1, 1], K at least 2. Of several
outputs the one that is named carries the scores, or else the only one of such a shape. The layout follows from where the channel axis (1, 3
or 4 wide) stands; where the shape leaves it open, a leading Transpose to [N, C, H, W] means NHWC.
"""

from __future__ import annotations

import contextlib

from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto

from rnpc.errors import InputRefused, RnpcError, UsageError
from rnpc.passes.canonical.clean import clean
from rnpc.passes.facts.scores import choice, flat
from rnpc.passes.facts.shapes import Sizes, shapes
from rnpc.passes.facts.view import View, attribute, is_op, node_name, order
from rnpc.program import Layout, Signature

FLOATS: dict[int, str] = {
    TensorProto.FLOAT: "float32",
    TensorProto.FLOAT16: "float16",
    TensorProto.BFLOAT16: "bfloat16",
    TensorProto.DOUBLE: "float64",
}


def infer(model: ModelProto, where: str, output: str | None = None) -> Signature:
    """The model's signature; `output` names the graph output that carries the scores.

    Raises InputRefused where it is no image classifier, UsageError where it has no such output.
    """
    value = image_input(model, where)
    dtype = {**FLOATS, TensorProto.UINT8: "uint8"}.get(value.type.tensor_type.elem_type)
    sizes = shape(value)
    if dtype is None or sizes is None or len(sizes) != 4:
        found = f"{TensorProto.DataType.Name(value.type.tensor_type.elem_type).lower()} {dims(sizes)}"
        raise refuse(f"input {value.name} is {found}, not an image batch of four axes", where)
    layout = find_layout(model, value.name, sizes)
    batch, channels, height, width = sizes if layout == "NCHW" else [sizes[0], sizes[3], sizes[1], sizes[2]]
    if channels is None:
        channels = first_conv_channels(model) or 3
    name, classes = scores(model, where, output)
    return Signature(value.name, name, dtype, layout, channels, height, width, batch, classes)


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
    if node is not None and is_op(node, "Transpose") and list(attribute(node, "perm", [])) == [0, 3, 1, 2]:
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
        if not is_op(node, "Cast", "Identity", "Sub", "Div", "Mul", "Add"):
            return node
        name = node.output[0]
    return None


def first_conv_channels(model: ModelProto) -> int | None:
    """Input channels of the first Conv (group 1) with stored weights."""
    view = View(model)
    for node in (view.nodes[k] for k in order(view.nodes)):
        if is_op(node, "Conv") and (weight := view.tensor(node.input[1])) is not None:
            return int(weight.dims[1])
    return None


def scores(model: ModelProto, where: str, output: str | None = None) -> tuple[str, int]:
    """Name of the output of class scores and the number of classes, by shape inference where the file does not say."""
    names = [value.name for value in model.graph.output]
    if output is not None and output not in names:
        raise UsageError(f"the model has no output {output}", where="--output-name", todo=f"choose one of {', '.join(names)}")
    known = Outputs(model)
    found = {value.name: known.classes(value) for value in model.graph.output if output in (None, value.name)}
    fitting = [name for name, classes in found.items() if classes is not None]
    if len(fitting) > 1:
        todo = "say with --output-name NAME which one carries the class scores"
        raise InputRefused(f"{len(names)} outputs ({', '.join(names)}), of which {len(fitting)} could be scores", where=where, todo=todo)
    if not fitting:
        raise known.refusal(where, output)
    return fitting[0], found[fitting[0]] or 0


class Outputs:
    """What is known of the outputs: by inference from the nodes, as the file states it, or by inference after constants were folded."""

    def __init__(self, model: ModelProto) -> None:
        self.model, self._inferred, self._folded = model, dict[str, Sizes](), dict[str, Sizes]()

    def classes(self, value: ValueInfoProto) -> int | None:
        """Classes of an output that could be scores; None for any other."""
        sizes, kind = self.sizes(value), value.type.tensor_type.elem_type
        if kind not in FLOATS or sizes is None or len(sizes) < 2 or any(size != 1 for size in sizes[2:]):
            return None
        wide = flat(sizes)
        return wide if wide is not None and wide > 1 else None

    def sizes(self, value: ValueInfoProto) -> Sizes | None:
        """The output's sizes."""
        if not self._inferred:
            self._inferred = shapes(self.model, outputs=True)
        found, stated = self._inferred.get(value.name), shape(value)
        for sizes in (found, stated):
            if sizes is not None and len(sizes) > 1 and None not in sizes[1:]:
                return sizes
        if not self._folded:
            with contextlib.suppress(RnpcError):  # inference is a help; what cannot be cleaned is refused where it is studied
                self._folded = shapes(clean(self.model), outputs=True)
        return self._folded.get(value.name) or found or stated

    def refusal(self, where: str, output: str | None) -> InputRefused:
        """The error for outputs of which none could be scores."""
        values = [value for value in self.model.graph.output if output in (None, value.name)]
        chooser = choice(self.model, values[0].name) if len(values) == 1 else None
        if chooser is not None:
            what = f"output {values[0].name} is the class that node {node_name(chooser)} ({chooser.op_type}) chose, and no scores"
            return InputRefused(what, where=where, todo="export the model without that node")
        if len(values) != 1:
            return refuse(f"{len(values)} outputs ({', '.join(v.name for v in values) or 'none'}), none of class scores [N, K]", where)
        return refuse(f"output {values[0].name} is {dims(self.sizes(values[0]))}, not class scores [N, K] with K of 2 or more", where)
