"""Strided 1 x 1 convolutions of few channels: right, and safe to train in channels last on a processor without AVX-512."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from onnx import numpy_helper, parser

from rnpc.twin import Twin, build

TEXT = (
    '<ir_version: 8, opset_import: ["" : 17]> net (float[n, c, 32, 32] x) => (float[n, 8, 16, 16] y) { y = Conv <strides = [2, 2]> (x, w) }'
)


def twin(channels: int) -> Twin:
    model = parser.parse_model(TEXT)
    weight = np.random.default_rng(0).standard_normal((8, channels, 1, 1)).astype(np.float32)
    model.graph.initializer.append(numpy_helper.from_array(weight, "w"))
    return build(model)


@pytest.mark.parametrize("channels", [3, 4, 8])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_values_and_gradients(channels: int, layout: torch.memory_format) -> None:
    x = torch.rand(4, channels, 32, 32).contiguous(memory_format=torch.contiguous_format)
    net = twin(channels)
    weight = net.parameter_of("w")
    wanted_x, wanted_w = x.clone().requires_grad_(True), weight.detach().clone().requires_grad_(True)
    found_x = x.clone(memory_format=layout).requires_grad_(True)
    wanted, found = F.conv2d(wanted_x, wanted_w, None, 2), net(found_x)
    torch.testing.assert_close(found, wanted)
    wanted.square().sum().backward()
    found.square().sum().backward()
    torch.testing.assert_close(found_x.grad, wanted_x.grad)
    torch.testing.assert_close(weight.grad, wanted_w.grad, rtol=1e-4, atol=1e-4)


def train() -> None:
    torch.set_num_threads(1)
    for channels in (3, 4, 6):
        net = twin(channels)
        for _ in range(6):
            x = torch.rand(32, channels, 32, 32).contiguous(memory_format=torch.channels_last).requires_grad_(True)
            net(x).square().sum().backward()


def test_training_in_channels_last_without_avx_512() -> None:
    """oneDNN's kernel for this gradient corrupts the heap there (see `rnpc.speed.layout`), which ends the process."""
    surroundings = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2", "MALLOC_PERTURB_": "165"}
    done = subprocess.run([sys.executable, __file__], env=surroundings, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


if __name__ == "__main__":
    train()
