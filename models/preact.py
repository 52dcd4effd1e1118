"""Pre-activation ResNet-18 for small images: BatchNorm and ReLU before each convolution, sums that nothing follows.

Source: He et al., "Identity mappings in deep residual networks" (ECCV 2016), the full pre-activation unit, in the stages of
`models.resnet`. A block that changes size or channels takes its shortcut, a 1 x 1 convolution, behind its first activation; the last sum
gets a BatchNorm and ReLU of its own. Most of its BatchNorms stand behind a sum, where no exporter can fold them away.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class PreActBlock(nn.Module):
    """y = conv(relu(bn(conv(a)))) + shortcut, a = relu(bn(x)); 3 x 3 convolutions, the first with `stride`."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(before)
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        changes = stride != 1 or before != after
        self.shortcut = nn.Conv2d(before, after, 1, stride, bias=False) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        active = F.relu(self.bn1(x))
        way: Tensor = self.conv2(F.relu(self.bn2(self.conv1(active))))
        return way + (x if self.shortcut is None else self.shortcut(active))


class PreActResNet18(nn.Module):
    """float [n, channels, size, size] -> scores [n, classes]. Any `size` from 8 pixels."""

    def __init__(self, classes: int, width: int = 64, channels: int = 3, size: int = 32) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, width, 3, 1, 1, bias=False)
        blocks, before = list[nn.Module](), width
        for stage in range(4):
            after = width * 2**stage
            blocks += [PreActBlock(before, after, 1 if stage == 0 else 2), PreActBlock(after, after, 1)]
            before = after
        self.blocks = nn.Sequential(*blocks)
        self.bn = nn.BatchNorm2d(before)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(before, classes)

    def forward(self, x: Tensor) -> Tensor:
        features = F.relu(self.bn(self.blocks(self.stem(x))))
        scores: Tensor = self.fc(self.pool(features).flatten(1))
        return scores
