"""MobileNetV2: inverted residuals (expand, depthwise 3 x 3, project without activation), ReLU6.

Source: Sandler et al., "MobileNetV2: inverted residuals and linear bottlenecks" (CVPR 2018), table 2. The usual width is 32, the stem's
channels; all layers scale with it. Below 96 pixels the stem and the second row of the table have stride 1, as is usual for CIFAR.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from rnpc.models.parts import LARGE, check_size, normed, scaled

ROWS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""(expansion, channels, blocks, stride of the first block) of each stage."""
USUAL, LAST = 32, 1280


class InvertedResidual(nn.Module):
    """y = project(depthwise(expand(x))), plus x where size and channels stay."""

    def __init__(self, before: int, after: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = before * expansion
        wide = [] if expansion == 1 else [*normed(before, inner, 1), nn.ReLU6()]
        deep = [*normed(inner, inner, 3, stride, groups=inner), nn.ReLU6()]
        self.layers = nn.Sequential(*wide, *deep, *normed(inner, after, 1))
        self.adds = stride == 1 and before == after

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return x + y if self.adds else y


class MobileNetV2(nn.Module):
    """float [n, channels, size, size] -> scores [n, classes]. Any `size` from 8 pixels. `depths`: blocks of each of the seven stages."""

    def __init__(self, classes: int, width: int = USUAL, channels: int = 3, size: int = 32, depths: Sequence[int] = ()) -> None:
        super().__init__()
        check_size(size, 8, "mobilenetv2")
        large, before = size >= LARGE, width
        self.stem = nn.Conv2d(channels, width, 3, 2 if large else 1, 1, bias=False)
        self.bn = nn.Sequential(nn.BatchNorm2d(width), nn.ReLU6())
        blocks = list[nn.Module]()
        for index, (expansion, paper, usual, first) in enumerate(ROWS):
            after = scaled(paper, width, USUAL)
            for place in range(depths[index] if depths else usual):
                stride = first if place == 0 and (large or index != 1) else 1
                blocks.append(InvertedResidual(before, after, stride, expansion))
                before = after
        self.blocks = nn.Sequential(*blocks)
        last = scaled(LAST, width, USUAL)
        self.last = nn.Sequential(*normed(before, last, 1), nn.ReLU6())
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.drop = nn.Dropout(0.2)
        self.fc = nn.Linear(last, classes)

    def forward(self, x: Tensor) -> Tensor:
        features = self.last(self.blocks(self.bn(self.stem(x))))
        scores: Tensor = self.fc(self.drop(self.pool(features).flatten(1)))
        return scores
