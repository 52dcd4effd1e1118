"""ShuffleNetV2 (1x): half of the channels goes through a branch, the other half past it; then the halves are shuffled.

Source: Ma et al., "ShuffleNet V2: practical guidelines for efficient CNN architecture design" (ECCV 2018), table 5. The shuffle writes
channel h * C/2 + c of the joined halves to place 2c + h. A block of stride 2 sends all channels through both branches. The usual width is
24, the stem's channels; all layers scale with it. Below 96 pixels the stem has stride 1 and no pooling follows.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rnpc.models.parts import LARGE, check_size, normed, scaled, shrink

STAGES = (116, 232, 464)
USUAL, LAST = 24, 1024


class ShuffleUnit(nn.Module):
    """`after` channels out of `before`; with `stride` 2 both halves are computed, with 1 (and before = after) only the second one."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        half = after // 2
        self.stride = stride
        entry = before if stride == 2 else half
        past = [*normed(before, before, 3, 2, groups=before), *normed(before, half, 1), nn.ReLU()] if stride == 2 else []
        self.past = nn.Sequential(*past)
        middle = normed(half, half, 3, stride, groups=half)
        self.branch = nn.Sequential(*normed(entry, half, 1), nn.ReLU(), *middle, *normed(half, half, 1), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        left, right = (self.past(x), x) if self.stride == 2 else x.chunk(2, 1)
        return shuffle(torch.cat([left, self.branch(right)], 1))


class ShuffleNetV2(nn.Module):
    """float [n, channels, size, size] -> scores [n, classes]. Any `size` from 8 pixels. `depths`: units of each of the three stages."""

    def __init__(self, classes: int, width: int = USUAL, channels: int = 3, size: int = 32, depths: Sequence[int] = (4, 8, 4)) -> None:
        super().__init__()
        check_size(size, 8, "shufflenetv2")
        self.size, before = size, width
        self.stem = nn.Conv2d(channels, width, 3, 2 if size >= LARGE else 1, 1, bias=False)
        self.bn = nn.BatchNorm2d(width)
        units = list[nn.Module]()
        for paper, depth in zip(STAGES, depths, strict=True):
            after = scaled(paper, width, USUAL, multiple=2)
            units += [ShuffleUnit(before, after, 2), *(ShuffleUnit(after, after, 1) for _ in range(depth - 1))]
            before = after
        self.units = nn.Sequential(*units)
        last = scaled(LAST, width, USUAL)
        self.last = nn.Sequential(*normed(before, last, 1), nn.ReLU())
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(last, classes)

    def forward(self, x: Tensor) -> Tensor:
        start = shrink(F.relu(self.bn(self.stem(x))), self.size)
        features = self.last(self.units(start))
        scores: Tensor = self.fc(self.pool(features).flatten(1))
        return scores


def shuffle(x: Tensor) -> Tensor:
    """The two halves of the channels, one from each in turn."""
    _, channels, height, width = x.shape
    return x.reshape(-1, 2, channels // 2, height, width).transpose(1, 2).reshape(-1, channels, height, width)
