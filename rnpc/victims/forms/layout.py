"""Channels last: the input is [n, H, W, C], as Keras and its converters have it.

`nhwc` has one Transpose behind the input. `nhwc-inside` has elementwise operators on channels last too, between Transposes: what a
converter writes before its optimiser takes the pairs out.
"""

from __future__ import annotations

from onnx import GraphProto, ModelProto, NodeProto

from rnpc.victims.forms.base import Form, Given
from rnpc.victims.forms.surgery import node, read_instead, replace, shapes

FIRST, LAST = [0, 3, 1, 2], [0, 2, 3, 1]
ELEMENTWISE = ("Relu", "LeakyRelu", "Clip", "Sigmoid", "HardSwish", "Gelu", "Add")


def nhwc(model: ModelProto, given: Given) -> ModelProto:
    """One Transpose behind the input."""
    graph = model.graph
    value = graph.input[0]
    turned = f"{value.name}_nchw"
    read_instead(graph.node, value.name, turned)
    graph.node.insert(0, node("Transpose", [value.name], turned, perm=FIRST))
    dims = value.type.tensor_type.shape.dim
    moved = [type(dims[0]).FromString(dims[k].SerializeToString()) for k in LAST]
    del dims[:]
    dims.extend(moved)
    return model


def inside(model: ModelProto, given: Given) -> ModelProto:
    """Each elementwise operator on maps works on channels last; a map has four axes."""
    sizes = shapes(model)
    graph = nhwc(model, given).graph
    chosen = [each for each in graph.node if each.op_type in ELEMENTWISE and maps(graph, each, sizes)]
    replace(graph, {each.output[0]: turned(each) for each in chosen})
    return model


def maps(graph: GraphProto, each: NodeProto, sizes: dict[str, list[int]]) -> bool:
    """Whether all operands (those of Add) are computed maps of four axes."""
    stored = {tensor.name for tensor in graph.initializer}
    operands = each.input if each.op_type == "Add" else each.input[:1]
    return all(len(sizes.get(name, [])) == 4 and name not in stored for name in (*operands, each.output[0]))


def turned(each: NodeProto) -> list[NodeProto]:
    """Transposes to channels last, the operator, and the Transpose back under the old name."""
    inner, out, before = NodeProto(), each.output[0], []
    inner.CopyFrom(each)
    for slot in range(2 if each.op_type == "Add" else 1):
        inner.input[slot] = f"{out}_in{slot}_nhwc"
        before.append(node("Transpose", [each.input[slot]], inner.input[slot], perm=LAST))
    inner.output[0] = f"{out}_nhwc"
    return [*before, inner, node("Transpose", [f"{out}_nhwc"], out, perm=FIRST)]


FORMS = (
    Form("nhwc", "input [n, H, W, C] with a Transpose behind it", nhwc, layout="NHWC"),
    Form("nhwc-inside", "input [n, H, W, C], elementwise operators on channels last too", inside, layout="NHWC"),
)
