"""Every architecture goes through torch's exporter, folded and kept: valid ONNX, a twin that is proved, filter sites."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from rnpc import models
from rnpc.passes.facts.sites import find_sites
from rnpc.runtime import Session
from rnpc.twin import build
from rnpc.twin.parity import prove
from rnpc.victims import export

Maker = Callable[[str, int], nn.Module]
LARGE = ("resnet18", "densenet121", "shufflenetv2")


@pytest.mark.parametrize("name", models.names())
def test_small_images(name: str, small: Maker, noise: Callable[[int], np.ndarray]) -> None:
    check(small(name, 32), noise(32), name)


@pytest.mark.parametrize("name", LARGE)
def test_large_images_with_the_stem_of_the_paper(name: str, small: Maker, noise: Callable[[int], np.ndarray]) -> None:
    check(small(name, 96), noise(96), name)


def check(net: nn.Module, images: np.ndarray, name: str) -> None:
    """Both exports give torch's scores; each has a proved twin and a site for each hidden layer at least."""
    with torch.no_grad():
        wanted = net(torch.from_numpy(images)).numpy()
    assert wanted.std() > 1e-2
    for data in export.network(net, (3, *images.shape[2:])):
        model = onnx.load_from_string(data)
        assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param, "the batch is free"
        found = Session(data, device="cpu", threads=1).run(images)
        assert np.abs(found - wanted).max() <= 1e-4 * max(1.0, np.abs(wanted).max())
        assert prove(build(model), model, images, where=name, threads=1) < 1e-4
        assert len(find_sites(model)) >= layers(net) > 0


def layers(net: nn.Module) -> int:
    """Convolutions and linear layers of two outputs or more, but for the last one."""
    outputs = [len(m.weight) for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    return sum(n > 1 for n in outputs) - 1
