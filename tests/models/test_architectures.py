"""Architectures: shapes, the sizes that the papers count, sites, and reading settings back from weights."""

from __future__ import annotations

import hashlib

import pytest
import torch
from torch import nn

from rnpc import models
from rnpc.errors import InputRefused, UsageError

PARAMETERS = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnext50": 25_028_904,
    "mobilenetv2": 3_504_872,
    "efficientnetb0": 5_288_548,
    "densenet121": 7_978_856,
    "shufflenetv2": 2_278_604,
    "convnexttiny": 28_589_128,
    "vitsmall": 22_050_664,
}
"""Parameters for 1000 classes and 224 pixels."""


@pytest.mark.parametrize("name", models.names())
@pytest.mark.parametrize(("channels", "size"), [(3, 32), (1, 28), (3, 96)])
def test_scores(name: str, channels: int, size: int) -> None:
    net = models.create(name, classes=7, width=4, channels=channels, size=size).eval()
    assert net(torch.zeros(2, channels, size, size)).shape == (2, 7)


@pytest.mark.parametrize(("name", "expected"), [("resnet18", 2400), ("preactresnet18", 1952), ("vgg16", 2112)])
def test_filters(name: str, expected: int) -> None:
    net = models.create(name, classes=10, width=32)
    assert sum(m.num_features for m in net.modules() if isinstance(m, nn.BatchNorm2d)) == expected


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_are_those_of_the_paper(name: str) -> None:
    with torch.device("meta"):
        net = models.create(name, classes=1000, size=224)
    assert sum(p.numel() for p in net.parameters()) == PARAMETERS[name]


@pytest.mark.parametrize("name", models.names())
def test_infer(name: str) -> None:
    state = models.create(name, classes=7, width=4, channels=1, size=28).state_dict()
    assert models.infer(name, state) == {"classes": 7, "width": 4, "channels": 1}


@pytest.mark.parametrize(("name", "digest"), [("resnet18", "d0651aab2b30"), ("preactresnet18", "80f800765cc8"), ("vgg16", "801dc483fc20")])
def test_first_architectures_begin_with_the_same_weights_as_ever(name: str, digest: str) -> None:
    torch.manual_seed(3)
    state, found = models.create(name, classes=7, width=8).state_dict(), hashlib.sha256()
    for key, value in state.items():
        found.update(key.encode() + value.numpy().tobytes())
    assert found.hexdigest()[:12] == digest


def test_stochastic_depth_leaves_whole_images_out() -> None:
    torch.manual_seed(0)
    drop, ones = models.parts.DropPath(0.25), torch.ones(4000, 2, 1, 1)
    assert torch.equal(drop.eval()(ones), ones)
    found = drop.train()(ones)
    assert torch.equal(found[:, 0], found[:, 1]) and found.unique().tolist() == pytest.approx([0, 4 / 3])
    assert abs(float(found.mean()) - 1) < 0.05


def test_unknown() -> None:
    with pytest.raises(UsageError, match="choose one of resnet18, preactresnet18, vgg16"):
        models.create("resnet19", classes=2)
    with pytest.raises(InputRefused, match="stem"):
        models.infer("vgg16", {})


@pytest.mark.parametrize(
    ("name", "width", "size"),
    [("resnext50", 5, 32), ("densenet121", 5, 32), ("vitsmall", 5, 32), ("smallcnn", 4, 8), ("convnexttiny", 4, 8), ("mobilenetv2", 4, 4)],
)
def test_sizes_that_cannot_be(name: str, width: int, size: int) -> None:
    with pytest.raises(UsageError, match=name):
        models.create(name, classes=2, width=width, size=size)
