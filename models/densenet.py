"""DenseNet-121: every layer reads all that its stage has made so far and adds `growth` channels to it.

Source: Huang et al., "Densely connected convolutional networks" (CVPR 2017), DenseNet-BC: BatchNorm and ReLU before each convolution, a 1
x 1 convolution to 4 * growth channels before each 3 x 3 one, transitions that halve channels and size. The stem has `width` = 2 * growth
channels; the usual width is 64.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rnpc.errors import UsageError
from rnpc.models.parts import LARGE, check_size, shrink, stem

BOTTLENECK = 4


class DenseLayer(nn.Module):
    """x -> [x, conv3x3(relu(bn(conv1x1(relu(bn(x))))))], along the channels."""

    def __init__(self, before: int, growth: int) -> None:
        super().__init__()
        inner = BOTTLENECK * growth
        self.bn1 = nn.BatchNorm2d(before)
        self.conv1 = nn.Conv2d(before, inner, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, growth, 3, 1, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(F.relu(self.bn2(self.conv1(F.relu(self.bn1(x))))))
        return torch.cat([x, y], 1)


class DenseNet121(nn.Module):
    """float [n, channels, size, size] -> scores [n, classes]. `size` from 8 pixels. Raises UsageError for an odd width."""

    def __init__(self, classes: int, width: int = 64, channels: int = 3, size: int = 32, depths: Sequence[int] = (6, 12, 24, 16)) -> None:
        super().__init__()
        if width % 2:
            raise UsageError(f"width {width} is no double of a growth rate", where="densenet121", todo="choose an even width")
        check_size(size, 8, "densenet121")
        self.size, growth, before = size, width // 2, width
        self.stem = stem(channels, width, size)
        self.bn_stem = nn.BatchNorm2d(width) if size >= LARGE else nn.Identity()
        layers = list[nn.Module]()
        for index, depth in enumerate(depths):
            if index:
                layers += transition(before, before // 2)
                before //= 2
            layers += [DenseLayer(before + k * growth, growth) for k in range(depth)]
            before += depth * growth
        self.layers = nn.Sequential(*layers)
        self.bn = nn.BatchNorm2d(before)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(before, classes)

    def forward(self, x: Tensor) -> Tensor:
        start = self.stem(x)
        if self.size >= LARGE:
            start = shrink(F.relu(self.bn_stem(start)), self.size)
        features = F.relu(self.bn(self.layers(start)))
        scores: Tensor = self.fc(self.pool(features).flatten(1))
        return scores


def transition(before: int, after: int) -> list[nn.Module]:
    """Between two stages: fewer channels, half the size."""
    return [nn.BatchNorm2d(before), nn.ReLU(), nn.Conv2d(before, after, 1, bias=False), nn.AvgPool2d(2)]
