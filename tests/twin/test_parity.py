"""The proof of the twin: it passes on the same network, and names the first node where something differs."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper, parser

from rnpc.errors import InputRefused
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
