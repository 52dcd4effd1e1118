"""ConvNeXt-T: depthwise 7 x 7 convolutions, LayerNorm over the channels, an inverted bottleneck of two linear layers with GELU.

Source: Liu et al., "A ConvNet for the 2020s" (CVPR 2022). y = x + gamma * W2 gelu(W1 layernorm(depthwise(x))), computed with the channels
last; gamma starts at 1e-6. Four stages of 3, 3, 9, 3 blocks with 1, 2, 4, 8 times `width` channels, each but the first behind a LayerNorm
and a 2 x 2 convolution of stride 2; stochastic depth rises to 0.1. The usual width is 96. The stem cuts patches of 4 pixels, below 96
pixels of 2.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rnpc.models.parts import LARGE, DropPath, check_size

EPSILON, SCALE, DROP = 1e-6, 1e-6, 0.1


class ChannelNorm(nn.Module):
    """LayerNorm over the channels of [n, channels, height, width]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels, eps=EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(x.permute(0, 2, 3, 1))
        return y.permute(0, 3, 1, 2)


class Block(nn.Module):
    """One residual block of `channels`; `drop` is the rate of its stochastic depth."""

    def __init__(self, channels: int, drop: float) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 7, 1, 3, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=EPSILON)
        self.expand = nn.Linear(channels, 4 * channels)
        self.project = nn.Linear(4 * channels, channels)
        self.gamma = nn.Parameter(SCALE * torch.ones(channels))
        self.drop = DropPath(drop)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        y = self.gamma * self.project(F.gelu(self.expand(y)))
        branch: Tensor = self.drop(y.permute(0, 3, 1, 2))
        return x + branch


class ConvNeXtT(nn.Module):
    """float [n, channels, size, size] -> scores [n, classes]. Any `size` from 16 pixels."""

    def __init__(self, classes: int, width: int = 96, channels: int = 3, size: int = 32, depths: Sequence[int] = (3, 3, 9, 3)) -> None:
        super().__init__()
        check_size(size, 16, "convnexttiny")
        patch = 4 if size >= LARGE else 2
        self.stem = nn.Conv2d(channels, width, patch, patch)
        self.norm = ChannelNorm(width)
        layers, after, made = list[nn.Module](), width, 0
        for index, depth in enumerate(depths):
            if index:
                layers += [ChannelNorm(after), nn.Conv2d(after, 2 * after, 2, 2)]
                after *= 2
            layers += [Block(after, DROP * (made + k) / sum(depths)) for k in range(depth)]
            made += depth
        self.layers = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.last = nn.LayerNorm(after, eps=EPSILON)
        self.fc = nn.Linear(after, classes)

    def forward(self, x: Tensor) -> Tensor:
        features = self.layers(self.norm(self.stem(x)))
        scores: Tensor = self.fc(self.last(self.pool(features).flatten(1)))
        return scores
