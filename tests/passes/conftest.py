"""Small models from onnx's text format, with their tensors given as arrays."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping

import numpy as np
import onnx
import pytest
from onnx import ModelProto, numpy_helper

from rnpc.passes.facts.sites import find_sites
from rnpc.plan import Plan, Silence, SitePlan

Make = Callable[..., ModelProto]
HEAD = '<ir_version: {ir}, opset_import: ["" : {opset}, "own" : 1]>'


@pytest.fixture
def make() -> Make:
    """make(graph text, {name: array}, opset=, ir=) -> checked model."""

    def build(text: str, tensors: Mapping[str, np.ndarray], *, opset: int = 17, ir: int = 8) -> ModelProto:
        model = onnx.parser.parse_model(HEAD.format(ir=ir, opset=opset) + text)
        model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in tensors.items())
        return model

    return build


@pytest.fixture
def random() -> Callable[..., np.ndarray]:
    """random(*shape) -> float32 array without zeros."""
    generator = np.random.default_rng(0)
    return lambda *shape: generator.uniform(0.5, 1.5, shape).astype(np.float32) * generator.choice([-1, 1], shape).astype(np.float32)


@pytest.fixture
def net(make: Make, random: Callable[..., np.ndarray]) -> ModelProto:
    """Conv, Conv + BatchNormalization, hidden Gemm, and the layer of the scores."""
    text = """net (float[N,3,6,6] x) => (float[N,5] y) {
        a = Conv <pads = [1,1,1,1]> (x, w0, b0)
        r = Relu (a)
        c = Conv (r, w1)
        n = BatchNormalization (c, scale, shift, mean, var)
        q = Relu (n)
        p = GlobalAveragePool (q)
        f = Flatten (p)
        h = Gemm <transB = 1> (f, w2, b2)
        k = Relu (h)
        y = Gemm (k, w3, b3)
    }"""
    shapes = {"w0": (4, 3, 3, 3), "b0": (4,), "w1": (6, 4, 3, 3), "scale": (6,), "shift": (6,), "mean": (6,), "w2": (7, 6), "b2": (7,)}
    shapes |= {"w3": (7, 5), "b3": (5,)}
    return make(text, {name: random(*shape) for name, shape in shapes.items()} | {"var": np.abs(random(6))})


@pytest.fixture
def plan_for() -> Callable[..., Plan]:
    """plan_for(data, {site: {channel: constant}}) -> plan made for these bytes."""

    def build(data: bytes, chosen: Mapping[str, Mapping[int, float]]) -> Plan:
        sites = {site.value: site for site in find_sites(onnx.load_from_string(data))}
        entries = tuple(SitePlan.of(sites[value], dict(constants)) for value, constants in chosen.items())
        return Plan("test", 0, hashlib.sha256(data).hexdigest(), "data", Silence(entries))

    return build


@pytest.fixture
def run() -> Callable[..., dict[str, np.ndarray]]:
    """run(model or bytes, x, [values]) -> those values by onnxruntime, one thread."""
    import onnxruntime

    def session(model: ModelProto | bytes, x: np.ndarray, values: list[str]) -> dict[str, np.ndarray]:
        shown = onnx.load_from_string(model) if isinstance(model, bytes) else onnx.load_from_string(model.SerializeToString())
        have = {value.name for value in shown.graph.output}
        shown.graph.output.extend(onnx.ValueInfoProto(name=value) for value in values if value not in have)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        own = onnxruntime.InferenceSession(shown.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return dict(zip(values, own.run(values, {shown.graph.input[0].name: x}), strict=True))

    return session
