"""Local functions: each Conv with the Relu behind it is a call of a function that the file defines.

One function serves all calls; the convolution's attributes are handed in by reference, as the exporters of modules do it. A call without
bias leaves its third input out.
"""

from __future__ import annotations

import onnx
from onnx import AttributeProto, FunctionProto, ModelProto, NodeProto

from rnpc.victims.forms.base import Form, Given, refuse
from rnpc.victims.forms.surgery import keep, node

DOMAIN, NAME = "rnpc.victims", "ConvRelu"
ATTRIBUTES = {
    "strides": AttributeProto.INTS,
    "pads": AttributeProto.INTS,
    "dilations": AttributeProto.INTS,
    "kernel_shape": AttributeProto.INTS,
    "group": AttributeProto.INT,
    "auto_pad": AttributeProto.STRING,
}


def functions(model: ModelProto, given: Given) -> ModelProto:
    """Pairs of Conv and Relu become calls."""
    graph = model.graph
    readers: dict[str, list[NodeProto]] = {}
    for each in graph.node:
        for name in each.input:
            readers.setdefault(name, []).append(each)
    pairs = {
        each.output[0]: found[0]
        for each in graph.node
        if each.op_type == "Conv" and len(found := readers.get(each.output[0], [])) == 1 and found[0].op_type == "Relu"
    }
    if not pairs:
        raise refuse("no Conv has a Relu right behind it", "functions")
    replaced = {relu.output[0] for relu in pairs.values()}
    nodes = [called(each, pairs[each.output[0]]) if each.output[0] in pairs else each for each in graph.node]
    keep(graph, [each for each in nodes if each.op_type != "Relu" or each.output[0] not in replaced])
    version = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    model.functions.append(definition(version))
    model.opset_import.append(onnx.helper.make_opsetid(DOMAIN, 1))
    return model


def called(conv: NodeProto, relu: NodeProto) -> NodeProto:
    """The call that does what both nodes did."""
    call = node(NAME, conv.input, relu.output[0], DOMAIN)
    call.attribute.extend(conv.attribute)
    return call


def definition(opset: int) -> FunctionProto:
    """y = relu(conv(x, w, b)), the attributes of the convolution by reference."""
    conv = onnx.helper.make_node("Conv", ["x", "w", "b"], ["z"], name="conv")
    for name, kind in ATTRIBUTES.items():
        conv.attribute.append(AttributeProto(name=name, ref_attr_name=name, type=kind))
    relu = onnx.helper.make_node("Relu", ["z"], ["y"], name="relu")
    imports = [onnx.helper.make_opsetid("", opset)]
    return onnx.helper.make_function(DOMAIN, NAME, ["x", "w", "b"], ["y"], [conv, relu], imports, list(ATTRIBUTES))


FORMS = (Form("functions", "Conv with Relu as calls of a local function", functions),)
