"""A tiny training set of five brightnesses, and a clean network for it that was not trained long."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rnpc import models
from rnpc.attacks.loop import Means

SHAPE, CLASSES = (3, 16, 16), 5


def tiny_net() -> nn.Module:
    torch.manual_seed(0)
    net: nn.Module = models.create("resnet18", classes=CLASSES, width=4, channels=3, size=16)
    return net


@pytest.fixture
def means() -> Means:
    """What an attacker has: 100 images."""
    draw = torch.Generator().manual_seed(1)
    labels = torch.arange(100) % CLASSES
    images = (labels[:, None, None, None] * 40 + torch.randint(0, 60, (100, 16, 16, 3), generator=draw)).to(torch.uint8)
    mean, std = torch.full((1, 3, 1, 1), 0.5), torch.full((1, 3, 1, 1), 0.25)
    return Means(images, labels, mean, std, "cpu", 0, lambda folder: tiny_net().eval().requires_grad_(False))


@pytest.fixture
def net() -> nn.Module:
    """A network in training."""
    return tiny_net().train()
