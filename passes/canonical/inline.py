"""Inline: local functions are written out where they are called, so that every node is an operator of a set and not a name.

An exporter's function may bear the name of a standard operator (`my.domain::BatchNormalization`) and do something else. Values of the main
graph keep their names. onnx's own inliner does the work; a function written for another opset is converted by onnx.
"""

from __future__ import annotations

from dataclasses import dataclass

from onnx import ModelProto, NodeProto, helper
from onnx.inliner import inline_local_functions

from rnpc.errors import InputRefused
from rnpc.passes.driver import PassResult
from rnpc.passes.facts.shapes import inferred
from rnpc.passes.facts.view import node_name


@dataclass(frozen=True)
class Inline:
    """No call of a local function stays."""

    name: str = "inline"
    bound: float | None = 0.0

    def requires(self, model: ModelProto) -> str | None:
        """Nothing."""
        return None

    def run(self, model: ModelProto) -> PassResult:
        """The model without functions. Raises InputRefused where onnx cannot convert one to the model's opset."""
        if not model.functions:
            return PassResult(model)
        calls = called(model)
        try:
            plain = inline_local_functions(typed(model), convert_version=True)
        except Exception as error:  # onnx raises what its C++ code throws
            name = node_name(calls[0]) if calls else model.functions[0].name
            what = f"node {name}: its local function cannot be inlined ({' '.join(str(error).split())[:160]})"
            raise InputRefused(what, where=f"pass {self.name}", todo="export the model without functions") from error
        del plain.functions[:], plain.graph.value_info[:]
        return PassResult(plain, tuple({"kind": "inline", "node": node_name(node), "function": node.op_type} for node in calls))

    def ensures(self, model: ModelProto) -> str | None:
        """No function is left."""
        return f"function {model.functions[0].name} is left" if model.functions else None


def typed(model: ModelProto) -> ModelProto:
    """The model with the types of all its values stated, which onnx asks for where it converts a function."""
    if any(entry not in model.opset_import for function in model.functions for entry in function.opset_import):
        known = [helper.make_tensor_value_info(t.name, t.data_type, list(t.dims)) for t in model.graph.initializer]
        del model.graph.value_info[:]
        model.graph.value_info.extend([*known, *inferred(model)])
    return model


def called(model: ModelProto) -> list[NodeProto]:
    """Nodes of the main graph that call a local function."""
    functions = {(f.domain, f.name) for f in model.functions}
    return [node for node in model.graph.node if (node.domain, node.op_type) in functions]
