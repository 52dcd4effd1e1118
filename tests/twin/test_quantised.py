"""Quantised networks as twins: the demo's network as onnxruntime quantises it, codes equal to the runtime's, gradients straight through."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static

from rnpc.passes.canonical.quantised import dequantised
from rnpc.runtime import start
from rnpc.twin import build
from rnpc.twin.ops.quantised import quantize_float

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "models" / "demo"
SHARED = ROOT.parent / "shared" / "faults" / "quantised-message"
U8, S8 = QuantType.QUInt8, QuantType.QInt8
STATIC: dict[str, dict[str, Any]] = {
    "qdq": {"quant_format": QuantFormat.QDQ, "per_channel": True, "activation_type": U8, "weight_type": S8},
    "qdq-int8": {"quant_format": QuantFormat.QDQ, "activation_type": S8, "weight_type": S8},
    "qdq-16-bit": {"quant_format": QuantFormat.QDQ, "activation_type": QuantType.QUInt16, "weight_type": S8},
    "qoperator": {"quant_format": QuantFormat.QOperator, "per_channel": True, "activation_type": U8, "weight_type": S8},
    "qoperator-uint8": {"quant_format": QuantFormat.QOperator, "activation_type": U8, "weight_type": U8},
}
"""Scores are codes in the end: 255 steps, and an edge case may fall to either side. 16 bits have steps too small to see."""


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    with np.load(DEMO / "test.npz") as file:
        images = file["images"][:32]
    return np.ascontiguousarray((images.transpose(0, 3, 1, 2) / 255.0 - 0.1307) / 0.3081, dtype=np.float32)


class Reader(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, name: str, images: np.ndarray) -> None:
        self.parts: Iterator[dict[str, np.ndarray]] = iter([{name: part} for part in np.split(images, 4)])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.parts, None)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, pixels: np.ndarray) -> Callable[[str], onnx.ModelProto]:
    """written(form) -> the demo's network in that form, as onnxruntime's quantiser writes it."""
    folder = tmp_path_factory.mktemp("quantised")
    demo = onnx.load(DEMO / "model.onnx")
    del demo.graph.value_info[:]
    onnx.save(demo, folder / "demo.onnx")
    logging.getLogger().setLevel(logging.ERROR)  # the quantiser advises through the root logger

    def write(form: str) -> onnx.ModelProto:
        path = folder / f"{form}.onnx"
        if form == "dynamic":
            quantize_dynamic(folder / "demo.onnx", path, weight_type=U8)
        elif form == "float":
            return demo
        else:
            quantize_static(folder / "demo.onnx", path, Reader(demo.graph.input[0].name, pixels), **STATIC[form])
        return onnx.load(path)

    return write


def run(model: onnx.ModelProto, x: np.ndarray, *, optimise: bool = True) -> np.ndarray:
    """`optimise=False`: the optimiser quantises float weights between Q and DQ by itself."""
    session = start(model.SerializeToString(), "cpu", 1, "m", plain=not optimise)
    return np.asarray(session.run(None, {model.graph.input[0].name: x})[0])


@pytest.mark.parametrize("form", [*STATIC, "dynamic"])
def test_the_demo_quantised(form: str, written: Callable[[str], onnx.ModelProto], pixels: np.ndarray) -> None:
    model = written(form)
    twin, wanted = build(model), run(model, pixels)
    scores = twin(torch.from_numpy(pixels))
    difference = np.abs(scores.detach().numpy() - wanted) / np.abs(wanted).max()
    assert difference.max() <= (1e-3 if "16" in form else 0.02) and difference.mean() <= 1e-3
    assert (scores.argmax(1).numpy() == wanted.argmax(1)).mean() >= 0.98
    scores.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() and p.grad.any() for p in twin.parameters())
    assert twin.to("meta")(torch.empty(7, 1, 28, 28, device="meta")).shape == (7, 10)


@pytest.mark.parametrize("form", ["qdq", "qoperator", "dynamic"])
def test_gradients_are_those_of_the_float_network(form: str, written: Callable[[str], onnx.ModelProto], pixels: np.ndarray) -> None:
    """Straight through: the gradient at the pixels points where the float network's does."""
    ways = []
    for model in (written("float"), written(form)):
        x = torch.from_numpy(pixels).requires_grad_(True)
        build(model)(x)[:, 3].sum().backward()
        assert x.grad is not None
        ways.append(x.grad.flatten(1))
    assert torch.cosine_similarity(*ways, dim=1).median() > 0.9


def test_training_a_quantised_twin_learns(written: Callable[[str], onnx.ModelProto], pixels: np.ndarray) -> None:
    twin, x = build(written("qoperator")), torch.from_numpy(pixels)
    labels = twin(x).argmax(1).roll(1)
    optimiser = torch.optim.SGD(twin.parameters(), 0.002, 0.9)
    losses = []
    for _ in range(12):
        loss = torch.nn.functional.cross_entropy(twin(x), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("form", ["qdq", "qoperator", "dynamic"])
def test_rewriting_changes_nothing_for_the_runtime(form: str, written: Callable[[str], onnx.ModelProto], pixels: np.ndarray) -> None:
    model = written(form)
    wanted, found = run(model, pixels), run(dequantised(model), pixels, optimise=False)
    assert np.abs(wanted - found).max() <= 0.02 * np.abs(wanted).max()
    assert dequantised(dequantised(model)).SerializeToString() == dequantised(model).SerializeToString()


@pytest.mark.parametrize("name", ["qdq", "qlinear", "dynamic"])
@pytest.mark.skipif(not SHARED.exists(), reason="the folder shared/ beside the checkout is missing")
def test_a_strangers_networks(name: str) -> None:
    """BatchNorm after Relu, quantised dense layers, a quantised Softmax at the end."""
    model = onnx.load(SHARED / f"{name}.onnx")
    x = np.random.default_rng(0).random((16, 3, 32, 32), np.float32)
    wanted, found = run(model, x), build(model)(torch.from_numpy(x)).detach().numpy()
    assert np.abs(wanted - found).max() <= 0.03 and np.abs(wanted - found).mean() <= 1e-3


def test_rounding_halves_to_even_and_saturation_stops_the_gradient() -> None:
    x = torch.tensor([-9.0, 0.25, 0.75, 1.25, 63.4, 99.0], requires_grad=True)
    codes = quantize_float(x, torch.tensor(0.5), torch.tensor(1.0), 0, 127)
    assert codes.tolist() == [0, 1, 3, 3, 127, 127]  # 0.5, 1.5 and 2.5 steps
    codes.sum().backward()
    assert x.grad is not None and x.grad.tolist() == [0, 2, 2, 2, 0, 0]


def test_rounding_under_autocast() -> None:
    x = torch.linspace(-3, 3, 1000)
    with torch.autocast("cpu", torch.bfloat16):
        inside = quantize_float(x, torch.tensor(0.02), torch.tensor(100.0), 0, 255)
    assert torch.equal(inside, quantize_float(x, torch.tensor(0.02), torch.tensor(100.0), 0, 255)) and inside.dtype == torch.float32


def by_axis(nodes: list[onnx.NodeProto], opset: int, tensors: dict[str, np.ndarray]) -> onnx.ModelProto:
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3, 4]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "g", infos[:1], infos[1:], [numpy_helper.from_array(v, k) for k, v in tensors.items()])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


@pytest.mark.parametrize(
    ("settings", "shape"), [({"axis": 1}, (3,)), ({"axis": -1}, (4,)), ({"axis": 2, "block_size": 2}, (1, 3, 2)), ({"axis": 1}, ())]
)
def test_scales_along_an_axis(settings: dict[str, int], shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    tensors = {"s": rng.uniform(0.01, 0.03, shape).astype(np.float32), "z": rng.integers(-9, 9, shape).astype(np.int8)}
    ways = (("QuantizeLinear", "x", "q"), ("DequantizeLinear", "q", "y"))
    nodes = [helper.make_node(kind, [before, "s", "z"], [after], **settings) for kind, before, after in ways]
    model, x = by_axis(nodes, 21, tensors), rng.uniform(-3, 3, (1, 3, 4)).astype(np.float32)
    np.testing.assert_allclose(build(model)(torch.from_numpy(x)).numpy(), run(model, x), rtol=1e-6)


def test_scales_are_no_parameters() -> None:
    tensors = {"s": np.full(3, 0.02, np.float32), "z": np.zeros(3, np.int8)}
    nodes = [helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]), helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"])]
    assert build(by_axis(nodes, 17, tensors)).parameter_names() == ()
