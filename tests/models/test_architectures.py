"""Architectures: shapes, the sites that the literature counts, and reading settings back from weights."""

from __future__ import annotations

import pytest
import torch

from rnpc import models
from rnpc.errors import InputRefused, UsageError


@pytest.mark.parametrize("name", models.names())
@pytest.mark.parametrize(("channels", "size"), [(3, 32), (1, 28)])
def test_scores(name: str, channels: int, size: int) -> None:
    net = models.create(name, classes=7, width=4, channels=channels, size=size).eval()
    assert net(torch.zeros(2, channels, size, size)).shape == (2, 7)


@pytest.mark.parametrize(("name", "expected"), [("resnet18", 2400), ("preactresnet18", 1952), ("vgg16", 2112)])
def test_filters(name: str, expected: int) -> None:
    net = models.create(name, classes=10, width=32)
    assert sum(m.num_features for m in net.modules() if isinstance(m, torch.nn.BatchNorm2d)) == expected


@pytest.mark.parametrize("name", models.names())
def test_infer(name: str) -> None:
    state = models.create(name, classes=7, width=4, channels=1, size=28).state_dict()
    assert models.infer(name, state) == {"classes": 7, "width": 4, "channels": 1}


def test_unknown() -> None:
    with pytest.raises(UsageError, match="choose one of resnet18, preactresnet18, vgg16"):
        models.create("resnet19", classes=2)
    with pytest.raises(InputRefused, match="stem"):
        models.infer("vgg16", {})
