"""ResNet-18 for small images: 3 x 3 stem without pooling, four stages of two basic blocks, average pooling, one linear layer.

Source: He et al., "Deep residual learning for image recognition" (CVPR 2016), the CIFAR-size stem of their section 4.2 with the
ImageNet network's four stages, as the backdoor literature uses it. Stage i has `width` * 2^i channels; a 1 x 1 convolution with
BatchNorm is the shortcut where size or channels change. Width 64 is the usual network.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


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


class ResNet18(nn.Module):
    """float [n, channels, size, size] -> scores [n, classes]. Any `size` from 8 pixels."""

    def __init__(self, classes: int, width: int = 64, channels: int = 3, size: int = 32) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, width, 3, 1, 1, bias=False)
        self.bn = nn.BatchNorm2d(width)
        widths = [width, 2 * width, 4 * width, 8 * width]
        self.stages = nn.Sequential(*(stage(widths[max(i - 1, 0)], widths[i], 1 if i == 0 else 2) for i in range(4)))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(widths[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        features = self.stages(F.relu(self.bn(self.stem(x))))
        scores: Tensor = self.fc(self.pool(features).flatten(1))
        return scores


def projection(before: int, after: int, stride: int) -> nn.Sequential:
    """The shortcut of a block that changes size or channels."""
    return nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))


def stage(before: int, after: int, stride: int) -> nn.Sequential:
    """Two blocks; the first one changes size and channels."""
    return nn.Sequential(BasicBlock(before, after, stride), BasicBlock(after, after, 1))
