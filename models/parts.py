"""What several architectures are made of: the stem by image size, convolution with BatchNorm, stochastic depth.

Networks of the papers see 224 pixels and begin by dividing them by four. On images below `LARGE` pixels, as CIFAR and GTSRB have, the usual
practice leaves that out: a 3 x 3 stem of stride 1 and no pooling.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rnpc.errors import UsageError

LARGE = 96
"""Side in pixels from which on a network keeps the stem of its paper."""


def stem(channels: int, width: int, size: int) -> nn.Conv2d:
    """ResNet's first convolution: 7 x 7 of stride 2 for large images, 3 x 3 for small ones; without bias."""
    return nn.Conv2d(channels, width, 7, 2, 3, bias=False) if size >= LARGE else nn.Conv2d(channels, width, 3, 1, 1, bias=False)


def shrink(x: Tensor, size: int) -> Tensor:
    """ResNet's first pooling, 3 x 3 of stride 2; small images are left as they are."""
    return F.max_pool2d(x, 3, 2, 1) if size >= LARGE else x


def normed(before: int, after: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """A convolution without bias that keeps the map's size but for `stride`, and its BatchNorm."""
    return [nn.Conv2d(before, after, kernel, stride, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(after)]


def scaled(paper: int, width: int, usual: int, multiple: int = 1) -> int:
    """A layer's channels at this width, where it has `paper` channels at the `usual` width; a positive multiple of `multiple`."""
    return max(1, round(paper * width / usual / multiple)) * multiple


def check_size(size: int, least: int, name: str) -> None:
    """Raise UsageError for images so small that a layer would have nothing left to see."""
    if size < least:
        raise UsageError(f"images of {size} pixels are too small", where=name, todo=f"give at least {least}")


class DropPath(nn.Module):
    """Stochastic depth (Huang et al., 2016): in training, a branch is left out for a whole image with probability `rate`."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return x
        kept = torch.rand(len(x), *[1] * (x.dim() - 1), device=x.device, dtype=x.dtype) >= self.rate
        return x * kept / (1 - self.rate)
