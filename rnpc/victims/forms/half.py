"""Half precision: weights and activations as float16 or bfloat16, input and scores as float32.

`fp16` and `bf16` compute in the small type. Conv takes bfloat16 from opset 22 on, so that the file states that, and onnxruntime has no
kernels for it on the CPU. `bf16-weights` keeps float32 arithmetic and stores each weight as bfloat16 behind a Cast, which runs
everywhere.

A float16 has 11 bits, a bfloat16 8: the bounds are a few of their last bits, since errors of layers add up.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, numpy_helper

from rnpc.victims.forms.base import Form, Given, refuse
from rnpc.victims.forms.surgery import float_tensors, node, read_instead

UNFIT = ("Resize", "Upsample", "QuantizeLinear", "DequantizeLinear", "If", "Loop", "Scan")
"""Operators with inputs that have to stay float32, or graphs of their own."""
OPSET = 22


def fp16(model: ModelProto, given: Given) -> ModelProto:
    """All floats as float16."""
    return half(model, TensorProto.FLOAT16, "fp16")


def bf16(model: ModelProto, given: Given) -> ModelProto:
    """All floats as bfloat16, at opset 22 at least."""
    if max(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")) < OPSET:
        model = onnx.version_converter.convert_version(model, OPSET)
    return half(model, TensorProto.BFLOAT16, "bf16")


def bf16_weights(model: ModelProto, given: Given) -> ModelProto:
    """Weights of two axes or more as bfloat16, each behind a Cast to float32."""
    graph, casts = model.graph, []
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and len(tensor.dims) > 1:
            read_instead(graph.node, tensor.name, f"{tensor.name}_float")
            shrink(tensor, TensorProto.BFLOAT16, "bf16-weights")
            casts.append(node("Cast", [tensor.name], f"{tensor.name}_float", to=TensorProto.FLOAT))
    for cast in reversed(casts):
        graph.node.insert(0, cast)
    del graph.value_info[:]
    return model


def half(model: ModelProto, kind: int, form: str) -> ModelProto:
    """Tensors and Casts in the small type; a Cast behind the input and one before each output."""
    graph = model.graph
    if found := next((n.op_type for n in graph.node if n.op_type in UNFIT), None):
        raise refuse(f"{found} has inputs that stay float32", form)
    for tensor in float_tensors(model):
        shrink(tensor, kind, form)
    for entry in (e for n in graph.node if n.op_type == "Cast" for e in n.attribute if e.name == "to" and e.i == TensorProto.FLOAT):
        entry.i = kind
    for value in graph.input:
        read_instead(graph.node, value.name, f"{value.name}_half")
        graph.node.insert(0, node("Cast", [value.name], f"{value.name}_half", to=kind))
    for value in graph.output:
        rename_output(model, value.name, f"{value.name}_half")
        graph.node.append(node("Cast", [f"{value.name}_half"], value.name, to=TensorProto.FLOAT))
    del graph.value_info[:]
    return model


def rename_output(model: ModelProto, old: str, new: str) -> None:
    """A value made and read under another name."""
    read_instead(model.graph.node, old, new)
    for each in model.graph.node:
        for slot, name in enumerate(each.output):
            if name == old:
                each.output[slot] = new


def shrink(tensor: TensorProto, kind: int, form: str) -> None:
    """A float32 tensor in the small type. Raises InputRefused where a number does not fit."""
    with np.errstate(over="ignore"):
        value = numpy_helper.to_array(tensor).astype(onnx.helper.tensor_dtype_to_np_dtype(kind))
    if not np.isfinite(value.astype(np.float32)).all():
        raise refuse(f"tensor {tensor.name} has numbers that are too large", form)
    tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))


FORMS = (
    Form("fp16", "weights and activations float16, input and scores float32", fp16, bound=1e-2),
    Form("bf16", "weights and activations bfloat16, input and scores float32", bf16, bound=5e-2, runs=False),
    Form("bf16-weights", "weights bfloat16, each behind a Cast to float32", bf16_weights, bound=5e-2),
)
