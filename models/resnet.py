"""ResNet-18 and ResNet-34: a stem, four stages of basic blocks, average pooling, one linear layer.

Source: He et al., "Deep residual learning for image recognition" (CVPR 2016). Images below 96 pixels meet the CIFAR-size stem of their
section 4.2 (3 x 3, no pooling) with the ImageNet network's four stages, as the backdoor literature uses it; larger ones the 7 x 7 stem
with pooling. Stage i has `width` * 2^i channels; a 1 x 1 convolution with BatchNorm is the shortcut where size or channels change. Width
64 is the usual network.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from rnpc.models.parts import shrink, stem

Block = Callable[[int, int, int], nn.Module]
"""(channels before, channels after, stride) -> a residual block."""


class BasicBlock(nn.Module):
    """y = relu(bn(conv(relu(bn(conv(x))))) + shortcut(x)), 3 x 3 convolutions, the first with `stride`."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.shortcut = nn.Identity() if stride == 1 and before == after else projection(before, after, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class ResNet(nn.Module):
    """float [n, channels, size, size] -> scores [n, classes]. Any `size` from 8 pixels.

    Args:
        block: makes a block.
        widths: channels after each of the four stages.
        depths: blocks of each stage.
        classes, width, channels, size: as in `rnpc.models`.
    """

    def __init__(
        self, block: Block, widths: Sequence[int], depths: Sequence[int], *, classes: int, width: int, channels: int, size: int
    ) -> None:
        super().__init__()
        self.size = size
        self.stem = stem(channels, width, size)
        self.bn = nn.BatchNorm2d(width)
        ways = zip(pairwise((width, *widths)), depths, strict=True)
        self.stages = nn.Sequential(*(stage(block, before, after, depth, 1 + (k > 0)) for k, ((before, after), depth) in enumerate(ways)))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(widths[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        features = self.stages(shrink(F.relu(self.bn(self.stem(x))), self.size))
        scores: Tensor = self.fc(self.pool(features).flatten(1))
        return scores


class ResNet18(ResNet):
    """Basic blocks; the usual network has two in each stage."""

    depths: Sequence[int] = (2, 2, 2, 2)

    def __init__(self, classes: int, width: int = 64, channels: int = 3, size: int = 32, depths: Sequence[int] = ()) -> None:
        widths = [width * 2**k for k in range(4)]
        super().__init__(BasicBlock, widths, depths or self.depths, classes=classes, width=width, channels=channels, size=size)


class ResNet34(ResNet18):
    """Basic blocks, 3, 4, 6 and 3 of them."""

    depths = (3, 4, 6, 3)


def projection(before: int, after: int, stride: int) -> nn.Sequential:
    """The shortcut of a block that changes size or channels."""
    return nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))


def stage(block: Block, before: int, after: int, depth: int, stride: int) -> nn.Sequential:
    """`depth` blocks; the first one changes size and channels."""
    return nn.Sequential(block(before, after, stride), *(block(after, after, 1) for _ in range(depth - 1)))
