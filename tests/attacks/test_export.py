"""Every trigger as ONNX does what it does in torch."""

from __future__ import annotations

import pytest
import torch

from rnpc import attacks
from rnpc.attacks import export
from rnpc.runtime import Session

SHAPE = (3, 12, 12)


@pytest.mark.parametrize("name", [name for name in attacks.names() if name != "none"])
def test_trigger(name: str) -> None:
    attack = attacks.create(name, seed=2)
    module = attack.module(SHAPE)
    assert module is not None
    images = torch.rand(5, *SHAPE, generator=torch.Generator().manual_seed(0))
    found = Session(export.trigger(module, SHAPE), device="cpu", threads=1).run_all(images.numpy())[0]
    assert found.shape == (5, *SHAPE) and abs(found - attack.trigger(images).numpy()).max() < 1e-5
