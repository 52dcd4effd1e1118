"""onnx's nine `light` networks: the twin equals onnxruntime, once their constant weights are given random numbers of a sane size."""

from __future__ import annotations

from math import prod
from pathlib import Path

import numpy as np
import onnx
import onnx.backend.test
import onnxruntime as ort
import pytest
import torch
from onnx import numpy_helper

from rnpc.passes.canonical.clean import clean
from rnpc.twin import build

FOLDER = Path(onnx.backend.test.__file__).parent / "data" / "light"
LARGE = ("bvlc_alexnet", "vgg19", "zfnet512")
NETS = ["densenet121", "inception_v1", "inception_v2", "resnet50", "shufflenet", "squeezenet"]


def randomised(model: onnx.ModelProto) -> onnx.ModelProto:
    """Weights drawn by He's rule; vectors near one, which serves scales, biases and variances."""
    model, rng = clean(model), np.random.default_rng(0)
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.dims) > 0:
            shape = tuple(tensor.dims)
            value = rng.standard_normal(shape, np.float32)
            value = value * np.sqrt(2 / prod(shape[1:])) if len(shape) > 1 else 1 + 0.1 * value
            tensor.CopyFrom(numpy_helper.from_array(value.astype(np.float32), tensor.name))
    return model


@pytest.mark.parametrize("name", [*NETS, *(pytest.param(n, marks=pytest.mark.slow) for n in LARGE)])
def test_light(name: str) -> None:
    model = randomised(onnx.load(FOLDER / f"light_{name}.onnx"))
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    x = np.random.default_rng(1).standard_normal((2, 3, 224, 224)).astype(np.float32)
    wanted = ort.InferenceSession(model.SerializeToString(), options).run(None, {model.graph.input[0].name: x})[0]
    with torch.no_grad():
        found = build(model)(torch.from_numpy(x)).numpy()
    assert found.shape == wanted.shape
    assert wanted.std() > 0
    assert np.abs(found - wanted).max() <= 1e-4 * np.abs(wanted).max()
