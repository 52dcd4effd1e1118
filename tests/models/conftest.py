"""Small networks of every architecture, with statistics as a trained network has them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from rnpc import models

SMALL: dict[str, dict[str, Any]] = {
    "resnet18": {"depths": (1, 1, 1, 1)},
    "resnet34": {"depths": (1, 2, 1, 1)},
    "resnet50": {"depths": (1, 2, 1, 1)},
    "resnext50": {"depths": (1, 2, 1, 1)},
    "vgg16": {"depths": (1, 1, 2, 1, 1)},
    "vgg19": {"depths": (1, 1, 1, 1, 2)},
    "mobilenetv2": {"depths": (1, 2, 1, 1, 1, 1, 1)},
    "efficientnetb0": {"depths": (1, 2, 1, 1, 1, 1, 1)},
    "densenet121": {"depths": (2, 2, 1, 1)},
    "shufflenetv2": {"depths": (2, 2, 1)},
    "convnexttiny": {"depths": (1, 1, 1, 1), "width": 8},
    "vitsmall": {"depth": 2, "width": 16},
}
"""What makes a network of few layers."""
Maker = Callable[[str, int], nn.Module]


@pytest.fixture(scope="session")
def small() -> Maker:
    """(name, side) -> a narrow, shallow network of seven classes, in eval mode."""
    return make


def make(name: str, size: int) -> nn.Module:
    """Random weights; BatchNorm's statistics are those of noise, so that scores do not fade from layer to layer."""
    torch.manual_seed(1)
    settings = {"width": 4, "channels": 3, **SMALL.get(name, {})}
    net = models.ARCHITECTURES[name](classes=7, size=size, **settings)
    for key, tensor in net.named_parameters():
        if tensor.dim() == 1 and ("bn" in key or "norm" in key or "gamma" in key or "bias" in key):
            tensor.data += 0.3 * torch.randn_like(tensor)
    for norm in (m for m in net.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.momentum = 1.0
    with torch.no_grad():
        net.train()(torch.randn(16, 3, size, size))
    return net.eval()


@pytest.fixture(scope="session")
def noise() -> Callable[[int], np.ndarray]:
    """side -> float32 [4, 3, side, side]."""
    return lambda size: np.random.default_rng(0).standard_normal((4, 3, size, size)).astype(np.float32)
