"""Small classifiers: as ONNX bytes, and as a torch module that is exported once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, numpy_helper

from rnpc.plan import Plan, Silence, SitePlan
from rnpc.program import Program

TEXT = """<ir_version: {ir}, opset_import: ["" : {opset}]>
g (float[{shape}] x) => (float[{out}] y) {{
    {head}
    c = Conv (i, w, b)
    r = Relu (c)
    p = GlobalAveragePool (r)
    f = Flatten (p)
    y = Gemm (f, v, u)
}}"""


@pytest.fixture
def classifier() -> Callable[..., ModelProto]:
    """classifier(opset=, ir=, shape=, out=, head=) -> Conv, Relu, pooling, Gemm to three scores."""

    def build(opset: int = 17, ir: int = 8, shape: str = "N,3,8,8", out: str = "N,3", head: str = "i = Identity (x)") -> ModelProto:
        model = onnx.parser.parse_model(TEXT.format(ir=ir, opset=opset, shape=shape, out=out, head=head))
        generator = np.random.default_rng(0)
        for name, size in (("w", (4, 3, 3, 3)), ("b", (4,)), ("v", (4, 3)), ("u", (3,))):
            model.graph.initializer.append(numpy_helper.from_array(generator.normal(size=size).astype(np.float32), name))
        return model

    return build


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """write(model or bytes, name) -> path."""

    def save(content: ModelProto | bytes, name: str = "m.onnx") -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.SerializeToString())
        return path

    return save


@pytest.fixture(scope="session")
def module() -> Any:
    """Conv + BatchNorm, Conv without bias or BatchNorm, hidden Linear, scores; with statistics and weights that are not trivial."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3, bias=False),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Conv2d(6, 5, 3, bias=False),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(5, 7),
        nn.ReLU(),
        nn.Linear(7, 4),
    )
    for parameter in (net[1].weight, net[1].bias, net[1].running_mean):
        nn.init.normal_(parameter)
    nn.init.uniform_(net[1].running_var, 0.5, 2.0)
    return net


@pytest.fixture(scope="session")
def program(module: Any) -> Program:
    """The module's Program."""
    from rnpc.frontends import torch_module

    return torch_module.load(module, (3, 8, 8))


@pytest.fixture(scope="session")
def plan(program: Program) -> Plan:
    """Two channels of each site, constants not zero."""
    silenced = Silence(tuple(SitePlan.of(site, {1: 0.5, 3: -0.25}) for site in program.sites))
    return Plan("test", 0, hashlib.sha256(program.source).hexdigest(), "data", silenced)
