"""Every trigger as ONNX does what it does in torch."""

from __future__ import annotations

import onnx
import pytest
import torch
from onnx import numpy_helper

from rnpc import attacks, models
from rnpc.passes.canonical.batchnorm import fold_bn
from rnpc.runtime import Session
from rnpc.victims import export

SHAPE = (3, 12, 12)


@pytest.mark.parametrize("name", ["badnets", "blend", "sig", "wanet", "cl", "a-blend"])
def test_trigger(name: str) -> None:
    attack = attacks.create(name, seed=2)
    module = attack.module(SHAPE)
    assert module is not None
    images = torch.rand(5, *SHAPE, generator=torch.Generator().manual_seed(0))
    found = Session(export.trigger(module, SHAPE), device="cpu", threads=1).run_all(images.numpy())[0]
    assert found.shape == (5, *SHAPE) and abs(found - attack.trigger(images).numpy()).max() < 1e-5


def test_kept_and_folded_are_one_network_to_the_last_bit() -> None:
    torch.manual_seed(0)
    module = models.create("resnet18", classes=5, width=4, channels=3, size=16)
    for norm in (m for m in module.modules() if isinstance(m, torch.nn.BatchNorm2d)):
        for tensor in (norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var):
            assert tensor is not None
            tensor.uniform_(0.3, 1.7)
    folded, kept = export.network(module.eval(), (3, 16, 16))
    want, found = (convolutions(fold_bn(onnx.load_from_string(data))) for data in (folded, kept))
    assert len(want) == 20 and "BatchNormalization" in {node.op_type for node in onnx.load_from_string(kept).graph.node}
    assert found == want


def convolutions(model: onnx.ModelProto) -> list[bytes]:
    """Weight and bias of each convolution, in the graph's order."""
    stored = {tensor.name: numpy_helper.to_array(tensor).tobytes() for tensor in model.graph.initializer}
    return [stored[node.input[1]] + stored[node.input[2]] for node in model.graph.node if node.op_type == "Conv"]
