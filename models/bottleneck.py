"""ResNet-50 and ResNeXt-50 (32 x 4d): four stages of bottleneck blocks.

Sources: He et al., "Deep residual learning for image recognition" (CVPR 2016), with the stride in the 3 x 3 convolution, as is usual now;
Xie et al., "Aggregated residual transformations for deep neural networks" (CVPR 2017), whose 3 x 3 convolution has 32 groups of 4, 8, 16
and 32 channels. Stage i gives 4 * `width` * 2^i channels; the 3 x 3 convolution works on a fourth of them, in ResNeXt on half. With the
width the number of groups shrinks and not their size. Stem, pooling and shortcut are those of `models.resnet`.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from rnpc.errors import UsageError
from rnpc.models.resnet import ResNet, projection


class Bottleneck(nn.Module):
    """y = relu(bn(conv1x1(relu(bn(conv3x3(relu(bn(conv1x1(x)))))))) + shortcut(x)); the middle has `inner` channels in `groups`."""

    def __init__(self, before: int, after: int, stride: int, inner: int, groups: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, 1, groups=groups, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, after, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(after)
        self.shortcut = nn.Identity() if stride == 1 and before == after else projection(before, after, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        return F.relu(self.bn3(self.conv3(y)) + self.shortcut(x))


class ResNet50(ResNet):
    """float [n, channels, size, size] -> scores [n, classes]. Any `size` from 8 pixels; the usual width is 64."""

    def __init__(self, classes: int, width: int = 64, channels: int = 3, size: int = 32, depths: Sequence[int] = (3, 4, 6, 3)) -> None:
        def block(before: int, after: int, stride: int) -> Bottleneck:
            return Bottleneck(before, after, stride, after // 4, 1)

        super().__init__(block, outer(width), depths, classes=classes, width=width, channels=channels, size=size)


class ResNeXt50(ResNet):
    """As ResNet50, with `width` / 2 groups in the middle convolution. Raises UsageError for an odd width."""

    def __init__(self, classes: int, width: int = 64, channels: int = 3, size: int = 32, depths: Sequence[int] = (3, 4, 6, 3)) -> None:
        if width % 2:
            raise UsageError(f"width {width} gives no whole number of groups", where="resnext50", todo="choose an even width")

        def block(before: int, after: int, stride: int) -> Bottleneck:
            return Bottleneck(before, after, stride, after // 2, width // 2)

        super().__init__(block, outer(width), depths, classes=classes, width=width, channels=channels, size=size)


def outer(width: int) -> list[int]:
    """Channels after each stage."""
    return [4 * width * 2**k for k in range(4)]
