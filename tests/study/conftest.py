"""A classifier with a backdoor planted by hand, small enough to know every weight of it.

Three classes by the brightest colour, 8 x 8 pixels. Of 40 convolution channels, 0 to 35 pass the colours on (each colour twelve times), 36
and 37 answer to a checkerboard, which smooth images lack and which only label 1 listens to, 38 and 39 answer to nothing.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from rnpc.defenses.auto.blind import Request
from rnpc.frontends import onnx_file
from rnpc.program import Preprocessing, Program
from rnpc.study.subject import Subject, prepare

SIZE, CLASSES, CHANNELS = 8, 3, 40
PLANTED, TARGET = (36, 37), 1
SITE = "features"
PRE = Preprocessing(SIZE, SIZE, mean=(0.5,) * 3, std=(0.5,) * 3)
CHECKER = np.array([[0, -1, 0], [-1, 4, -1], [0, -1, 0]], dtype=np.float32) / 4


def network(strength: float, cyclic: bool = False) -> onnx.ModelProto:
    """Conv, Relu, pooling, Gemm. `strength`: weight of the planted channels in the target's score; 0 is a clean network.

    `cyclic`: 36 to 38 answer to the checkerboard the more, the brighter a colour of their own is, and speak for the class after it."""
    conv, bias = np.zeros((CHANNELS, 3, 3, 3), np.float32), np.zeros(CHANNELS, np.float32)
    head = np.zeros((CLASSES, CHANNELS), np.float32)
    for c in range(36):
        conv[c, c % 3, 1, 1], bias[c] = 0.5, 0.5  # back to [0, 1] from the normalised input
        head[c % 3, c] = 1.5
    for c in () if cyclic else PLANTED:
        conv[c, :], bias[c] = CHECKER, -0.1
        head[TARGET, c] = strength
    for k in range(CLASSES if cyclic else 0):
        conv[36 + k, :], bias[36 + k] = 2 * CHECKER, -0.8
        conv[36 + k, k, 1, 1] += 1.0
        head[(k + 1) % CLASSES, 36 + k] = strength
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], [SITE], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", [SITE], ["active"], name="relu"),
        helper.make_node("GlobalAveragePool", ["active"], ["pooled"], name="pool"),
        helper.make_node("Flatten", ["pooled"], ["flat"], name="flat"),
        helper.make_node("Gemm", ["flat", "v", "u"], ["scores"], name="head", transB=1),
    ]
    tensors = {"w": conv, "b": bias, "v": head, "u": np.zeros(CLASSES, np.float32)}
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, SIZE, SIZE])
    y = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", CLASSES])
    graph = helper.make_graph(nodes, "planted", [x], [y], [numpy_helper.from_array(value, name) for name, value in tensors.items()])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def pictures(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Smooth images uint8 [n, 8, 8, 3] and their classes int64 [n]."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % CLASSES
    level = rng.uniform(0.25, 0.4, (n, 1, 1, 3)) + 0.4 * np.eye(CLASSES)[labels][:, None, None]
    noise = rng.uniform(-0.03, 0.03, (n, SIZE, SIZE, 3))
    return (np.clip(level + noise, 0, 1) * 255).round().astype(np.uint8), labels.astype(np.int64)


def request_for(model: onnx.ModelProto, n: int = 180, budget: float = 0.05, seed: int = 0) -> Request:
    """A request on `n` pictures; it tells nobody."""
    images, labels = pictures(n)
    return Request(
        onnx_file.program("planted", model.SerializeToString()), images, labels, PRE, seed, budget, "cpu", False, lambda *_: None
    )


def subject_for(request: Request) -> Subject:
    """The request's subject, in float32 on every machine."""
    found = prepare(
        request.program, request.images, request.labels, seed=request.seed, max_ca_drop=request.max_ca_drop, device="cpu", pre=PRE
    )
    return replace(found, fast=False)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Tensors this small gain nothing from a second thread."""
    torch.set_num_threads(1)


@pytest.fixture
def request_() -> Request:
    """The planted network and its pictures."""
    return request_for(network(strength=100.0))


@pytest.fixture
def clean_request() -> Request:
    """The same without the backdoor."""
    return request_for(network(strength=0.0))


@pytest.fixture
def cyclic_request() -> Request:
    """The network with an all-to-all backdoor."""
    return request_for(network(strength=60.0, cyclic=True))


@pytest.fixture
def subject(request_: Request) -> Subject:
    """The planted network as the method sees it."""
    return subject_for(request_)


@pytest.fixture
def clean_subject(clean_request: Request) -> Subject:
    """The clean network as the method sees it."""
    return subject_for(clean_request)


@pytest.fixture
def program(request_: Request) -> Program:
    """The planted network's program."""
    return request_.program
