"""One network in the forms in which files come: the twin of each is proved, and all are the same network."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from rnpc.errors import InputRefused
from rnpc.twin import build
from rnpc.twin.parity import prove

HEAD = '<ir_version: 8, opset_import: ["" : 17]>\n'
BODY = """
   conv1 = Conv <pads = [1, 1, 1, 1]> (x, w1, b1)
   bn1 = BatchNormalization (conv1, g, be, mu, va)
   relu1 = Relu (bn1)
   conv2 = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (relu1, w2, b2)
   relu2 = Relu (conv2)
   mean = GlobalAveragePool (relu2)
   flat = Flatten (mean)
   y = Gemm <transB = 1> (flat, w3, b3)
"""
PLAIN = HEAD + f"net (float[n, 3, 8, 8] x) => (float[n, 5] y) {{ {BODY} }}"
SHAPES = {"w1": (6, 3, 3, 3), "b1": (6,), "g": (6,), "be": (6,), "mu": (6,), "w2": (4, 6, 3, 3), "b2": (4,), "w3": (5, 4), "b3": (5,)}


def tensors() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {name: rng.standard_normal(shape).astype(np.float32) / 2 for name, shape in SHAPES.items()} | {"va": np.ones(6, np.float32)}


def network(text: str = PLAIN, extra: dict[str, np.ndarray] | None = None) -> onnx.ModelProto:
    model = onnx.parser.parse_model(text)
    model.graph.initializer.extend(numpy_helper.from_array(v, k) for k, v in {**tensors(), **(extra or {})}.items())
    return model


def with_weights(model: onnx.ModelProto, kind: int) -> onnx.ModelProto:
    """The model with its weights in another float type."""
    for tensor in model.graph.initializer:
        value = numpy_helper.to_array(tensor)
        tensor.CopyFrom(numpy_helper.from_array(value.astype(helper.tensor_dtype_to_np_dtype(kind)), tensor.name))
    return model


def typed(kind: int) -> onnx.ModelProto:
    """All weights and both ends in another float type."""
    model = with_weights(network(), kind)
    for info in (*model.graph.input, *model.graph.output):
        info.type.tensor_type.elem_type = kind
    return model


def half_inside() -> onnx.ModelProto:
    """float16 inside, float32 at both ends, as converters leave it."""
    text = BODY.replace("(x, w1", "(x16, w1").replace("y = Gemm", "y16 = Gemm")
    made = HEAD + f"net (float[n, 3, 8, 8] x) => (float[n, 5] y) {{ x16 = Cast <to = 10> (x) {text} y = Cast <to = 1> (y16) }}"
    return with_weights(network(made), TensorProto.FLOAT16)


def half_stored() -> onnx.ModelProto:
    """bfloat16 in the file, cast to float32 before use."""
    model = network()
    for node in model.graph.node:
        for k, name in enumerate(node.input):
            node.input[k] = f"{name}:real" if name in {*SHAPES, "va"} else name
    nodes = [helper.make_node("Cast", [t.name], [f"{t.name}:real"], to=TensorProto.FLOAT) for t in model.graph.initializer]
    nodes += [onnx.NodeProto.FromString(node.SerializeToString()) for node in model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return with_weights(model, TensorProto.BFLOAT16)


def bytes_in() -> onnx.ModelProto:
    """uint8 pixels, normalised inside the graph."""
    text = BODY.replace("(x, w1", "(unit, w1")
    norm = "real = Cast <to = 1> (x) scaled = Div (real, s) centred = Sub (scaled, m) unit = Div (centred, d)"
    statistics = {"m": np.array([0.5, 0.4, 0.3], np.float32).reshape(1, 3, 1, 1), "d": np.full((1, 3, 1, 1), 0.25, np.float32)}
    made = HEAD + f"net (uint8[n, 3, 8, 8] x) => (float[n, 5] y) {{ {norm} {text} }}"
    return network(made, statistics | {"s": np.array(255, np.float32)})


def channels_last() -> onnx.ModelProto:
    """NHWC in and between the layers: a Transpose before and after each Conv, BatchNorm as Mul and Add over the last axis."""
    text = """
       a = Transpose <perm = [0, 3, 1, 2]> (x)
       conv1 = Conv <pads = [1, 1, 1, 1]> (a, w1, b1)
       bn1 = BatchNormalization (conv1, g, be, mu, va)
       b = Transpose <perm = [0, 2, 3, 1]> (bn1)
       relu1 = Relu (b)
       c = Transpose <perm = [0, 3, 1, 2]> (relu1)
       conv2 = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (c, w2, b2)
       d = Transpose <perm = [0, 2, 3, 1]> (conv2)
       relu2 = Relu (d)
       mean = ReduceMean <axes = [1, 2], keepdims = 0> (relu2)
       y = Gemm <transB = 1> (mean, w3, b3)
    """
    return network(HEAD + f"net (float[n, 8, 8, 3] x) => (float[n, 5] y) {{ {text} }}")


def constant_nodes() -> onnx.ModelProto:
    """Weights as Constant nodes, none stored."""
    model = network()
    nodes = [helper.make_node("Constant", [], [t.name], value=t) for t in model.graph.initializer]
    nodes += [onnx.NodeProto.FromString(node.SerializeToString()) for node in model.graph.node]
    del model.graph.initializer[:], model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def inputs_too() -> onnx.ModelProto:
    """Initializers that are graph inputs as well, as old files list them."""
    model = network()
    model.graph.input.extend(helper.make_tensor_value_info(t.name, t.data_type, list(t.dims)) for t in model.graph.initializer)
    return model


def fixed_batch() -> onnx.ModelProto:
    """A batch of one, written into the Reshape that flattens."""
    text = PLAIN.replace("[n, ", "[1, ").replace("flat = Flatten (mean)", "flat = Reshape (mean, shape)")
    return network(text, {"shape": np.array([1, 4], np.int64)})


FORMS: dict[str, Callable[[], onnx.ModelProto]] = {
    "plain": network,
    "float16": lambda: typed(TensorProto.FLOAT16),
    "float16-inside": half_inside,
    "bfloat16-stored": half_stored,
    "uint8-in": bytes_in,
    "nhwc": channels_last,
    "constants": constant_nodes,
    "initializers-as-inputs": inputs_too,
    "batch-of-one": fixed_batch,
}
PIXELS = np.random.default_rng(1).integers(0, 256, (6, 3, 8, 8)).astype(np.float32)


def fed(name: str) -> np.ndarray:
    """The same images as each form takes them."""
    if name == "uint8-in":
        return PIXELS
    statistics = np.array([0.5, 0.4, 0.3], np.float32).reshape(1, 3, 1, 1)
    x = ((PIXELS / 255 - statistics) / 0.25).astype(np.float32)
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1)) if name == "nhwc" else x


@pytest.mark.parametrize("name", FORMS)
def test_the_twin_of_each_form_is_proved(name: str) -> None:
    model, x = FORMS[name](), fed(name)
    assert prove(build(model), model, x, where=name) < (5e-3 if "16" in name else 1e-5)


@pytest.mark.parametrize("name", FORMS)
def test_all_are_the_same_network(name: str) -> None:
    """Scores, and the gradient of every weight."""
    wanted, found = gradients(network(), fed("plain")), gradients(FORMS[name](), fed(name))
    tolerance = 0.1 if "bfloat16" in name else 0.02 if "16" in name else 1e-4
    assert wanted.keys() == found.keys()
    for key, value in wanted.items():
        torch.testing.assert_close(found[key], value, rtol=tolerance, atol=tolerance * float(value.abs().max()), msg=key)


@pytest.mark.parametrize(("kind", "tolerance"), [(TensorProto.BFLOAT16, 0.1), (TensorProto.DOUBLE, 1e-5)])
def test_types_that_onnxruntime_cannot_run(kind: int, tolerance: float) -> None:
    """It has no convolution in bfloat16 or float64 on the processor: the twin is right, its proof is refused in one line."""
    model = typed(kind)
    found, wanted = gradients(model, fed("plain")), gradients(network(), fed("plain"))
    torch.testing.assert_close(found["y"], wanted["y"], rtol=tolerance, atol=tolerance)
    assert {p.dtype for p in build(model).parameters()} == {torch.float32}
    with pytest.raises(InputRefused, match="onnxruntime cannot load it"):
        prove(build(model), model, fed("plain"), where="model.onnx")


def gradients(model: onnx.ModelProto, x: np.ndarray) -> dict[str, torch.Tensor]:
    """Scores as `y`, and each weight's gradient under its name."""
    twin = build(model)
    scores = twin(torch.from_numpy(x))
    scores.square().sum().backward()
    names = [name for name in SHAPES if name != "mu"]
    cast = ":real" if "w1:real" in twin.parameter_names() else ""
    return {"y": scores.detach()} | {name: grad for name in names if (grad := twin.parameter_of(name + cast).grad) is not None}
