"""EfficientNet-B0: MobileNetV2's blocks with squeeze-excite, SiLU and 5 x 5 kernels in some stages.

Source: Tan and Le, "EfficientNet: rethinking model scaling for convolutional neural networks" (ICML 2019), table 1; Hu et al., "Squeeze-
and-excitation networks" (CVPR 2018): z = sigmoid(W2 silu(W1 mean(x))), y = x z, with a fourth of the block's input channels inside. The
usual width is 32, the stem's channels; all layers scale with it. Stochastic depth rises to 0.2 over the blocks. Below 96 pixels the stem
and the second stage have stride 1, as is usual for CIFAR.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rnpc.models.parts import LARGE, DropPath, check_size, normed, scaled

ROWS = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)
"""(expansion, channels, blocks, stride of the first block, kernel) of each stage."""
USUAL, LAST, DROP = 32, 1280, 0.2


@dataclass(frozen=True)
class Sizes:
    """What makes one block; `drop` is the rate of its stochastic depth."""

    before: int
    after: int
    stride: int
    expansion: int
    kernel: int
    drop: float


class SqueezeExcite(nn.Module):
    """Each channel times a factor in (0, 1) that depends on the means of all channels."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, inner, 1)
        self.expand = nn.Conv2d(inner, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        factor = self.expand(F.silu(self.reduce(x.mean((2, 3), keepdim=True))))
        return x * torch.sigmoid(factor)


class MBConv(nn.Module):
    """y = project(excite(depthwise(expand(x)))), plus x where size and channels stay."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        inner = sizes.before * sizes.expansion
        wide = [] if sizes.expansion == 1 else [*normed(sizes.before, inner, 1), nn.SiLU()]
        deep = [*normed(inner, inner, sizes.kernel, sizes.stride, groups=inner), nn.SiLU()]
        excite = SqueezeExcite(inner, max(1, sizes.before // 4))
        self.layers = nn.Sequential(*wide, *deep, excite, *normed(inner, sizes.after, 1))
        self.drop = DropPath(sizes.drop)
        self.adds = sizes.stride == 1 and sizes.before == sizes.after

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return x + self.drop(y) if self.adds else y


class EfficientNetB0(nn.Module):
    """float [n, channels, size, size] -> scores [n, classes]. Any `size` from 8 pixels. `depths`: blocks of each of the seven stages."""

    def __init__(self, classes: int, width: int = USUAL, channels: int = 3, size: int = 32, depths: Sequence[int] = ()) -> None:
        super().__init__()
        check_size(size, 8, "efficientnetb0")
        large = size >= LARGE
        self.stem = nn.Conv2d(channels, width, 3, 2 if large else 1, 1, bias=False)
        self.bn = nn.Sequential(nn.BatchNorm2d(width), nn.SiLU())
        chosen = rows(width, large, depths)
        self.blocks = nn.Sequential(*(MBConv(sizes) for sizes in chosen))
        last = scaled(LAST, width, USUAL)
        self.last = nn.Sequential(*normed(chosen[-1].after, last, 1), nn.SiLU())
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.drop = nn.Dropout(0.2)
        self.fc = nn.Linear(last, classes)

    def forward(self, x: Tensor) -> Tensor:
        features = self.last(self.blocks(self.bn(self.stem(x))))
        scores: Tensor = self.fc(self.drop(self.pool(features).flatten(1)))
        return scores


def rows(width: int, large: bool, depths: Sequence[int]) -> list[Sizes]:
    """All blocks in order."""
    counts = depths or [row[2] for row in ROWS]
    found, before, total = list[Sizes](), width, sum(counts)
    for index, (expansion, paper, _, first, kernel) in enumerate(ROWS):
        after = scaled(paper, width, USUAL)
        for place in range(counts[index]):
            stride = first if place == 0 and (large or index != 1) else 1
            found.append(Sizes(before, after, stride, expansion, kernel, DROP * len(found) / total))
            before = after
    return found
