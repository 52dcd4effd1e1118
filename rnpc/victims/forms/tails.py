"""Score tails: what some exports do to scores before they leave the graph. They keep their name inside; the output is `scores`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto
from scipy import special

from rnpc.victims.forms.base import Form, Given
from rnpc.victims.forms.surgery import node, shapes, store

OUTPUT = "scores"
TEMPERATURE = 2.5


def of(op_type: str, **attributes: Any) -> Callable[[ModelProto, Given], ModelProto]:
    """The form that ends with this operator."""

    def rewrite(model: ModelProto, given: Given) -> ModelProto:
        value = model.graph.output[0]
        model.graph.node.append(node(op_type, [value.name], OUTPUT, **attributes))
        value.name = OUTPUT
        return model

    return rewrite


def temperature(model: ModelProto, given: Given) -> ModelProto:
    """Scores divided by a constant."""
    value = model.graph.output[0]
    divisor = store(model.graph, "temperature", np.array(TEMPERATURE, np.float32))
    model.graph.node.append(node("Div", [value.name, divisor], OUTPUT))
    value.name = OUTPUT
    return model


def reshape(model: ModelProto, given: Given) -> ModelProto:
    """Scores as a map of one pixel and back."""
    value = model.graph.output[0]
    classes = value.type.tensor_type.shape.dim[1].dim_value
    shape = store(model.graph, "scores_shape", np.array([-1, classes, 1, 1], np.int64))
    model.graph.node.append(node("Reshape", [value.name, shape], f"{OUTPUT}_map"))
    model.graph.node.append(node("Flatten", [f"{OUTPUT}_map"], OUTPUT, axis=1))
    value.name = OUTPUT
    return model


def features(model: ModelProto, given: Given) -> ModelProto:
    """What the last layer reads is a second output."""
    graph = model.graph
    name = next(each for each in reversed(graph.node) if each.op_type in ("Gemm", "MatMul", "Conv")).input[0]
    sizes = [n or None for n in shapes(model)[name]]
    graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, sizes))
    return model


FORMS = (
    Form("softmax", "scores through Softmax", of("Softmax", axis=-1), tail=lambda x: np.asarray(special.softmax(x, -1))),
    Form("logsoftmax", "scores through LogSoftmax", of("LogSoftmax", axis=-1), tail=lambda x: np.asarray(special.log_softmax(x, -1))),
    Form("sigmoid", "scores through Sigmoid", of("Sigmoid"), tail=lambda x: np.asarray(special.expit(x))),
    Form("temperature", "scores divided by a constant", temperature, tail=lambda x: x / TEMPERATURE),
    Form("reshape", "scores reshaped and flattened again", reshape),
    Form("features", "a second output: what the last layer reads", features),
)
