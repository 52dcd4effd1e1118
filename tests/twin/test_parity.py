"""The proof of the twin: it passes on the same network, and names the first node where something differs."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper, parser

from rnpc.errors import InputRefused
from rnpc.passes.canonical.canonical import canonical
from rnpc.twin import build
from rnpc.twin.parity import bound, prove

TEXT = """<ir_version: 8, opset_import: ["" : 17]>
net (float[n, 3, 8, 8] x) => (float[n, 4] y) {
   conv = Conv <pads = [1, 1, 1, 1]> (x, w, b)
   relu = Relu (conv)
   same = Identity (relu)
   mean = GlobalAveragePool (same)
   flat = Flatten (mean)
   y = Gemm <transB = 1> (flat, head, bias)
}"""


def network(dtype: type = np.float32) -> onnx.ModelProto:
    model, rng = parser.parse_model(TEXT), np.random.default_rng(0)
    for index, node in enumerate(model.graph.node):
        node.name = f"node{index}"
    for name, shape in {"w": (6, 3, 3, 3), "b": (6,), "head": (4, 6), "bias": (4,)}.items():
        model.graph.initializer.append(numpy_helper.from_array(rng.standard_normal(shape).astype(dtype), name))
    return model


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(1).standard_normal((5, 3, 8, 8)).astype(np.float32)


def test_same_network_passes(images: np.ndarray) -> None:
    model = network()
    twin = build(model).train()
    assert prove(twin, model, images, where="net.onnx") < 1e-5
    assert twin.training


def test_first_differing_node_is_named(images: np.ndarray) -> None:
    model = network()
    twin = build(model)
    with torch.no_grad():
        twin.parameter_of("head")[0, 0] += 3.0
    with pytest.raises(InputRefused, match=r"net.onnx: .*first at node node5 \(Gemm\) making y"):
        prove(twin, model, images, where="net.onnx")
    with torch.no_grad():
        twin.parameter_of("b")[2] -= 1.0
    with pytest.raises(InputRefused, match=r"node0 \(Conv\)"):
        prove(twin, model, images, where="net.onnx")


def test_fixed_batch(images: np.ndarray) -> None:
    model = network()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2
    assert prove(build(model), model, images, where="net") < 1e-5


def test_half_precision_has_its_own_bound(images: np.ndarray) -> None:
    model = network(np.float16)
    for info in (*model.graph.input, *model.graph.output):
        info.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    assert bound(model) > bound(network())
    assert prove(build(model), model, images, where="net") < 1e-2


def test_a_quantised_graph_has_its_own_bound() -> None:
    model = network()
    name = model.graph.output[0].name
    scale, point = numpy_helper.from_array(np.float32(0.1), "scale"), numpy_helper.from_array(np.uint8(128), "point")
    model.graph.initializer.extend([scale, point])
    model.graph.node.append(onnx.helper.make_node("QuantizeLinear", [name, "scale", "point"], ["codes"]))
    assert bound(model) > bound(network())


def test_scores_that_are_not_finite(images: np.ndarray) -> None:
    model = network()
    images[0] = np.inf
    with pytest.raises(InputRefused, match="not finite"):
        prove(build(model), model, images, where="net")


def test_twin_that_cannot_run(images: np.ndarray) -> None:
    model = network()
    twin = build(model)
    twin.store._parameters[twin.layout.names["w"]] = torch.nn.Parameter(torch.zeros(6, 2, 3, 3))
    with pytest.raises(InputRefused, match=r"cannot run it.*node0"):
        prove(twin, model, images, where="net")


def dressed(text: str) -> onnx.ModelProto:
    """The network with its scores called z and a tail to y."""
    model = network()
    model.graph.node[-1].output[0] = "z"
    model.graph.node.extend(onnx.parser.parse_graph(f"g (float[N,4] z) => (float[N,4] y) {{ {text} }}").node)
    return model


def test_the_studied_network_is_held_against_the_value_behind_the_tail(images: np.ndarray) -> None:
    model = dressed("y = Softmax (z)")
    assert prove(build(canonical(model)), model, images, where="net") < 1e-5
    wrong = build(canonical(model))
    with torch.no_grad():
        wrong.parameter_of("head")[0, 0] += 3.0
    with pytest.raises(InputRefused, match=r"first at node node5 \(Gemm\) making z"):
        prove(wrong, model, images, where="net")


def test_a_tail_that_ranks_otherwise(images: np.ndarray) -> None:
    model = dressed("y = Neg (z)")
    twin = build(without(model, "z"))
    with pytest.raises(InputRefused, match="ranks the classes otherwise"):
        prove(twin, model, images, where="net")


def without(model: onnx.ModelProto, output: str) -> onnx.ModelProto:
    """The model that ends in another value."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    copy.graph.output[0].name = output
    return copy


def test_the_output_that_is_named(images: np.ndarray) -> None:
    model = network()
    model.graph.output.insert(0, onnx.helper.make_tensor_value_info("flat", onnx.TensorProto.FLOAT, None))
    assert prove(build(canonical(model, "y")), model, images, where="net", output="y") < 1e-5


def test_flattened_scores_and_nodes_in_any_order(images: np.ndarray) -> None:
    text = "g (float[N,3,8,8] x) => (float[N,6,1,1] y) { y = GlobalAveragePool (c) c = Conv (x, w, b) }"
    model = onnx.helper.make_model(onnx.parser.parse_graph(text), opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    model.graph.initializer.extend(t for t in network().graph.initializer if t.name in ("w", "b"))
    assert prove(build(canonical(model)), model, images, where="net") < 1e-5


def test_scores_that_are_made_as_codes(images: np.ndarray) -> None:
    text = """g (float[N,3,8,8] x) => (float[N,4] y) <float s = {0.05}, uint8 o = {128}, float t = {0.02}, int8 u = {0}, float v = {0.1}> {
        p = GlobalAveragePool (x) f = Flatten (p) q = QuantizeLinear (f, s, o) z = QLinearMatMul (q, s, o, k, t, u, v, o)
        d = DequantizeLinear (z, v, o) y = Softmax (d) }"""
    model = onnx.helper.make_model(onnx.parser.parse_graph(text), opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    codes = np.random.default_rng(2).integers(-100, 100, (3, 4)).astype(np.int8)
    model.graph.initializer.append(numpy_helper.from_array(codes, "k"))
    assert prove(build(canonical(model)), model, images, where="net") < 0.05
